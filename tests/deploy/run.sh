#!/usr/bin/env bash
# Runs one of this folder's tests with the Python that tests/tools.sh made, or any other: run.sh TEST [arguments]
set -euo pipefail
test="$(dirname "$0")/$1"
shift
python="${GALLEON_TOOLS:-none}/venv/bin/python"
[[ -x "$python" ]] || python=python3
exec "$python" "$test" "$@"
