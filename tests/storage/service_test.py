#!/usr/bin/env python3
"""A job of the service whose inputs lie in an object store, and which loses its folder: it goes on from the copies.

    service_test.py BIN_FOLDER
"""

import json
import shutil
import signal
import subprocess
import time

from parquet_test import rows
from runs import BINARIES, PATIENCE, main
from store_server import StoreTest


class ServiceTest(StoreTest):
    def setUp(self):
        super().setUp()
        self.start_store("team")
        self.server.put("team", "corpus/a.jsonl", "".join(json.dumps(r) + "\n" for r in rows(400)).encode())
        self.processes = {}
        self.addCleanup(self.end_all)
        ready = self.start("scheduler", "galleon-scheduler", "--data", "state", "--jobs", "jobs", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
        self.environment["GALLEON_SERVER"] = ready["listen"]

    def start(self, name, program, *arguments):
        ready = self.folder / f"{name}.json"
        ready.unlink(missing_ok=True)
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen([BINARIES / program, *arguments, "--ready-file", ready], cwd=self.folder, env=self.environment,
                                                    stdout=log, stderr=log)
        self.wait(lambda: self.runs(name) and ready.exists() and ready.stat().st_size > 0, name)
        return json.loads(ready.read_text())

    def runs(self, name):
        self.assertIsNone(self.processes[name].poll(), (self.folder / f"{name}.log").read_text()[-2000:])
        return True

    def start_worker(self, *more):
        self.start("worker", "galleon-worker", "--name", "w1", "--data", "w1", "--slots", "1", "--threads", "1", "--metrics", "127.0.0.1:0", *more)

    def end(self, name):
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0, name)

    def end_all(self):
        for name in list(self.processes)[::-1]:
            process = self.processes.pop(name)
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)

    def wait(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def submit(self, **parts):
        job = self.job(name=parts.pop("file", "job"), data={"train": ["s3://team/corpus/*.jsonl"]}, **parts)
        status, text = self.galleon("submit", job)
        self.assertEqual(status, 0, text)
        return text.split()[1].removeprefix("jobs/").rstrip(":,.;")

    def test_a_job_that_loses_its_folder_goes_on_from_its_copies(self):
        self.start_worker("--allow", "s3://team/corpus", "--allow-copies", "s3://team/runs")
        job = self.submit(training={"steps": 4000, "log_every": 1000}, checkpoint={"every": 200, "copy_to": "s3://team/runs/a/"})
        self.wait(lambda: any(k.endswith("manifest.json") for k in self.server.keys("team", "runs/a/")), "a copy")
        self.end("worker")
        shutil.rmtree(self.folder / "jobs")
        (self.folder / "jobs").mkdir()
        self.start_worker("--allow", "s3://team/corpus", "--allow-copies", "s3://team/runs")
        status, text = self.galleon("wait", job)
        self.assertEqual(status, 0, text)
        status, logs = self.galleon("logs", job)
        self.assertIn("brought from s3://team/runs/a/step-", logs)
        self.assertIn("runs/a/step-00004000/manifest.json", self.server.keys("team", "runs/a/"))

    def test_what_a_worker_was_not_told_to_read_or_write_is_refused(self):
        self.start_worker("--allow", "s3://team/other", "--allow-copies", "s3://team/runs")
        status, text = self.galleon("wait", self.submit())
        self.assertNotEqual(status, 0)
        self.assertIn("data.train: s3://team/corpus/ lies outside of what this worker may read: s3://team/other", text)
        self.end("worker")
        self.start_worker("--allow", "s3://team/corpus")
        status, text = self.galleon("wait", self.submit(file="copies", checkpoint={"copy_to": "s3://team/runs/a"}))
        self.assertNotEqual(status, 0)
        self.assertIn("checkpoint.copy_to: s3://team/runs/a is not where this worker lets jobs write; start the worker with --allow-copies", text)


if __name__ == "__main__":
    main()
