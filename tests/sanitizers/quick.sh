#!/usr/bin/env bash
# The tests of server, proto, parsers and daemon under the address and undefined-behaviour sanitizers, and those of the scheduler under the
# thread sanitizer: builds of these tests alone, which tell of a fault early. tests/nightly.sh runs everything under them.
#   tests/sanitizers/quick.sh [address|thread]...
set -euo pipefail
cd "$(dirname "$0")/../.."

source tests/sanitizers/options.sh

run() { # PRESET TARGET...
  local preset=$1
  shift
  local begun=$SECONDS left_out='^(docs|gpu)[._]'
  # These have a label although they are not built.
  [[ " $* " == *" fuzz "* ]] || left_out+='|^fuzz\.'
  cmake --preset "$preset" >/dev/null
  cmake --build "build-$preset" -j "$(nproc)" --target "$@" | { grep -vE '^\[[0-9]+/[0-9]+\]|^ninja: no work' || true; }
  local built=$SECONDS
  # Tests that are not built have no label. Most of the time of the others is waiting.
  ctest --test-dir "build-$preset" --output-on-failure -j "$((2 * $(nproc)))" -L '^(unit|integration)$' -E "$left_out" --no-tests=error |
    { grep -vE '^ *[0-9]+/[0-9]+ .* Passed |^ +Start +[0-9]+:' || true; }
  echo "$preset: built in $((built - begun)) s, ran in $((SECONDS - built)) s"
}

if (($# == 0)); then set -- address thread; fi
for kind in "$@"; do
  case $kind in
    address)
      run asan-quick test_base test_jobfile test_net test_server_core test_server_store test_server_api test_daemon fuzz
      ;;
    thread) run tsan-quick test_server_core test_server_store test_server_api ;;
    *)
      echo "tests/sanitizers/quick.sh: address and thread are accepted, not $kind" >&2
      exit 2
      ;;
  esac
done
