#!/bin/sh
# Posts one usage event. Sending the same event_id again changes nothing.
#   URL=http://localhost:8080 UBX_KEY=token ./post-event.sh [account] [meter] [quantity]
set -eu
account=${1:-acme-co} meter=${2:-gpu_seconds} quantity=${3:-12.5}
id=${EVENT_ID:-$(date +%s)-$$}
curl -sS --fail-with-body -X POST "${URL:-http://localhost:8080}/v1/events" \
	-H "Authorization: Bearer ${UBX_KEY:-}" -H 'Content-Type: application/json' \
	-d "{\"event_id\": \"$id\", \"account_id\": \"$account\", \"meter\": \"$meter\", \"quantity\": $quantity, \"timestamp\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"}"
