#!/usr/bin/env bash
# Sets up, builds and runs the tests. The output ends with CTest's own summary.
#   tests/run.sh [--no-install] [ctest arguments, such as -L unit or -R Journal]
set -euo pipefail
cd "$(dirname "$0")/.."

install=1
if [[ "${1:-}" == --no-install ]]; then
  install=0
  shift
fi
if ((install)); then deploy/packages.sh test; fi

cmake --preset release -DGALLEON_TESTS=ON >/dev/null
cmake --build build -j "$(nproc)" | { if [[ -t 1 ]]; then cat; else grep -vE '^\[[0-9]+/[0-9]+\]' || true; fi; }
exec ctest --test-dir build --output-on-failure -j "$(nproc)" "$@"
