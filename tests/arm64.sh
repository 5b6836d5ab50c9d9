#!/usr/bin/env bash
# Builds the CPU part for arm64 with Debian's cross compiler and runs its unit tests under qemu-user.
#   tests/arm64.sh [--no-install] [--all] [--root] [arguments for each test program, such as --gtest_filter=Matmul*]
# --all adds the tests that emulation makes slow; --root makes the root of arm64 packages and ends.
# Needs root once, for mmdebstrap. Everything lies in build-arm64 and build-arm64-root.
set -euo pipefail
cd "$(dirname "$0")/.."

install=1
all=0
only_root=0
while (($#)); do
  case "$1" in
    --no-install) install=0 ;;
    --all) all=1 ;;
    --root) only_root=1 ;;
    -h | --help)
      sed -n '2,5p' "$0" | cut -c3-
      exit 0
      ;;
    *) break ;;
  esac
  shift
done
if ((install)); then deploy/packages.sh arm64; fi

# The foreign packages, unpacked and never configured: nothing of arm64 is installed on this machine.
root=build-arm64-root
packages=(libc6-dev libstdc++-12-dev libgomp1 libabsl-dev libgrpc++-dev libssl-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev
  prometheus-cpp-dev libyaml-cpp-dev libsqlite3-dev libcurl4-openssl-dev nlohmann-json3-dev libcli11-dev libspdlog-dev libopenblas-openmp-dev libdnnl-dev
  ocl-icd-opencl-dev libsentencepiece-dev libpcre2-dev libutf8proc-dev zlib1g-dev libzstd-dev libbz2-dev liblzma-dev libgtest-dev libgmock-dev libbenchmark-dev)
if [[ "$(cat $root/complete 2>/dev/null)" != "${packages[*]}" ]]; then
  [[ $EUID -eq 0 ]] || { echo "arm64: root is needed once, to make $root" >&2; exit 1; }
  rm -rf $root
  mmdebstrap --quiet --variant=extract --architectures=arm64 --components=main --include="$(IFS=,; echo "${packages[*]}")" bookworm $root
  # Links that begin at the root would lead out of the folder.
  find $root/usr $root/lib -type l -lname '/*' -printf '%p\t%l\n' | while IFS=$'\t' read -r link target; do
    ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$root$target")" "$link"
  done
  echo "${packages[*]}" >$root/complete
fi
if ((only_root)); then exit 0; fi

cmake --preset arm64 >/dev/null
# Whole programs, since each start is emulated as well. galleon-trainer is there to be linked.
tests=(test_base test_jobfile test_kernels)
if ((all)); then tests+=(test_engine test_ranks); fi
cmake --build build-arm64 -j "$(nproc)" --target galleon-trainer "${tests[@]}" |
  { if [[ -t 1 ]]; then cat; else grep -vE '^\[[0-9]+/[0-9]+\]' || true; fi; }

emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || { echo "arm64: qemu-user is not installed" >&2; exit 1; }
# CUDA's kernels on their executor, and devices beside each other.
slow='*/executor*:Executor*:DevicesAtOnce.*'
failed=()
for test in "${tests[@]}"; do
  filter=(--gtest_brief=1)
  if [[ $test == test_kernels ]] && ((!all)); then filter+=("--gtest_filter=-$slow"); fi
  # Death tests start the program again by its name, which has to be one that this machine can run.
  again=$PWD/build-arm64/again-$test
  printf '#!/bin/sh\nexec "%s" -L "%s" -0 "%s" "%s" "$@"\n' "$emulator" "$PWD/$root" "$again" "$PWD/build-arm64/bin/$test" >"$again"
  chmod +x "$again"
  echo "$test"
  OMP_WAIT_POLICY=PASSIVE "$again" "${filter[@]}" "$@" || failed+=("$test")
done

# A training by arm64's trainer beside this machine's, where `galleon` is built for it: losses differ in the last digits alone.
if [[ -x build/bin/galleon && -x build/bin/galleon-trainer ]]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mkdir "$folder/arm64"
  cp build/bin/galleon "$folder/arm64/"
  printf '#!/bin/sh\nexec "%s" -L "%s" "%s" "$@"\n' "$emulator" "$PWD/$root" "$PWD/build-arm64/bin/galleon-trainer" >"$folder/arm64/galleon-trainer"
  chmod +x "$folder/arm64/galleon-trainer"
  for precision in fp32 bf16; do
    cat >"$folder/$precision.yaml" <<END
name: $precision
task: pretrain
model: {source: 'preset:tiny'}
tokenizer: bytes
data: {train: [$PWD/deploy/examples/janeausten/train/persuasion.txt], sequence_length: 64}
optimizer: {learning_rate: 0.01, galore: {rank: 8, refresh_interval: 5}}
training: {steps: 12, global_batch: 4, micro_batch: 4, precision: $precision, evaluate_every: 0}
END
    echo "twelve steps in $precision"
    for program in "$PWD/build/bin" "$folder/arm64"; do
      OMP_WAIT_POLICY=PASSIVE "$program/galleon" train "$folder/$precision.yaml" --output "$folder/run" --threads 1 >"$folder/said" 2>&1 ||
        { cat "$folder/said" >&2; failed+=("training in $precision"); }
      rm -rf "$folder/run"
      sed -nE 's/^done: .*training loss ([0-9.]+).*/\1/p' "$folder/said" >>"$folder/$precision.losses"
    done
    # Of sums in another order.
    awk '{ loss[NR] = $1 } END { difference = loss[1] - loss[2]; exit !(NR == 2 && difference ^ 2 < 0.002 ^ 2) }' "$folder/$precision.losses" ||
      { paste -sd ' ' "$folder/$precision.losses" >&2; failed+=("losses in $precision"); }
  done
fi

if ((${#failed[@]})); then
  echo "failed on arm64: ${failed[*]}" >&2
  exit 1
fi
