#!/bin/sh
# Turns a bare Debian root into Galleon's image. Runs inside that root, from the Dockerfile and from root.sh.
#   install.sh PACKAGE.deb HEALTH_CHECK
set -eu
export DEBIAN_FRONTEND=noninteractive
# Before the package asks for a user of that name: volumes and the chart know it by its number.
groupadd --gid 10001 galleon
useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin galleon
apt-get update
apt-get install -y --no-install-recommends "$1"
install -m 0755 "$2" /usr/lib/galleon/health
# Where volumes are mounted: a new volume takes the owner of the folder below it. Clusters that give ids themselves have them in group 0.
for folder in /var/lib/galleon /srv/galleon /srv/galleon/jobs /srv/galleon/data; do
  install -d -o 10001 -g 0 -m 0775 "$folder"
done
for folder in /var/lib/galleon-tls /var/lib/galleon-tls/authority /var/lib/galleon-tls/server /var/lib/galleon-tls/worker /var/lib/galleon-tls/admin; do
  install -d -o 10001 -g 10001 -m 0750 "$folder"
done
# Nothing in the image runs as anybody else, and nothing installs packages.
find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/cache/ldconfig/aux-cache /var/log/* /usr/share/man /usr/share/locale \
  /usr/share/zsh /usr/share/bash-completion
find /usr/share/doc -mindepth 1 -maxdepth 1 ! -name galleon -exec sh -c 'find "$1" -type f ! -name copyright -delete' _ {} \;
