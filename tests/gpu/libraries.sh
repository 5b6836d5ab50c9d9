# Sourced by run.sh: CUDA's libraries where the loader does not know them.

# Names of libraries that a program lacks, in this environment.
lacking() { ldd "$1" 2>/dev/null | awk '/=> not found/ { print $1 }'; }

# find_libraries PROGRAM PYTHON: adds to LD_LIBRARY_PATH the folders that hold what the program lacks, if it lacks anything: CUDA's
# own, then those that packages of Python brought. NCCL, which programs load at run time, is looked for as well.
find_libraries() {
  local program=$1 python=$2 folder name missing
  local candidates=("${CUDA_HOME:-/nowhere}/lib64" "${CUDA_PATH:-/nowhere}/lib64" /usr/local/cuda/lib64)
  if command -v "$python" >/dev/null; then
    while IFS= read -r folder; do candidates+=("$folder"); done < <(timeout 30 "$python" -c '
import glob, os, site, sys
folders = [*site.getsitepackages(), site.getusersitepackages(), *sys.path]
for folder in dict.fromkeys(f for f in folders if f):
    for found in sorted(glob.glob(os.path.join(folder, "nvidia", "*", "lib"))):
        print(found)' 2>/dev/null)
  fi
  missing=$(lacking "$program")
  if [[ -n $missing ]] || ! ldconfig -p 2>/dev/null | grep -q 'libnccl\.so\.2'; then missing+=" libnccl.so.2"; fi
  for folder in "${candidates[@]}"; do
    for name in $missing; do
      if [[ -e $folder/$name && ":${LD_LIBRARY_PATH:-}:" != *":$folder:"* ]]; then
        export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
      fi
    done
  done
  missing=$(lacking "$program")
  if [[ -n $missing ]]; then
    echo "libraries are missing, here and in Python's packages:" $missing
    return 1
  fi
}
