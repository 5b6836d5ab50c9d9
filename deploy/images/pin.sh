#!/bin/sh
# Where packages come from, from here on:
#   pin.sh frozen     Debian's images name in a comment, beside each archive, the frozen copy of it that they were made from: that copy
#   pin.sh base       what the base image has, for those who keep an archive of their own
set -eu
case "$1" in
  base) exit 0 ;;
  frozen) ;;
  *) echo "pin.sh: $1: frozen or base is accepted" >&2; exit 1 ;;
esac
sources=/etc/apt/sources.list.d/debian.sources
if ! grep -qs '^# http.*snapshot' "$sources"; then
  echo "pin.sh: $sources names no frozen archive; use a dated image of Debian, such as debian:bookworm-20250520-slim, or ARCHIVE=base" >&2
  exit 1
fi
sed -i -e '/^URIs:/d' -e 's/^# http/URIs: http/' "$sources"
# What is frozen is past its date.
echo 'Acquire::Check-Valid-Until "false";' > /etc/apt/apt.conf.d/80frozen
