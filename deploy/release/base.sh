#!/usr/bin/env bash
# The newest dated image of Debian 12, of the tags on standard input, a line each. Its packages are frozen on that day: a release takes the
# day's fixes, and can be built again.
set -euo pipefail
newest=$(grep -E '^bookworm-[0-9]{8}-slim$' | sort | tail -n 1 || true)
[[ -n $newest ]] || { echo "base.sh: no tag is a dated one, such as bookworm-20250520-slim" >&2; exit 1; }
echo "debian:$newest"
