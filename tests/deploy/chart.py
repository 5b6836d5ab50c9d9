"""What the tests of the chart share: the chart, its values files, helm, and rendered objects."""

import os
import pathlib
import subprocess
import sys

try:
    import yaml
except ImportError:
    yaml = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "galleon"
VALUES = sorted((ROOT / "helm" / "values").glob("*.yaml"))
TOOLS = pathlib.Path(os.environ.get("GALLEON_TOOLS", ROOT / "build" / "tools"))
HELM = TOOLS / "bin" / "helm"
SKIPPED = 77


def need_tools():
    """Ends with 77 where tests/tools.sh has not been run."""
    if yaml is None or not HELM.exists():
        print("skipped: helm or Kubernetes' schemas are not here; tests/tools.sh fetches them")
        sys.exit(SKIPPED)


def helm(*arguments):
    return subprocess.run([str(HELM), *map(str, arguments)], capture_output=True, text=True, check=False)


def render(*arguments, name="r", namespace="ns"):
    """The objects of the chart as dictionaries. AssertionError with helm's words if it refuses."""
    done = helm("template", name, CHART, "--namespace", namespace, *arguments)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(objects, kind, name=None):
    found = [each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert found, f"there is no {kind} {name or ''}"
    return found


def pod_specs(objects):
    """(object's name, its pod's metadata, its pod's spec) of everything that runs."""
    for each in objects:
        if each["kind"] in ("StatefulSet", "Deployment", "DaemonSet", "Job"):
            template = each["spec"]["template"]
            yield each["metadata"]["name"], template["metadata"], template["spec"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each["metadata"], each["spec"]
