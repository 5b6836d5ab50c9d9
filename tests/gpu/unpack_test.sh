#!/usr/bin/env bash
# That the bundle's archive unpacks with xz and without, into the same files, programs still programs, and that it says so where
# neither way is there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "unpack_test.sh: $1"; exit 1; }
# Tools of this machine, all that unpack.sh may use, but not xz.
mkdir "$folder/tools" "$folder/less"
for tool in sh tar mkdir; do ln -s "$(command -v $tool)" "$folder/tools/$tool"; ln -s "$(command -v $tool)" "$folder/less/$tool"; done
printf '#!/bin/sh\nexec "%s" "$@"\n' "$(python3 -c 'import sys; print(sys.executable)')" >"$folder/tools/python3"
chmod +x "$folder/tools/python3"
if PATH=$folder/tools command -v xz >/dev/null; then fail "xz is still found"; fi

mkdir -p "$folder/from/galleon-cuda/bin"
printf '#!/bin/sh\necho it runs\n' >"$folder/from/galleon-cuda/bin/program"
chmod +x "$folder/from/galleon-cuda/bin/program"
head -c 300000 /dev/urandom >"$folder/from/galleon-cuda/numbers"
# As deploy/bundle.sh packs it on this kind of machine.
tar -C "$folder/from" -cf - galleon-cuda | xz --x86 --lzma2=preset=6,dict=256MiB >"$folder/archive.tar.xz"

"$here/unpack.sh" "$folder/archive.tar.xz" "$folder/with"
PATH=$folder/tools GALLEON_PYTHON=python3 "$folder/tools/sh" "$here/unpack.sh" "$folder/archive.tar.xz" "$folder/without"
for way in with without; do
  diff -r "$folder/from" "$folder/$way" || fail "$way xz the files differ"
  [[ $("$folder/$way/galleon-cuda/bin/program") == "it runs" ]] || fail "$way xz the program does not run"
done
code=0
PATH=$folder/less GALLEON_PYTHON=python3 "$folder/less/sh" "$here/unpack.sh" "$folder/archive.tar.xz" "$folder/nothing" 2>"$folder/said" || code=$?
((code == 1)) || fail "without either way it fails"
grep -q 'neither xz nor a Python' "$folder/said" || fail "and says why"
