#!/usr/bin/env bash
# That run.sh puts what programs report into its table and its JSON, fails where one fails, and says so where there is no GPU. The
# programs are small scripts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
  echo "run_test.sh: $1"
  cat "$folder/out"
  exit 1
}

cat >"$folder/gpu_suite" <<'END'
#!/bin/sh
case $1 in
  probe) [ -e "$0.none" ] && echo "no driver" && exit 77; echo 'A "GPU"' ;;
  training) printf 'RESULT\tm.peak\t1.5e-05\tGB\t<= 20.5\tmet\nRESULT\tm.refresh\t-\ts\t<= 5\tnot measured\n' ;;
  kernels) printf 'RESULT\tkernel.add\t0.75\tof a copy\t>= 0.8\tnot met\n' ;;
  memory) echo 'it broke'; exit 3 ;;
esac
END
for program in test_kernels test_engine_on_gpu; do printf '#!/bin/sh\n' >"$folder/$program"; done
chmod +x "$folder"/*

code=0
GALLEON_PYTHON=/nowhere/python "$here/run.sh" "$folder" "$folder/table.json" >"$folder/out" 2>&1 || code=$?
((code == 1)) || fail "a part that failed is exit code 1, not $code"
grep -q 'aims: 2 met, 1 not met, 3 not measured' "$folder/out" || fail "the aims are counted"
grep -q '^--- memory ended with code 3' "$folder/out" || fail "the part that failed is named"
grep -q 'it broke' "$folder/out" || fail "its output is shown"
python3 - "$folder/table.json" <<'END' || fail "the JSON holds the table"
import json, sys
table = json.load(open(sys.argv[1]))
lines = {line["name"]: line for line in table["results"]}
assert table["device"] == 'A "GPU"', table["device"]
assert lines["m.peak"] == {"name": "m.peak", "value": 1.5e-05, "unit": "GB", "aim": "<= 20.5", "verdict": "met"}, lines["m.peak"]
assert lines["m.refresh"]["value"] is None and lines["m.refresh"]["verdict"] == "not measured"
assert lines["kernel.add"]["verdict"] == "not met" and lines["part.memory"]["verdict"] == "FAILED"
assert lines["against_pytorch.peak_memory"]["verdict"] == "not measured"
END

touch "$folder/gpu_suite.none"
code=0
"$here/run.sh" "$folder" "$folder/none.json" >"$folder/out" 2>&1 || code=$?
((code == 77)) || fail "without a GPU the exit code is 77, not $code"
grep -q 'no GPU here: no driver' "$folder/out" || fail "and says why"
