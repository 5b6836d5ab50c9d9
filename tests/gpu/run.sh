#!/usr/bin/env bash
# The GPU suite: kernels, training beside the CPU and beside PyTorch, whole steps of large models, memory, NCCL and the service, with
# ceilings and a prediction of the same run. Needs a driver and CUDA's libraries, nothing else. README.md says how a borrowed quarter
# of an hour is spent on it.
#   tests/gpu/run.sh [--bin FOLDER] [--out FOLDER] [--parts NAME,…] [--deadline SECONDS] [--at-once N]
# --bin: the programs; by default beside this script in a bundle, or build-cuda/bin. --out (gpu-suite): what is found lies there as
# soon as it is found, in results.tsv and log.txt, and after each part in table.txt and table.json. --parts: some of them, in this
# order; "--parts list" names them. --deadline: everything ends by then, counted from the start; a part that no longer fits is "not
# run". --at-once: test suites beside each other. Exits 1 where something failed, 77 where there is no GPU, 2 for a wrong argument.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

order=(kernels parity shapes llama_1b llama_7b pytorch speeds engine memory nccl service methods compiled)
bin= out=gpu-suite chosen=all deadline=540 at_once=
while (($#)); do
  case $1 in
    --bin | --out | --parts | --deadline | --at-once)
      if (($# < 2)); then
        echo "run.sh: $1 wants a value" >&2
        exit 2
      fi ;;&
    --bin) bin=$2 ;;
    --out) out=$2 ;;
    --parts) chosen=$2 ;;
    --deadline) deadline=$2 ;;
    --at-once) at_once=$2 ;;
    *)
      echo "run.sh: \"$1\" is none of --bin, --out, --parts, --deadline, --at-once" >&2
      exit 2 ;;
  esac
  shift 2
done
if [[ $chosen == list ]]; then
  printf '%s\n' "${order[@]}"
  exit 0
fi
for number in "$deadline" ${at_once:+"$at_once"}; do
  if [[ ! $number =~ ^[1-9][0-9]{0,4}$ ]]; then
    echo "run.sh: \"$number\" is not a number of seconds or of processes" >&2
    exit 2
  fi
done
if [[ $chosen == all ]]; then chosen=$(IFS=,; echo "${order[*]}"); fi
IFS=, read -ra wanted <<<"$chosen"
for name in "${wanted[@]}"; do
  if [[ " ${order[*]} " != *" $name "* ]]; then
    echo "run.sh: there is no part \"$name\"; the parts are ${order[*]}" >&2
    exit 2
  fi
done
if [[ -z $at_once ]]; then
  at_once=$(($(nproc) / 3))
  at_once=$((at_once < 1 ? 1 : at_once > 5 ? 5 : at_once))
fi

if [[ -z $bin ]]; then
  for folder in "$root/bin" "$root/build-cuda/bin"; do
    if [[ -x $folder/gpu_suite ]]; then bin=$folder; break; fi
  done
fi
if [[ -z $bin || ! -x $bin/gpu_suite ]]; then
  echo "no GPU suite here: this build has no CUDA; configure with cmake --preset cuda"
  exit 77
fi

# The environment as it was is PyTorch's: it brings libraries of its own.
as_it_was=(env -u LD_LIBRARY_PATH)
if [[ -n ${LD_LIBRARY_PATH+set} ]]; then as_it_was=(env LD_LIBRARY_PATH="$LD_LIBRARY_PATH"); fi
python=${GALLEON_PYTHON:-python3}
source "$here/libraries.sh"
find_libraries "$bin/gpu_suite" "$python" || exit 1

device=$(timeout 60 "$bin/gpu_suite" probe)
code=$?
if ((code == 77)); then
  echo "no GPU here: $device"
  exit 77
fi
if ((code != 0)); then
  echo "gpu_suite cannot be started ($code): $device"
  exit 1
fi

mkdir -p "$out" || exit 1
source "$here/parts.sh"
source "$here/suites.sh"
open_results "$out"
say "$device"

# Seconds: what a part needs at least to be worth its start, and what it may take at most.
for name in "${order[@]}"; do
  if [[ " ${wanted[*]} " != *" $name "* ]]; then continue; fi
  case $name in
    kernels) suites kernels 15 120 "$bin/test_kernels" '*/cuda' ;;
    parity) part parity 8 60 "$bin/gpu_suite" parity ;;
    shapes)
      part shapes 8 60 "$bin/gpu_suite" shapes
      part against 20 60 "${as_it_was[@]}" GALLEON_SUITE="$bin/gpu_suite" GALLEON_LIBRARIES="${LD_LIBRARY_PATH:-}" \
        "$python" "$here/against.py" ;;
    llama_1b) part llama_1b 15 60 "$bin/gpu_suite" llama_1b ;;
    llama_7b) part llama_7b 30 120 "$bin/gpu_suite" llama_7b ;;
    methods) part methods 20 90 "$bin/gpu_suite" methods ;;
    pytorch) part pytorch 20 60 "${as_it_was[@]}" "$python" "$here/pytorch.py" --no-compile --ours "$results" --seconds 50 ;;
    speeds) part speeds 10 60 "$bin/gpu_suite" speeds ;;
    engine) suites engine 15 90 "$bin/test_engine_on_gpu" '*' ;;
    memory) part memory 8 40 "$bin/gpu_suite" memory ;;
    nccl) part nccl 8 60 "$bin/gpu_suite" nccl ;;
    service) part service 15 60 "$here/service.sh" "$bin" ;;
    compiled) part compiled 40 150 "${as_it_was[@]}" "$python" "$here/pytorch.py" --only-compiled --ours "$results" --seconds 140 ;;
  esac
done
result suite "$SECONDS" s "<= 480" "$( ((SECONDS <= 480)) && echo met || echo 'not met')"
exit "$failed"
