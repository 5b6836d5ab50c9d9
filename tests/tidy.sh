#!/usr/bin/env bash
# clang-tidy over the sources that have changed since the merge base with main; on main itself, since the commit before. What does not fit into
# the time is named and left to tests/nightly.sh, which looks at all of them.
#   tests/tidy.sh [--all] [--seconds N] [--build FOLDER]      FOLDER: a build whose generated sources are there
set -euo pipefail
cd "$(dirname "$0")/.."

all=0 seconds=240 build=build
while (($# > 0)); do
  case $1 in
    --all) all=1 seconds=36000 ;;
    --seconds) seconds=$2 && shift ;;
    --build) build=$2 && shift ;;
    *)
      sed -n '4p' "$0" >&2
      exit 2
      ;;
  esac
  shift
done

if ! command -v clang-tidy >/dev/null; then
  echo "clang-tidy: skipped, it is not installed"
  exit 0
fi
if [[ ! -f $build/compile_commands.json ]]; then
  echo "clang-tidy: skipped, $build is not configured"
  exit 0
fi

base=""
for main in main origin/main; do
  base=$(git merge-base HEAD "$main" 2>/dev/null || true)
  [[ -z $base ]] || break
done
if [[ -z $base || $base == "$(git rev-parse HEAD)" ]]; then base=$(git rev-parse -q --verify HEAD~1 || true); fi

if ((all)); then
  mapfile -t changed < <(git ls-files '*.cc')
elif [[ -n $base ]]; then
  mapfile -t changed < <(git diff --name-only --diff-filter=d "$base" -- '*.cc')
else
  echo "clang-tidy: skipped, there is no commit to compare with"
  exit 0
fi
# Those that this build compiles.
mapfile -t files < <(python3 - "$build/compile_commands.json" "${changed[@]}" <<'PYTHON'
import json, os, sys
known = {os.path.relpath(os.path.join(entry["directory"], entry["file"])) for entry in json.load(open(sys.argv[1]))}
print("\n".join(name for name in sys.argv[2:] if name in known and not name.startswith("tests/")))
PYTHON
)
if [[ -z ${files[*]} ]]; then
  echo "clang-tidy: no source has changed"
  exit 0
fi

# One file; the compiler's own options are not all clang's.
look() {
  if (($(date +%s) >= end)); then
    echo "clang-tidy: no time for $1"
    return 0
  fi
  local said
  said=$(clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option "$1" 2>/dev/null) && return 0
  echo "$said"
  return 1
}
export -f look
export build end=$(($(date +%s) + seconds))
begun=$SECONDS
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} bash -c 'look "$1"' look {} || {
  echo "clang-tidy: the lines above are to be mended" >&2
  exit 1
}
echo "clang-tidy: ${#files[@]} sources in $((SECONDS - begun)) s"
