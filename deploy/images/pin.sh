#!/bin/sh
# Debian's images name in a comment, beside each archive, the frozen copy of it that they were made from. Uses that copy from here on.
set -eu
sources=/etc/apt/sources.list.d/debian.sources
if ! grep -q '^# http.*snapshot' "$sources"; then
  echo "pin.sh: $sources names no frozen archive; use a dated image of Debian, such as debian:bookworm-20250520-slim" >&2
  exit 1
fi
sed -i -e '/^URIs:/d' -e 's/^# http/URIs: http/' "$sources"
# What is frozen is past its date.
echo 'Acquire::Check-Valid-Until "false";' > /etc/apt/apt.conf.d/80frozen
apt-get update
