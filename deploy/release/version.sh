#!/usr/bin/env bash
# Prints the version of a tag such as v0.1.0, if the tree is of that version everywhere: version.sh TAG
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${1:?a tag, such as v0.1.0}
version=${tag#v}
[[ $tag == v* && $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "version.sh: $tag is no tag of a release; v0.1.0 would be one" >&2; exit 1; }
wrong=0
is() { # FILE WHAT FOUND
  if [[ $3 != "$version" ]]; then
    echo "version.sh: $1: $2 is ${3:-missing}, and the tag is $tag" >&2
    wrong=1
  fi
}
is CMakeLists.txt "the project's VERSION" "$(sed -n 's/^project(galleon VERSION \([^ ]*\).*/\1/p' CMakeLists.txt)"
is helm/galleon/Chart.yaml version "$(sed -n 's/^version: //p' helm/galleon/Chart.yaml)"
is helm/galleon/Chart.yaml appVersion "$(sed -n 's/^appVersion: //p' helm/galleon/Chart.yaml)"
is deploy/package/changelog "the newest entry" "$(sed -n '1s/^galleon (\(.*\)).*/\1/p' deploy/package/changelog)"
for image in scheduler worker; do
  is deploy/compose.yaml "the tag of galleon/$image" "$(sed -n "s|^  image: galleon/$image:||p" deploy/compose.yaml)"
done
((wrong == 0))
echo "$version"
