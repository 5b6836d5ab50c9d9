"""A real scheduler with its page, and what a test asks it by HTTP. Python's own library alone."""

import atexit
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = float(os.environ.get("GALLEON_PATIENCE", 120))

JOB = """name: {name}
task: pretrain
model: {{source: preset:llama-9m, overrides: {{num_hidden_layers: 2, hidden_size: 64, intermediate_size: 128, num_attention_heads: 2}}}}
tokenizer: bytes
data: {{train: [{data}], validation: [{data}], sequence_length: 32}}
optimizer: {{learning_rate: 0.01, galore: {{rank: 8, refresh_interval: 20}}}}
training: {{steps: {steps}, global_batch: 4, micro_batch: 4, log_every: 1, evaluate_every: 20, evaluate_tokens: 256}}
checkpoint: {{every: 1000000}}
{more}
"""


def eventually(what, found, patience=PATIENCE):
    """What `found` returns once it is true; other than that it raises."""
    end = time.monotonic() + patience
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience} s for {what}")
        time.sleep(0.05)


class Service:
    def __init__(self, binaries, *options, folder=None, prefix=()):
        self.binaries = pathlib.Path(binaries)
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="galleon-page-"))
        self.options = options
        self.prefix = list(prefix)
        self.processes = []
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("GALLEON_")}
        self.environment["HOME"] = str(self.folder)
        atexit.register(self.stop)
        (self.folder / "text").mkdir(exist_ok=True)
        (self.folder / "text/novel.txt").write_text("It is a truth universally acknowledged that a test has to fail once. " * 200)

    def start(self, http="127.0.0.1:0"):
        ready = self.folder / "scheduler.json"
        ready.unlink(missing_ok=True)
        with open(self.folder / "scheduler.log", "ab") as log:
            self.scheduler = subprocess.Popen([*self.prefix, self.binaries / "galleon-scheduler", "--data", self.folder / "scheduler", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
                                               "--http", http, "--ready-file", ready, *self.options], stdout=log, stderr=log, env=self.environment)
        self.processes.append(self.scheduler)
        eventually("the scheduler", lambda: ready.exists() or self.scheduler.poll() is not None)
        if not ready.exists():
            raise AssertionError((self.folder / "scheduler.log").read_text()[-2000:])
        said = json.loads(ready.read_text())
        self.server = said["listen"]
        self.page = said["page"]
        self.address = urllib.parse.urlsplit(self.page).netloc
        self.environment["GALLEON_SERVER"] = self.server
        return self

    def worker(self, name="here", slots=1):
        ready = self.folder / f"{name}.json"
        ready.unlink(missing_ok=True)
        with open(self.folder / f"{name}.log", "ab") as log:
            # Trainers that never end leave the processors to what is looked at.
            process = subprocess.Popen(["nice", "-n", "19", self.binaries / "galleon-worker", "--server", self.server, "--name", name, "--data", self.folder / name, "--slots", str(slots), "--threads", "1",
                                        "--allow", self.folder / "text", "--metrics", "127.0.0.1:0", "--ready-file", ready], stdout=log, stderr=log, env=self.environment)
        self.processes.append(process)
        eventually("the worker", lambda: ready.exists() or process.poll() is not None)
        return process

    def cli(self, *arguments, check=True, **environment):
        done = subprocess.run([self.binaries / "galleon", *arguments], capture_output=True, text=True, env={**self.environment, **environment}, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"galleon {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def submit(self, name, steps=100000, more="", *options, **environment):
        path = self.folder / f"{name}.yaml"
        path.write_text(JOB.format(name=name, steps=steps, data=self.folder / "text/novel.txt", more=more))
        return self.cli("submit", path, *options, **environment).removeprefix("submitted ").split(":")[0].strip()

    def ask(self, target, method="GET", body=None, headers=None, token=None, raw=False):
        """(status, answer, headers)"""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        send = dict(headers or {})
        if token:
            send["Authorization"] = f"Bearer {token}"
        if method == "POST":
            send.setdefault("Content-Type", "application/json")
            body = json.dumps(body or {}) if not isinstance(body, (str, bytes)) else body
        connection.request(method, target, body=body, headers=send)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, text if raw else json.loads(text), response.headers

    def events(self, target, token=None, last=None):
        """The events of a stream, as (name, id, data)."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if last:
            headers["Last-Event-ID"] = last
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise AssertionError(f"{response.status} {response.read()}")
        try:
            event = {}
            for line in response:
                line = line.decode().rstrip("\n")
                if line:
                    key, _, value = line.partition(": ")
                    event[key] = value
                    continue
                if "data" in event:
                    yield event.get("event"), event.get("id"), json.loads(event["data"])
                event = {}
        finally:
            response.close()
            connection.close()

    def end_trainers(self):
        """Trainers outlive their worker, for the one that comes after it: those that have this folder on their command line are of this test."""
        for command in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if os.fsencode(f"{self.folder}/") in command.read_bytes():
                    os.kill(int(command.parent.name), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass  # it has ended, or is somebody else's

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        self.end_trainers()
        shutil.rmtree(self.folder, ignore_errors=True)
