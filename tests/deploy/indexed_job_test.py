#!/usr/bin/env python3
"""deploy/kubernetes/indexed-job.yaml: valid for every version of Kubernetes, and its pods' own commands train, stop and go on, here in one folder.

    indexed_job_test.py FOLDER_OF_PROGRAMS
"""

import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import chart

chart.need_tools()
import kubernetes_validate  # noqa: E402

PROGRAMS = pathlib.Path(sys.argv.pop()).resolve()
EXAMPLE = chart.ROOT / "deploy/kubernetes/indexed-job.yaml"
NOVELS = chart.ROOT / "deploy/examples/janeausten"


class IndexedJobTest(unittest.TestCase):
    def setUp(self):
        self.objects = list(chart.yaml.safe_load_all(EXAMPLE.read_text()))
        self.job = chart.of_kind(self.objects, "Job")[0]
        self.here = pathlib.Path(tempfile.mkdtemp(prefix="galleon-indexed-"))
        self.addCleanup(shutil.rmtree, self.here)
        self.running = []
        self.addCleanup(lambda: [process.kill() for process in self.running if process.poll() is None])

    def test_it_is_valid_for_every_version_of_kubernetes(self):
        newest = int(kubernetes_validate.latest_version().split(".")[1])
        for minor in range(25, newest + 1):
            for each in self.objects:
                chart.validate(each, f"1.{minor}")

    def test_pods_ranks_and_the_job_file_are_one_number(self):
        spec = self.job["spec"]
        file = chart.yaml.safe_load(chart.of_kind(self.objects, "ConfigMap")[0]["data"]["job.yaml"])
        ranks = int(next(a for a in spec["template"]["spec"]["containers"][0]["args"] if a.startswith("--ranks=")).split("=")[1])
        self.assertEqual({spec["completions"], spec["parallelism"], ranks, file["parallel"]["ranks"]}, {2})

    def start_pods(self):
        """What each pod runs, with the folders of its mounts below one of this test's."""
        container = self.job["spec"]["template"]["spec"]["containers"][0]
        pods = []
        for index in range(self.job["spec"]["completions"]):
            values = {"JOB_COMPLETION_INDEX": str(index), "POD_ADDRESS": "127.0.0.1"}
            self.assertEqual(set(values), {each["name"] for each in container["env"]})
            arguments = container["command"] + container["args"]
            for name, value in values.items():
                arguments = [a.replace(f"$({name})", value) for a in arguments]
            arguments = [re.sub(r"^(--[a-z-]+=)?/", rf"\g<1>{self.here}/", a) for a in arguments]
            log = (self.here / f"{index}.log").open("a")
            pods.append(subprocess.Popen([PROGRAMS / arguments[0], *arguments[1:], "--threads=1"], stdout=log, stderr=subprocess.STDOUT))
            log.close()
        self.running += pods
        return pods

    def said(self):
        return "\n".join((self.here / f"{index}.log").read_text() for index in range(2))

    def test_ranks_train_stop_behind_a_checkpoint_and_go_on(self):
        text = chart.of_kind(self.objects, "ConfigMap")[0]["data"]["job.yaml"]
        # The example's keys, for a model and a number of steps that end while one waits.
        small = chart.yaml.safe_load(text.replace("/srv/galleon/data", f"{NOVELS}"))
        small["model"]["source"] = "preset:llama-9m"
        small["data"].update(train=[f"{NOVELS}/train/*.txt"], sequence_length=32)
        small["optimizer"]["galore"] = {"rank": 8, "refresh_interval": 50}
        small["training"] = {"steps": 4000, "global_batch": 2, "micro_batch": 1, "log_every": 1}
        for folder in ("etc/novels", "srv/galleon/jobs"):
            (self.here / folder).mkdir(parents=True)
        file = self.here / "etc/novels/job.yaml"
        file.write_text(chart.yaml.safe_dump(small))
        pods = self.start_pods()
        end = time.monotonic() + 240
        while "step 3/" not in self.said():
            self.assertLess(time.monotonic(), end, self.said())
            self.assertFalse([pod for pod in pods if pod.poll() is not None], self.said())
            time.sleep(0.05)
        # As the kubelet does when a node is emptied or Kueue takes the run back. An end that looks like success would never be started again.
        for pod in pods:
            pod.send_signal(signal.SIGTERM)
        self.assertEqual([pod.wait(240) for pod in pods], [1, 1], self.said())
        saved = max(int(path.name.split("-")[1]) for path in (self.here / "srv/galleon/jobs/novels/checkpoints").glob("step-*"))
        self.assertGreater(saved, 0)
        # The same computation, so that it goes on: what it is told of its end is what is left of it.
        pods = self.start_pods()
        while f"continuing from step {saved}" not in self.said():
            self.assertLess(time.monotonic(), end + 240, self.said())
            self.assertFalse([pod for pod in pods if pod.poll() is not None], self.said())
            time.sleep(0.05)
        for pod in pods:
            pod.send_signal(signal.SIGTERM)
        self.assertEqual([pod.wait(240) for pod in pods], [1, 1], self.said())


if __name__ == "__main__":
    unittest.main()
