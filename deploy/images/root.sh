#!/usr/bin/env bash
# Assembles the images' root file system in a folder, without a container engine: a bare Debian root by mmdebstrap, then what the
# Dockerfile does in it.
#   deploy/images/root.sh PACKAGE.deb FOLDER [BASE.tar]      BASE.tar: a bare root (mmdebstrap --variant=apt) that is there already
# Needs root and mmdebstrap; packages come from where this machine's apt gets its own.
set -euo pipefail
package=$(realpath "$1")
folder=$2
here=$(cd "$(dirname "$0")" && pwd)
[[ ! -e "$folder" ]] || { echo "$folder is there already" >&2; exit 1; }
# bash, sed and the like are essential; apt is needed to install the package's dependencies.
bare=(--variant=apt)
if [[ -n ${3:-} ]]; then bare=(--variant=custom --setup-hook="tar -xf $(realpath "$3") -C \"\$1\""); fi
mmdebstrap --quiet "${bare[@]}" --components=main \
  --customize-hook="copy-in $package $here/install.sh $here/health /tmp" \
  --customize-hook="chroot \"\$1\" sh /tmp/install.sh /tmp/$(basename "$package") /tmp/health" \
  --customize-hook='rm -rf "$1"/tmp/*' \
  bookworm "$folder"
