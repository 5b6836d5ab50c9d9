#!/bin/sh
# Unpacks the archive of deploy/bundle.sh, also where there is no xz: Python reads it as well.
#   tests/gpu/unpack.sh ARCHIVE FOLDER
set -eu
archive=${1:?the archive}
folder=${2:?where it goes}
mkdir -p "$folder"
if command -v xz >/dev/null; then
  xz -dc "$archive" | tar -xf - -C "$folder"
elif "${GALLEON_PYTHON:-python3}" -c 'import lzma' 2>/dev/null; then
  "${GALLEON_PYTHON:-python3}" -c 'import sys, tarfile
tarfile.open(sys.argv[1], "r:xz").extractall(sys.argv[2])' "$archive" "$folder"
else
  echo "unpack.sh: there is neither xz nor a Python with lzma here" >&2
  exit 1
fi
