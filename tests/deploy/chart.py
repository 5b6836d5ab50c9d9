"""What the tests of the chart share: the chart, its values files, helm, and rendered objects."""

import copy
import functools
import os
import pathlib
import subprocess
import sys
import tempfile

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


@functools.cache
def rendered(arguments, name, namespace):
    done = helm("template", name, CHART, "--namespace", namespace, *arguments)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if each]


def render(*arguments, name="r", namespace="ns"):
    """The objects of the chart as dictionaries. AssertionError with helm's words if it refuses."""
    return copy.deepcopy(rendered(arguments, name, namespace))


def render_with(values, name="r", namespace="ns"):
    """The same with values as a dictionary; null is null there."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return render("-f", file.name, name=name, namespace=namespace)


def refusal(values, name="r"):
    """What helm says of values that it refuses."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        done = helm("template", name, CHART, "--namespace", "ns", "-f", file.name)
    assert done.returncode != 0, f"{values} is not refused"
    return done.stderr


def validate(each, version):
    """ValidationError where a version of Kubernetes would not take an object as it stands; its schemas are read once."""
    from kubernetes_validate import utils
    if not hasattr(utils.schema_contents, "cache_info"):
        utils.schema_contents = functools.cache(utils.schema_contents)
    utils.validate(each, version, strict=True)


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
        elif each["kind"] == "CronJob":
            template = each["spec"]["jobTemplate"]["spec"]["template"]
            yield each["metadata"]["name"], template["metadata"], template["spec"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each["metadata"], each["spec"]


def pod_of(objects, name):
    """A pod's spec by the name of what runs it."""
    return next(spec for found, _, spec in pod_specs(objects) if found == name)


def container_of(objects, name):
    return pod_of(objects, name)["containers"][0]
