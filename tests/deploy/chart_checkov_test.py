#!/usr/bin/env python3
"""What checkov finds in the chart's objects, but for what is argued here. Where it is not installed this test is skipped."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import chart

chart.need_tools()

CHECKOV = os.environ.get("GALLEON_CHECKOV") or shutil.which("checkov", path=f"{chart.TOOLS}/checkov/bin:{os.environ['PATH']}")
# What is not done, and why: check, then kinds of objects, None for all.
EXCEPTIONS = {
    "CKV_K8S_11": (None, "no limit of processors: a scheduler or trainer that is throttled misses its lease, and requests share processors already"),
    "CKV_K8S_21": (None, "objects name no namespace: helm puts them where the release is"),
    "CKV_K8S_8": ({"Pod", "Deployment"}, "helm's test is a command that ends, and the pod with the command line waits and answers nobody"),
    "CKV_K8S_9": ({"Pod", "Deployment"}, "helm's test is a command that ends, and the pod with the command line waits and answers nobody"),
    "CKV_K8S_38": ({"Job"}, "the job that makes secrets is the one that asks the API server"),
}
IMAGE = "@sha256:" + "0123456789abcdef" * 4
VALUES = {
    "image": {"scheduler": f"galleon/scheduler{IMAGE}", "worker": f"galleon/worker{IMAGE}", "workerCuda": f"galleon/worker-cuda{IMAGE}"},
    "workers": {"cpu": {}, "gpu": {"gpus": 1}},
    "backup": {"schedule": "@daily"},
    "cli": {"enabled": True},
}


def findings(objects):
    """Failed checks, each with the kinds that it was found at."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "objects.yaml"
        file.write_text(chart.yaml.safe_dump_all(objects))
        done = subprocess.run([CHECKOV, "-f", str(file), "--framework", "kubernetes", "--compact", "-o", "json", "--skip-download"],
                              capture_output=True, text=True, timeout=300, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0 and report["summary"]["passed"] > 0, done.stderr
    found = collections.defaultdict(set)
    for each in report["results"]["failed_checks"]:
        found[each["check_id"]].add(each["resource"].split(".")[0])
    return dict(found)


class CheckovTest(unittest.TestCase):
    def test_nothing_is_found_but_what_is_argued_and_nothing_is_argued_that_is_not_found(self):
        found = findings(chart.render_with(VALUES))
        self.assertEqual(set(found), set(EXCEPTIONS))
        for check, (kinds, _) in EXCEPTIONS.items():
            if kinds is not None:
                self.assertLessEqual(found[check], kinds, check)

    def test_a_pod_that_may_write_its_root_is_found(self):
        found = findings(chart.render_with({"pods": {"securityContext": {"readOnlyRootFilesystem": False}}}))
        self.assertIn("CKV_K8S_22", found)


if __name__ == "__main__":
    if CHECKOV is None:
        print("skipped: checkov is not installed")
        sys.exit(chart.SKIPPED)
    unittest.main()
