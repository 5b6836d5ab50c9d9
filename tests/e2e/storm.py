#!/usr/bin/env python3
"""kill -9 of anything, again and again, while a service trains: jobs of four kinds succeed, as if nothing had been.

    storm.py FOLDER_OF_PROGRAMS [--kills N] [--seconds S] [--seed S]

One scheduler and three workers of two slots; every few seconds one of all their processes is killed: the scheduler, a daemon, a trainer
or its supervisor. Daemons and the scheduler are started again at once. In the end every job has succeeded, its losses and the bytes of
its last checkpoint's weights are those of the same job file trained alone by `galleon train`, and no process is left.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 600.0
WORKERS = ("north", "south", "west")

TRAINING = "training: {steps: STEPS, global_batch: 4, micro_batch: 2, log_every: 1, evaluate_every: 100, evaluate_tokens: 512}\ncheckpoint: {every: 60, keep: 2}\n"
KINDS = {
    "pretrain": """task: pretrain
model: {source: "preset:tiny"}
tokenizer: bytes
data: {train: ["text.txt"], validation: ["text.txt"], sequence_length: 32}
optimizer: {learning_rate: 0.01, galore: {rank: 8, refresh_interval: 20}}
parallel: {ranks: 2, zero: 2}
""",
    "lora": """task: finetune
model: {source: base}
tokenizer: bytes
data: {train: ["text.txt"], validation: ["text.txt"], sequence_length: 32}
optimizer: {learning_rate: 0.001, lora: {rank: 4}}
""",
    "chat": """task: finetune
model: {source: base}
tokenizer: bytes
data: {train: ["chat.jsonl"], validation: ["chat.jsonl"], format: chat, chat_template: "preset:plain", sequence_length: 64}
optimizer: {rule: adam8bit, learning_rate: 0.001}
""",
    "full": """task: pretrain
model: {source: "preset:tiny", seed: 3}
tokenizer: bytes
data: {train: ["text.txt"], validation: ["text.txt"], sequence_length: 32}
optimizer: {rule: adafactor, learning_rate: 0.01, update: per_layer}
""",
}


def processes_of(folder):
    """Processes of this service by what they are: their command lines name its folder."""
    found = {"scheduler": [], "daemon": [], "supervisor": [], "trainer": []}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state == "Z" or str(folder) not in " ".join(words):
            continue
        program = pathlib.Path(words[0]).name
        if program == "galleon-scheduler":
            found["scheduler"].append(int(entry.name))
        elif program == "galleon-trainer" and "--job-fd" in words:
            found["trainer"].append(int(entry.name))
        elif program == "galleon-worker":
            found["supervisor" if "--supervise" in words else "daemon"].append(int(entry.name))
    return found


class Service:
    """Daemons that are started again whenever they end; every one is ended by its id."""

    def __init__(self, programs, folder):
        self.programs, self.folder, self.running, self.server = programs, folder, {}, None

    def start(self, name):
        if name == "scheduler":
            command = [self.programs / "galleon-scheduler", "--data", self.folder / "scheduler", "--listen", self.server or "127.0.0.1:0",
                       "--metrics", "127.0.0.1:0", "--ready-file", self.folder / "scheduler.json", "--lease", "10s", "--max-lost", "1000"]
        else:
            command = [self.programs / "galleon-worker", "--server", self.server, "--name", name, "--data", self.folder / name, "--slots", "2",
                       "--allow", self.folder / "inputs", "--metrics", "127.0.0.1:0", "--threads", "1"]
        with (self.folder / f"{name}.log").open("a") as log:
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)
        if name == "scheduler" and self.server is None:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline and self.server is None:
                try:
                    self.server = json.loads((self.folder / "scheduler.json").read_text())["listen"]
                except (OSError, ValueError, KeyError):
                    time.sleep(0.05)

    def revive(self):
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                self.start(name)

    def stop(self):
        # The scheduler last, so that workers can take their leave.
        for names in ([n for n in self.running if n != "scheduler"], ["scheduler"]):
            for name in names:
                if name in self.running and self.running[name].poll() is None:
                    self.running[name].terminate()
            for name in names:
                if name in self.running:
                    try:
                        self.running[name].wait(timeout=60)
                    except subprocess.TimeoutExpired:
                        self.running[name].kill()
                        self.running[name].wait()

    def galleon(self, *arguments, check=True):
        done = subprocess.run([self.programs / "galleon", *arguments], env={**os.environ, "GALLEON_SERVER": self.server or ""},
                              capture_output=True, text=True, timeout=PATIENCE)
        assert not check or done.returncode == 0, f"galleon {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
        return done.stdout

    def record(self, job):
        """Of a scheduler that may just be coming back."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.revive()
            try:
                return json.loads(self.galleon("get", job, "-o", "json", check=False))
            except ValueError:
                time.sleep(0.1)
        raise AssertionError(f"no answer about {job}")


def losses(folder):
    found = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        if "loss" in line:
            assert line["step"] not in found, f"step {line['step']} is there twice"
            found[line["step"]] = line["loss"]
    return found


def weights(folder):
    """Names and hashes of the last checkpoint's weights."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    files = sorted(newest.glob("*.safetensors"))
    assert files, f"{newest} has no weights"
    return newest.name, {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def prepare(programs, inputs, steps):
    inputs.mkdir()
    (inputs / "text.txt").write_text("".join(("the sea was calm, " if i % 7 == 3 else "and the ship went on; ") + ("night came. " if i % 11 == 5 else "") for i in range(2500)))
    (inputs / "chat.jsonl").write_text("".join(json.dumps({"question": f"how many ships are {i} and {i % 5}?", "answer": f"{i + i % 5} ships."}) + "\n" for i in range(200)))
    (inputs / "first.yaml").write_text("name: base\n" + KINDS["pretrain"].replace("ranks: 2", "ranks: 1").replace("zero: 2", "zero: 1") + TRAINING.replace("STEPS", "20"))
    subprocess.run([programs / "galleon", "train", inputs / "first.yaml", "--output", inputs / "made", "--threads", "1"], check=True, capture_output=True)
    (inputs / "base").symlink_to(sorted((inputs / "made" / "checkpoints").glob("step-*"))[-1])
    for kind, text in KINDS.items():
        (inputs / f"{kind}.yaml").write_text(f"name: {kind}\n" + text + TRAINING.replace("STEPS", str(steps)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=16)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    programs = arguments.programs.resolve()
    print(f"seed {arguments.seed}", flush=True)
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        inputs = folder / "inputs"
        prepare(programs, inputs, arguments.steps)
        right = {}
        for kind in KINDS:
            done = subprocess.run([programs / "galleon", "train", inputs / f"{kind}.yaml", "--output", folder / f"right-{kind}", "--threads", "1"], capture_output=True, text=True)
            assert done.returncode == 0, f"{kind}: {done.stdout}{done.stderr}"
            right[kind] = losses(folder / f"right-{kind}"), weights(folder / f"right-{kind}")
            assert len(right[kind][0]) == arguments.steps
        service = Service(programs, folder)
        killed = {"scheduler": 0, "daemon": 0, "supervisor": 0, "trainer": 0}
        try:
            service.start("scheduler")
            for name in WORKERS:
                service.start(name)
            # Two of a kind for one: an odd number of ranks and slots that are never all in use.
            jobs = [(kind, json.loads(service.galleon("submit", inputs / f"{kind}.yaml", "-o", "json"))["job_id"]) for kind in [*KINDS, "pretrain"]]
            begin = time.monotonic()
            while sum(killed.values()) < arguments.kills:
                time.sleep(arguments.seconds / arguments.kills * (0.5 + draw.random()))
                service.revive()
                there = processes_of(folder)
                kind = draw.choice([kind for kind, ids in there.items() for _ in range(3 if kind == "trainer" else 1) if ids] or ["none"])
                if kind == "none":
                    continue
                try:
                    os.kill(draw.choice(there[kind]), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed[kind] += 1
                service.revive()
            storm = time.monotonic() - begin
            running = sum(service.record(job)["state"] != "SUCCEEDED" for _, job in jobs)
            assert running > 0, "every job had ended before the storm did: give more --steps"
            attempts = {}
            for kind, job in jobs:
                deadline = time.monotonic() + PATIENCE
                while time.monotonic() < deadline:
                    record = service.record(job)
                    if record["state"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                        break
                    time.sleep(0.5)
                assert record["state"] == "SUCCEEDED", f"{job}: {record['state']}: {record.get('message')}"
                attempts[job] = record["attempts"]
                output = pathlib.Path(record["folder"])
                assert losses(output) == right[kind][0], f"{job}: other losses than undisturbed"
                assert weights(output) == right[kind][1], f"{job}: other weights than undisturbed"
        except BaseException:
            for log in folder.glob("*.log"):
                print(f"--- {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
            raise
        finally:
            service.stop()
            deadline = time.monotonic() + 60
            while any(processes_of(folder).values()) and time.monotonic() < deadline:
                time.sleep(0.1)
            left = processes_of(folder)
            for pids in left.values():
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
        assert not any(left.values()), f"left running: {left}"
    print(f"{sum(killed.values())} kills in {storm:.0f} s ({', '.join(f'{n} of a {k}' for k, n in killed.items())}), {running} of {len(jobs)} jobs under way at their end; "
          f"attempts {attempts}; losses and weights equal bit for bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
