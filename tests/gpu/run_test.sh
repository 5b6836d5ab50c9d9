#!/usr/bin/env bash
# That nothing is lost by run.sh: what programs report stands in its folder as soon as they report it, whatever crashes, hangs, is ended
# from outside or no longer fits; that each is named; and that it says so where there is no GPU. The programs are small scripts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
out=$folder/found
fail() {
  echo "run_test.sh: $1"
  cat "$folder/said"
  exit 1
}
# suite CODE OPTION…: runs it, and holds it to an exit status.
suite() {
  local expected=$1 code=0
  shift
  rm -rf "$out"
  PATH=$folder/tools:$PATH GALLEON_PYTHON=/nowhere/python "$here/run.sh" --bin "$folder" --out "$out" "$@" >"$folder/said" 2>&1 || code=$?
  ((code == expected)) || fail "run.sh $* ends with $code and not $expected"
}
# has NAME VALUE UNIT AIM VERDICT: a line of the results; each a regular expression.
has() { grep -qP "^RESULT\t$1\t$2\t$3\t$4\t$5\$" "$out/results.tsv" || fail "no line: $*"; }
said() { [[ $1 == -- ]] && shift; grep -qE -e "$1" "$folder/said" || fail "it does not say: $1"; }
logged() { grep -qE "$1" "$out/log.txt" || fail "the log does not have: $1"; }

mkdir "$folder/tools"
cat >"$folder/gpu_suite" <<'END_OF_PROGRAM'
#!/bin/bash
here=$(dirname "$0")
case $1 in
  probe) [[ -e $0.none ]] && echo "no driver" && exit 77; echo 'A "GPU"' ;;
  llama_1b) printf 'RESULT\tm.peak\t1.5e-05\tGB\t<= 20.5\tmet\nRESULT\tm.refresh\t-\ts\t<= 5\tnot measured\n' ;;
  speeds) printf 'RESULT\tkernel.add\t0.75\tof a copy\t>= 0.8\tnot met\n' ;;
  memory) echo 'it broke'; exit 3 ;;
  parity) printf 'RESULT\tparity.first\t1e-6\t\t\tok\n'; touch "$here/hangs"; exec sleep 1000 ;;
  nccl) exit 74 ;;
esac
END_OF_PROGRAM
cat >"$folder/tools/compute-sanitizer" <<'END_OF_PROGRAM'
#!/bin/sh
echo "========= Invalid __global__ write of size 4 bytes in $*"
exit 86
END_OF_PROGRAM
# Suites: one is well, one has a wrong result, one crashes in its second test of three, one hangs.
cat >"$folder/test_kernels" <<'END_OF_PROGRAM'
#!/bin/bash
filter=; list=
for word in "$@"; do
  case $word in --gtest_filter=*) filter=${word#*=} ;; --gtest_list_tests) list=1 ;; esac
done
if [[ $list ]]; then
  echo "Running main() from somewhere.cc"
  [[ -e $0.empty ]] && exit 0
  for one in Well Wrong Crashes Hangs Nothing; do printf 'Device/%s.\n  First/cuda  # GetParam() = cuda\n' $one; done
  exit 0
fi
run() { printf '[ RUN      ] %s\n' "$1"; }
ok() { printf '[       OK ] %s (0 ms)\n' "$1"; }
done_with() { printf '[==========] %d tests from 1 test suite ran. (1 ms total)\n' "$1"; }
case $filter in
  'Device/Well.*/cuda') run Device/Well.First/cuda; ok Device/Well.First/cuda; done_with 1 ;;
  'Device/Nothing.*/cuda') done_with 0 ;;
  'Device/Wrong.*/cuda')
    run Device/Wrong.First/cuda
    printf 'a.cc:7: Failure\nthe first wrong element is y[3, 4]\n[  FAILED  ] Device/Wrong.First/cuda, where GetParam() = cuda (1 ms)\n'
    done_with 2
    printf '[  FAILED  ] 1 test, listed below:\n[  FAILED  ] Device/Wrong.First/cuda, where GetParam() = cuda\n'
    exit 1 ;;
  'Device/Crashes.*/cuda')
    run Device/Crashes.First/cuda; ok Device/Crashes.First/cuda; run Device/Crashes.Second/cuda
    [[ ${GALLEON_CUDA_SYNCHRONOUS:-} ]] && echo 'check failed: kernel scale, grid 4x1x1, block 256x1x1, 1024 shared bytes'
    kill -ABRT $$ ;;
  'Device/Crashes.*/cuda-Device/Crashes.Second/cuda')
    run Device/Crashes.First/cuda; ok Device/Crashes.First/cuda; run Device/Crashes.Third/cuda; ok Device/Crashes.Third/cuda; done_with 2 ;;
  'Device/Hangs.*/cuda') run Device/Hangs.First/cuda; exec sleep 1000 ;;
  *) echo "asked for $filter"; exit 9 ;;
esac
END_OF_PROGRAM
sed 's/exec sleep 1000/ok Device\/Hangs.First\/cuda; done_with 1/' "$folder/test_kernels" >"$folder/test_engine_on_gpu"
chmod +x "$folder"/test_* "$folder/gpu_suite" "$folder/tools"/*

# What is found, what fails, what cannot be measured.
suite 1 --parts llama_1b,speeds,memory,nccl,pytorch
has part.llama_1b '\d+' s '<= 60' ok
has part.memory '\d+' s 'code 3' FAILED
has part.nccl '\d+' s 'the device failed' FAILED
has part.pytorch '\d+' s 'code 127' FAILED
said 'aims: [12] met, [12] not met, 1 not measured; parts: 3 failed, 0 not run'
said '^--- memory: code 3'
said '^it broke'
logged '^\[memory\] it broke'
python3 - "$out/table.json" <<'END_OF_PROGRAM' || fail "the JSON holds the table"
import json, sys
table = json.load(open(sys.argv[1]))
lines = {line["name"]: line for line in table["results"]}
assert table["device"] == 'A "GPU"', table["device"]
assert lines["m.peak"] == {"name": "m.peak", "value": 1.5e-05, "unit": "GB", "aim": "<= 20.5", "verdict": "met"}, lines["m.peak"]
assert lines["m.refresh"]["value"] is None and lines["m.refresh"]["verdict"] == "not measured"
assert lines["kernel.add"]["verdict"] == "not met" and lines["part.memory"]["verdict"] == "FAILED"
END_OF_PROGRAM
[[ $(ls "$out" | wc -l) == 4 ]] || fail "the folder has four files"

# A suite that crashes costs no other: it runs again, and what it had left to run.
sed -i 's/ Hangs / /' "$folder/test_kernels"
suite 1 --parts kernels --at-once 2
has kernels.Device_Well '\d+' s '1 tests' ok
has kernels.Device_Wrong '\d+' s '1 of 2 tests' FAILED
has 'kernels.Device_Wrong: Device/Wrong.First/cuda' - '' '' FAILED
said 'the first wrong element is y\[3, 4\]'
has kernels.Device_Nothing '\d+' s 'no test ran' FAILED
has kernels.Device_Crashes '\d+' s 'signal 6 in Device/Crashes.Second/cuda' FAILED
has kernels.Device_Crashes.synchronous '\d+' s 'signal 6' measured
said 'kernel scale, grid 4x1x1, block 256x1x1, 1024 shared bytes'
has kernels.Device_Crashes.sanitizer '\d+' s 'code 86' measured
said 'Invalid __global__ write of size 4 bytes in --tool memcheck .*--gtest_filter=Device/Crashes.Second/cuda'
has kernels.Device_Crashes.rest1 '\d+' s '2 tests' ok
has part.kernels '\d+' s '<= 120' FAILED

# What hangs is ended in time; what no longer fits is not run; the whole keeps its deadline.
sed -i 's/ Nothing; do/ Nothing Hangs; do/' "$folder/test_kernels"
began=$SECONDS
suite 1 --parts kernels,engine --deadline 16 --at-once 6
((SECONDS - began < 32)) || fail "it keeps its deadline"
has kernels.Device_Hangs '\d+' s 'out of time in Device/Hangs.First/cuda' FAILED
has kernels.Device_Well '\d+' s '1 tests' ok
has kernels.Device_Crashes.sanitizer - s '10 s at least' 'not run'
has part.engine - s '15 s at least' 'not run'
said 'parts: [0-9]+ failed, [2-9] not run'

# A program without tests is a failure.
touch "$folder/test_kernels.empty"
suite 1 --parts kernels
has part.kernels 0 s 'no test was found' FAILED

# Ended from outside in the middle of a part: what was found is there, and the part is named.
rm -rf "$out" "$folder/hangs"
"$here/run.sh" --bin "$folder" --out "$out" --parts parity,memory >"$folder/said" 2>&1 &
pid=$!
until grep -qs 'parity.first' "$out/results.tsv"; do kill -0 $pid || fail "it lives"; sleep 0.05; done
kill -TERM $pid
code=0
wait $pid || code=$?
((code == 143)) || fail "ended by SIGTERM it exits with 143, not $code"
has parity.first 1e-6 '' '' ok
has part.parity - s 'ended from outside' FAILED
grep -q parity.first "$out/table.json" || fail "the table is written"
said 'ended by SIGTERM'

# Arguments that are wrong are refused by name.
suite 2 --parts kernels,kernel
said 'there is no part "kernel"'
suite 2 --deadline soon
said '"soon" is not a number'
suite 2 --outt x
said '"--outt" is none of'
suite 2 --out
said -- '--out wants a value'

touch "$folder/gpu_suite.none"
suite 77
said 'no GPU here: no driver'
