"""What the tests of this folder share: runs of the command line in a folder of their own."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

BINARIES = pathlib.Path(sys.argv[1]).resolve()
PATIENCE = 300
# What must never be seen in anything that is printed or written.
SECRET = "hunter2-of-the-store"


class RunsTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-storage-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GALLEON_"))}
        self.environment["GALLEON_CACHE"] = str(self.folder / "cache")
        self.environment["AWS_EC2_METADATA_DISABLED"] = "true"

    def galleon(self, *arguments):
        """Exit status, and all that was printed."""
        done = subprocess.run([BINARIES / "galleon", *map(str, arguments)], cwd=self.folder, env=self.environment, timeout=PATIENCE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        self.assertNotIn(SECRET, done.stdout)
        return done.returncode, done.stdout

    def tokens(self, *inputs):
        """The bytes of the token file that `tokenize` makes of the inputs."""
        output = self.folder / "out.tokens"
        status, text = self.galleon("tokenize", "--tokenizer", "bytes", "--output", output, *[part for i in inputs for part in ("--input", i)])
        self.assertEqual(status, 0, text)
        return output.read_bytes()

    def refusal(self, *inputs):
        status, text = self.galleon("tokenize", "--tokenizer", "bytes", "--output", self.folder / "no.tokens",
                                    *[part for i in inputs for part in ("--input", i)])
        self.assertNotEqual(status, 0, text)
        return text

    def job(self, name="job", **parts):
        """A small job file; its parts replace these."""
        job = {
            "name": "small", "task": "pretrain", "model": {"source": "preset:tiny"}, "tokenizer": "bytes",
            "data": {"train": [], "sequence_length": 48},
            "training": {"steps": 6, "global_batch": 4, "micro_batch": 4, "log_every": 1},
        }
        for key, value in parts.items():
            if isinstance(value, dict):
                job.setdefault(key, {}).update(value)
            else:
                job[key] = value
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps({k: v for k, v in job.items() if v is not None}))
        return path

    def train(self, job, output="run", ok=True, more=()):
        status, text = self.galleon("train", job, "--output", self.folder / output, *more)
        self.assertEqual(status == 0, ok, text)
        return text

    def losses(self, output="run"):
        lines = [json.loads(line) for line in (self.folder / output / "metrics.jsonl").read_text().splitlines()]
        return [line["loss"] for line in lines if "loss" in line]


def main():
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
