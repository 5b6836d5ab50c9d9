#!/usr/bin/env bash
# What is too long for every change: all tests under both sanitizers, clang-tidy over everything, the fuzzers, the long tests, kills. Goes on after
# a failure, names each part with its seconds at the end, and fails if one of them did.
#   tests/nightly.sh [--minutes N] [PART...]      N: of each fuzzer, 10 by default; parts: address thread tidy fuzz long
set -uo pipefail
cd "$(dirname "$0")/.."

minutes=10
if [[ "${1:-}" == --minutes ]]; then
  minutes=$2
  shift 2
fi
parts=("$@")
((${#parts[@]} > 0)) || parts=(address thread tidy fuzz long)

source tests/sanitizers/options.sh

everything() { # PRESET
  cmake --preset "$1" && cmake --build "build-$1" -j "$(nproc)" &&
    ctest --test-dir "build-$1" --output-on-failure -j "$(nproc)" -LE '^(deploy|bench)$' --timeout 1800
}

part_address() { everything asan; }
part_thread() { everything tsan; }

part_tidy() {
  cmake --preset release && cmake --build build -j "$(nproc)" && tests/tidy.sh --all --build build
}

part_fuzz() {
  if ! command -v clang++ >/dev/null; then
    echo "fuzzers: skipped, clang is not installed"
    return 0
  fi
  cmake --preset fuzz && cmake --build build-fuzz -j "$(nproc)" --target fuzz && tests/fuzz/run.py build-fuzz/bin --seconds $((60 * minutes))
}

part_long() {
  cmake --preset release && cmake --build build -j "$(nproc)" && ctest --test-dir build -C long -L long --output-on-failure
}

summary=() failed=0
for part in "${parts[@]}"; do
  if ! declare -F "part_$part" >/dev/null; then
    echo "tests/nightly.sh: address, thread, tidy, fuzz and long are accepted, not $part" >&2
    exit 2
  fi
  begun=$SECONDS
  if "part_$part"; then result=passed; else result=FAILED failed=1; fi
  summary+=("$part: $result in $((SECONDS - begun)) s")
done
printf '%s\n' "" "${summary[@]}"
exit $failed
