#!/usr/bin/env bash
# The chart as it is published: its images are those of one registry, each by its digest.
#   SOURCE=ADDRESS chart.sh OUT REGISTRY SCHEDULER WORKER WORKER_CUDA      SOURCE: where the tree is kept; digests such as sha256:…; - for an image that was not built, which keeps its tag
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?the folder for the archive} registry=${2:?the registry, such as registry.example.org/team}
shift 2
(($# == 3)) || { echo "chart.sh: three digests are expected" >&2; exit 1; }
version=$(sed -n 's/^version: //p' helm/galleon/Chart.yaml)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r helm/galleon "$work/galleon"
values=$work/galleon/values.yaml
replace() { # a line of the values file that must be there once
  [[ $(grep -cFx "$1" "$values") == 1 ]] || { echo "chart.sh: not one line of values.yaml is: $1" >&2; exit 1; }
  sed -i "s|^$1\$|$2|" "$values"
}
replace '  registry: ""' "  registry: ${registry%/}/"
for image in scheduler worker workerCuda; do
  name=galleon/${image/workerCuda/worker-cuda}
  if [[ $1 != - ]]; then
    [[ $1 =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "chart.sh: $1 is no digest" >&2; exit 1; }
    replace "  $image: $name" "  $image: $name:$version@$1"
  fi
  shift
done
if [[ -n ${SOURCE:-} ]]; then printf 'sources: ["%s"]\n' "$SOURCE" >>"$work/galleon/Chart.yaml"; fi
"${HELM:-helm}" lint --strict "$work/galleon" >&2
"${HELM:-helm}" package "$work/galleon" --destination "$out" >&2
echo "$out/galleon-$version.tgz"
