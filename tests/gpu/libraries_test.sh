#!/usr/bin/env bash
# Where run.sh finds libraries that the loader does not know: nowhere else if nothing is lacking, in Python's packages otherwise, and
# named where they are not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "libraries_test.sh: $1"; exit 1; }
compiler=$(command -v cc || command -v gcc) || { echo "there is no compiler here"; exit 77; }
packages=$folder/site-packages
mkdir -p "$packages/nvidia/one/lib" "$packages/nvidia/nccl/lib"
echo 'int one(void) { return 1; }' | "$compiler" -shared -fPIC -x c - -o "$packages/nvidia/one/lib/libgalleonone.so.13" -Wl,-soname,libgalleonone.so.13
echo 'int one(void); int main(void) { return one() - 1; }' | "$compiler" -x c - -x none -o "$folder/program" "$packages/nvidia/one/lib/libgalleonone.so.13"
: >"$packages/nvidia/nccl/lib/libnccl.so.2"
source "$here/libraries.sh"
unset LD_LIBRARY_PATH CUDA_HOME CUDA_PATH
python=$(python3 -c 'import sys; print(sys.executable)')

said=$(find_libraries "$folder/program" "$python") && fail "what is nowhere is not found"
[[ $said == *"libraries are missing"*libgalleonone.so.13* ]] || fail "and is named: $said"
export PYTHONPATH=$packages
unset LD_LIBRARY_PATH
find_libraries "$folder/program" "$python" || fail "Python's packages are looked through"
[[ :$LD_LIBRARY_PATH: == *":$packages/nvidia/one/lib:"* ]] || fail "the folder is added: $LD_LIBRARY_PATH"
"$folder/program" || fail "the program runs"
if ! ldconfig -p 2>/dev/null | grep -q 'libnccl\.so\.2'; then
  [[ :$LD_LIBRARY_PATH: == *":$packages/nvidia/nccl/lib:"* ]] || fail "NCCL is looked for: $LD_LIBRARY_PATH"
fi
# A program that lacks nothing gets no folder of another CUDA before its own.
unset LD_LIBRARY_PATH
find_libraries "$(command -v true)" "$python" || fail "what lacks nothing is well"
[[ ${LD_LIBRARY_PATH:-} != *"/nvidia/one/lib"* ]] || fail "nothing is added for it"
