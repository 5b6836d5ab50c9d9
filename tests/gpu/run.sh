#!/usr/bin/env bash
# The GPU suite: every operation on the GPU, models and rules beside recorded references, training against the CPU, NCCL with one rank,
# the service end to end, memory and speed beside ceilings measured in the same run, and beside PyTorch where a Python has it (the one
# that GALLEON_PYTHON names, else python3). Needs a driver and CUDA's libraries, nothing else. Prints one table and writes JSON.
#   tests/gpu/run.sh [BIN] [OUT.json]
# BIN: folder of the programs; by default beside this script in a bundle, or build-cuda/bin. Exits 77 where there is no GPU.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=${1:-}
if [[ -z $bin ]]; then
  for folder in "$root/bin" "$root/build-cuda/bin"; do
    if [[ -x $folder/gpu_suite ]]; then bin=$folder; break; fi
  done
fi
if [[ -z $bin || ! -x $bin/gpu_suite ]]; then
  echo "no GPU suite here: this build has no CUDA; configure with cmake --preset cuda"
  exit 77
fi
json=${2:-$PWD/gpu-suite.json}

# CUDA's libraries where the loader does not know them.
for folder in "${CUDA_HOME:-/nowhere}/lib64" /usr/local/cuda/lib64; do
  if [[ -d $folder ]]; then export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder; fi
done

device=$("$bin/gpu_suite" probe)
code=$?
if ((code == 77)); then
  echo "no GPU here: $device"
  exit 77
fi
if ((code != 0)); then
  echo "gpu_suite cannot be started ($code): $device"
  exit 1
fi
echo "$device"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
results=$work/results
: >"$results"
began=$SECONDS
failed=0

result() { printf 'RESULT\t%s\t%s\t%s\t%s\t%s\n' "$@" >>"$results"; }

# part NAME SECONDS COMMAND…: its RESULT lines, and one for the part itself.
part() {
  local name=$1 limit=$2 log=$work/$1.log start=$SECONDS verdict=ok
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$log" 2>&1
  local code=$?
  grep -a '^RESULT' "$log" >>"$results"
  if ((code != 0)); then
    verdict=FAILED
    failed=1
    echo "--- $name ended with code $code; the end of its output:"
    grep -av '^RESULT' "$log" | tail -n 25
  fi
  grep -a '^skipped' "$log"
  result "part.$name" $((SECONDS - start)) s "<= $limit" "$verdict"
}

part operations 120 "$bin/test_kernels" --gtest_filter='*/cuda' --gtest_brief=1
part engine 60 env GALLEON_ROOT="$root" "$bin/test_engine_on_gpu" --gtest_brief=1
part parity 60 "$bin/gpu_suite" parity
part nccl 60 "$bin/gpu_suite" nccl
part memory 40 "$bin/gpu_suite" memory
part service 60 "$here/service.sh" "$bin"
part kernels 60 "$bin/gpu_suite" kernels
part training 200 "$bin/gpu_suite" training
cp "$results" "$work/ours"
python=${GALLEON_PYTHON:-python3}
if command -v "$python" >/dev/null; then
  part pytorch 180 "$python" "$here/pytorch.py" --ours "$work/ours"
else
  echo "skipped: the comparison with PyTorch: there is no $python"
  result against_pytorch.tokens_per_second - times ">= 1.5" "not measured"
  result against_pytorch.peak_memory - times "<= 0.7" "not measured"
fi
seconds=$((SECONDS - began))
result suite "$seconds" s "<= 480" "$( ((seconds <= 480)) && echo met || echo 'not met')"

# The aims once more in a line: which are met, which are not, and of which nothing can be said here.
awk -F'\t' '{ ++count[$6] }
  END { printf "\naims: %d met, %d not met, %d not measured\n\n", count["met"], count["not met"], count["not measured"] }' "$results"
awk -F'\t' 'BEGIN { printf "%-46s %14s  %-22s %-16s %s\n", "what", "value", "unit", "aim", "" }
  { printf "%-46s %14s  %-22s %-16s %s\n", $2, $3, $4, $5, $6 }' "$results"
awk -F'\t' -v device="$device" 'function text(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); return "\"" s "\"" }
  BEGIN { printf "{\"device\": %s, \"results\": [", text(device) }
  { printf "%s\n  {\"name\": %s, \"value\": %s, \"unit\": %s, \"aim\": %s, \"verdict\": %s}", (NR > 1 ? "," : ""), text($2),
    ($3 ~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ ? $3 : "null"), text($4), text($5), text($6) }
  END { print "\n]}" }' "$results" >"$json"
echo
echo "JSON: $json"
exit $failed
