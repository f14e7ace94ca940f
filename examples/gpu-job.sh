#!/bin/sh
# Runs a job and posts the GPU seconds that it took: wall-clock seconds × GPUs. The event has the job's id, so posting it again, after
# a crash or a time-out, changes nothing.
#   ACCOUNT=acme-co GPU_TYPE=h100 GPUS=8 JOB=fine-tuning ./gpu-job.sh JOB_ID COMMAND [ARGUMENT...]
# MODEL=NAME is the model that the job serves or makes: self-hosted.sql divides its GPU cost by its tokens.
set -eu
id=$1
shift
start=$(date +%s)
status=0
"$@" || status=$?
end=$(date +%s)
seconds=$(((end - start) * ${GPUS:-1}))
event=$(printf '{"event_id": "gpu-%s", "account_id": "%s", "meter": "gpu_seconds", "quantity": %d, "timestamp": "%s", "dimensions": {"gpu_type": "%s", "job": "%s", "gpus": "%s"}%s}' \
	"$id" "${ACCOUNT:?name the account}" "$seconds" "$(date -u -d "@$end" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$end" +%Y-%m-%dT%H:%M:%SZ)" \
	"${GPU_TYPE:-h100}" "${JOB:-inference}" "${GPUS:-1}" "${MODEL:+, \"model\": \"$MODEL\"}")
curl -sS --fail-with-body --retry 10 --retry-all-errors -X POST "${URL:-http://localhost:8080}/v1/events" \
	-H "Authorization: Bearer ${UBX_KEY:-}" -H 'Content-Type: application/json' -d "$event"
exit "$status"
