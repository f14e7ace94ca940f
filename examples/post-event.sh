#!/bin/sh
# Posts one usage event, and tries again until it is answered. However often it arrives, it counts once: a retry has the same event_id and the same timestamp.
#   URL=http://localhost:8080 UBX_KEY=token ./post-event.sh [account] [meter] [quantity]
# To send an event of an earlier call again, set its EVENT_ID and TIMESTAMP.
set -eu
account=${1:-acme-co} meter=${2:-gpu_seconds} quantity=${3:-12.5}
id=${EVENT_ID:-$(date +%s)-$$} timestamp=${TIMESTAMP:-$(date -u +%Y-%m-%dT%H:%M:%SZ)}
curl -sS --fail-with-body --retry 5 --retry-connrefused -X POST "${URL:-http://localhost:8080}/v1/events" \
	-H "Authorization: Bearer ${UBX_KEY:-}" -H 'Content-Type: application/json' \
	-d "{\"event_id\": \"$id\", \"account_id\": \"$account\", \"meter\": \"$meter\", \"quantity\": $quantity, \"timestamp\": \"$timestamp\"}"
