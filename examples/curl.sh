#!/usr/bin/env bash
# Request images with curl: bash curl.sh --url http://localhost:5000, which is the default.
set -eu
url=http://localhost:5000
if [ "${1:-}" = --url ]; then url=${2:?--url needs an address}; fi
curl -s -o /dev/null "$url/livez" || { echo "No server answers at $url; start one with: bash start_server.sh" >&2; exit 1; }

# One image as PNG bytes.
curl --fail-with-body -sS -X POST "$url/generate" -H 'Content-Type: application/json' \
    -d '{"prompt": "a red circle on a blue background"}' --output circle.png

# The headers say how it was generated: seed, size, seconds.
curl --fail-with-body -sS -X POST "$url/generate" -H 'Content-Type: application/json' --dump-header - \
    -d '{"prompt": "a yellow star on a black background", "seed": 7, "output_format": "jpeg"}' --output star.jpg

# Three images, seeds 1, 2 and 3, in one ZIP.
curl --fail-with-body -sS -X POST "$url/generate" -H 'Content-Type: application/json' \
    -d '{"prompt": "a white house on green grass", "n": 3, "seed": 1}' --output houses.zip

# Saved by the server; the answer is JSON with the file's path and address.
curl --fail-with-body -sS -X POST "$url/generate" -H 'Content-Type: application/json' \
    -d '{"prompt": "一只红色的小船", "language": "zh", "aspect_ratio": "16:9", "save_to_file": true}'
