#!/usr/bin/env bash
# Installs the Debian packages that Galleon builds and runs with, those that are missing, with sudo where the caller is not root.
#   deploy/packages.sh [build|test|arm64]      "test" adds what only the tests need; "arm64" what tests/arm64.sh needs beside "build"
set -euo pipefail

# ocl-icd-opencl-dev: oneDNN's CMake files ask for it, and its package only recommends it.
build=(g++ cmake ninja-build pkg-config ccache mold libabsl-dev libgrpc++-dev libssl-dev protobuf-compiler protobuf-compiler-grpc
  libprotobuf-dev libboost-dev prometheus-cpp-dev libyaml-cpp-dev libsqlite3-dev libcurl4-openssl-dev nlohmann-json3-dev libcli11-dev libspdlog-dev
  libopenblas-openmp-dev libdnnl-dev ocl-icd-opencl-dev libsentencepiece-dev libpcre2-dev libutf8proc-dev zlib1g-dev libzstd-dev
  libbz2-dev liblzma-dev)
test=(libgtest-dev libgmock-dev libbenchmark-dev prometheus curl jq python3 python3-venv iproute2 mmdebstrap buildah systemd-container
  chromium chromium-driver slurmctld slurmd slurm-client libpq-dev postgresql)

wanted=("${build[@]}")
case "${1:-build}" in
  test) wanted+=("${test[@]}") ;;
  arm64) wanted+=(g++-aarch64-linux-gnu qemu-user-static mmdebstrap) ;;
esac

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ "$status" == ii* ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then exit 0; fi

as_root=()
if [[ $EUID -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "These Debian packages are missing, and there is no sudo to install them: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
# Prometheus, Slurm and PostgreSQL are used with ports and folders of the tests' own; their system services are not wanted.
policy=$(mktemp -d)
trap 'rm -rf "$policy"' EXIT
"${as_root[@]}" apt-get update -q >"$policy/log" 2>&1 || { cat "$policy/log" >&2; exit 1; }
"${as_root[@]}" env RUNLEVEL=1 apt-get install -q -y --no-install-recommends "${missing[@]}" >"$policy/log" 2>&1 || {
  tail -n 20 "$policy/log" >&2
  exit 1
}
