set -eu
umask 077
# Whole, or not there: what is cut off has another name.
file=/backup/galleon-$(date -u +%Y%m%dT%H%M%SZ).db
galleon admin backup "$file.part" --yes
mv "$file.part" "$file"
# The newest, by the time in their names.
ls /backup/galleon-*.db | sort -r | tail -n "+$(($1 + 1))" | while read -r old; do rm -f "$old"; done
ls -l "$file"
