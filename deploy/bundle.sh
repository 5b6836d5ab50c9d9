#!/usr/bin/env bash
# A relocatable folder of a CUDA build: programs, the shared libraries that they need beside CUDA's own and the C library, and the GPU
# suite. It runs wherever there are an NVIDIA driver, CUDA 13's libraries and a C library as new as this machine's.
#   deploy/bundle.sh BIN OUT [NAME]        makes OUT/NAME and OUT/NAME.tar.xz; NAME is galleon-cuda where it is not given
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:?the folder of the programs}
out=${2:?where the bundle goes}
most=40000000 # bytes of the archive

name=${3:-galleon-cuda}
bundle=$out/$name
rm -rf "$bundle" "$bundle.tar.xz"
mkdir -p "$bundle/bin" "$bundle/tests"

programs=(galleon galleon-trainer galleon-scheduler galleon-worker gpu_suite test_kernels test_engine_on_gpu)
for program in "${programs[@]}" libgalleon_sentencepiece.so; do
  strip --strip-unneeded -o "$bundle/bin/$program" "$bin/$program"
done

# Whose place is known on every machine, and what comes with CUDA.
elsewhere='^(linux-vdso|ld-linux|libc\.so|libm\.so|libdl\.so|libpthread\.so|librt\.so|libresolv\.so|libcublas|libcusolver|libcusparse|libnvJitLink|libcudart|libnccl|libcuda\.so)'
ldd "${programs[@]/#/$bin/}" "$bin/libgalleon_sentencepiece.so" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u |
  while read -r library path; do
    if [[ $library =~ $elsewhere ]]; then continue; fi
    strip --strip-unneeded -o "$bundle/bin/$library" "$path"
  done
missing=$(ldd "${programs[@]/#/$bin/}" | grep 'not found' | sort -u || true)
if [[ -n $missing ]]; then
  echo "bundle: libraries are missing here:" >&2
  echo "$missing" >&2
  exit 1
fi
for program in "${programs[@]}"; do
  if ! readelf -d "$bundle/bin/$program" | grep -E 'R(UN)?PATH' | grep -q '\$ORIGIN'; then
    echo "bundle: $program does not look for libraries beside itself" >&2
    exit 1
  fi
done

mkdir "$bundle/tests/gpu"
for file in README.md run.sh parts.sh suites.sh libraries.sh service.sh pytorch.py against.py; do cp "tests/gpu/$file" "$bundle/tests/gpu/"; done
cp -r tests/fixtures "$bundle/tests/fixtures"
mkdir -p "$bundle/deploy"
cp -r deploy/examples "$bundle/deploy/examples"
cp LICENSE "$bundle/"

filter=()
if [[ $(uname -m) == x86_64 ]]; then filter=(--x86); fi # which makes addresses of calls alike
# Four programs hold the same kernels: with a dictionary larger than what lies between them they are stored once.
tar --sort=name --owner=0 --group=0 --mtime='2020-01-01' -C "$out" -cf - "$name" | xz -T1 "${filter[@]}" --lzma2=preset=6,dict=256MiB >"$bundle.tar.xz"
size=$(stat -c %s "$bundle.tar.xz")
echo "$bundle.tar.xz: $size bytes, $(du -sh "$bundle" | cut -f1) unpacked"
# What was packed starts: it sees a GPU here, or says that it sees none.
code=0
"$bundle/tests/gpu/run.sh" --parts list >/dev/null
"$bundle/bin/gpu_suite" probe >"$out/probe" || code=$?
if ((code != 0 && code != 77)); then
  echo "bundle: gpu_suite does not start: $code" >&2
  cat "$out/probe" >&2
  exit 1
fi
rm "$out/probe"
if ((size > most)); then
  echo "bundle: more than $most bytes; the largest files:" >&2
  ls -lS "$bundle/bin" | head -n 8 >&2
  exit 1
fi
