#!/usr/bin/env python3
"""A real service whose machines lose sight of each other: scheduler and workers in network namespaces of this program's own.

    partition.py FOLDER_OF_PROGRAMS

Scheduler and three workers each have a namespace and an address on a bridge, talk over mutual TLS, and share a folder. One
two-rank job for each case, always held to the losses of an undisturbed run, bit for bit:
- a worker is cut off for less than its lease: nothing is lost, the job is still in its first attempt;
- a worker is cut off for longer: the job goes on elsewhere, the trainer behind the cut ends itself before its lease is over,
  and after the cut nothing of it is accepted;
- the scheduler is cut off from all for longer than their leases: no trainer outlives its lease; the job goes on afterwards.
Needs root and `ip`; ends with 77 without.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from network import Network, refusal

SKIP = 77
LEASE = 6.0
STEPS = 300
ADDRESSES = {"scheduler": "10.72.0.1", "north": "10.72.0.2", "south": "10.72.0.3", "east": "10.72.0.4"}


class Service:
    def __init__(self, programs, folder, network):
        self.programs, self.folder, self.network = programs, folder, network
        self.running = {}

    def start(self, machine, command, ready):
        log = open(self.folder / f"{machine}.log", "ab")
        self.running[machine] = subprocess.Popen(["ip", "netns", "exec", self.network.names[machine], *map(str, command)],
                                                 stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        for _ in range(4800):
            if ready.exists():
                return json.loads(ready.read_text())
            if self.running[machine].poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"{machine} did not start:\n" + (self.folder / f"{machine}.log").read_text()[-2000:])

    def __enter__(self):
        subprocess.run([self.programs / "galleon", "admin", "init-tls", self.folder / "tls", "--host", ADDRESSES["scheduler"]],
                       check=True, stdout=subprocess.DEVNULL)
        ready = self.folder / "scheduler.json"
        said = self.start("scheduler", [self.programs / "galleon-scheduler", "--data", self.folder / "scheduler", "--listen",
                                        ADDRESSES["scheduler"] + ":0", "--metrics", "127.0.0.1:0", "--ready-file", ready,
                                        "--lease", f"{LEASE:.0f}s", "--tls", self.folder / "tls/server"], ready)
        self.server = said["listen"]
        for machine in ("north", "south"):
            self.start_worker(machine)
        return self

    def start_worker(self, machine):
        ready = self.folder / f"{machine}.json"
        self.start(machine, [self.programs / "galleon-worker", "--server", self.server, "--tls", self.folder / "tls/worker", "--name",
                             machine, "--data", self.folder / machine, "--slots", "1", "--allow", self.folder / "inputs", "--metrics",
                             "127.0.0.1:0", "--ready-file", ready, "--threads", "1"], ready)

    def __exit__(self, *_):
        for machine in ("north", "south", "east", "scheduler"):
            if machine in self.running:
                self.running[machine].terminate()
        for process in self.running.values():
            try:
                process.wait(timeout=240)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def galleon(self, *arguments, check=True):
        # From the scheduler's machine, which no cut keeps from the scheduler.
        result = subprocess.run(["ip", "netns", "exec", self.network.names["scheduler"], self.programs / "galleon", *map(str, arguments),
                                 "--server", self.server, "--tls", self.folder / "tls/admin"], capture_output=True, text=True)
        if check and result.returncode != 0:
            raise RuntimeError(f"galleon {arguments[0]}: {result.stdout}{result.stderr}")
        return result.stdout

    def get(self, job):
        return json.loads(self.galleon("get", job, "-o", "json"))

    def await_step(self, job, step, attempt=1, seconds=240):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            record = self.get(job)
            if record["state"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                raise RuntimeError(f"{job} is {record['state']} already: {record.get('message')}")
            if (record["state"] == "RUNNING" and record.get("attempts", 0) >= attempt
                    and int(record.get("progress", {}).get("step", 0)) >= step):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{job} has not come to step {step} of attempt {attempt}: {json.dumps(record)[:800]}")

    def workers(self):
        listed = json.loads(self.galleon("workers", "-o", "json"))
        return {w["worker_id"]: w.get("state") for w in (listed if isinstance(listed, list) else listed["workers"])}


def losses(path):
    found = {}
    for line in path.read_text().splitlines():
        said = json.loads(line)
        if "loss" in said:
            assert said["step"] not in found, f"step {said['step']} is there twice"
            found[said["step"]] = said["loss"]
    return found


def job_file(folder, name):
    path = folder / f"{name}.yaml"
    path.write_text(f"""name: {name}
task: pretrain
model: {{source: 'preset:tiny'}}
tokenizer: bytes
data: {{train: [inputs/text.txt], sequence_length: 32}}
optimizer: {{learning_rate: 0.01, galore: {{rank: 8, refresh_interval: 20}}}}
training: {{steps: {STEPS}, global_batch: 4, micro_batch: 2, log_every: 1}}
parallel: {{ranks: 2}}
checkpoint: {{every: 40}}
""")
    return path


def gone_within(network, machines, seconds, what):
    begin = time.monotonic()
    while any(network.trainers(machine) for machine in machines):
        assert time.monotonic() - begin < seconds, f"{what}: a trainer outlived its lease by {time.monotonic() - begin - LEASE:.1f} s"
        time.sleep(0.1)
    return time.monotonic() - begin


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    reason = refusal()
    if reason is not None:
        print(f"left out: {reason}")
        return SKIP
    programs = pathlib.Path(sys.argv[1]).resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-partition-"))
    kept = True
    try:
        (folder / "inputs").mkdir()
        (folder / "inputs" / "text.txt").write_text("".join(
            ("the sea was calm, " if i % 7 == 3 else "and the ship went on; ") + ("night came. " if i % 11 == 5 else "")
            for i in range(2500)))
        undisturbed = folder / "undisturbed"
        subprocess.run([programs / "galleon", "train", job_file(folder, "undisturbed"), "--output", undisturbed, "--threads", "1"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        expected = losses(undisturbed / "metrics.jsonl")
        assert len(expected) == STEPS

        with Network(ADDRESSES) as network, Service(programs, folder, network) as service:
            def submit(name):
                job = json.loads(service.galleon("submit", job_file(folder, name), "-o", "json"))["job_id"]
                service.await_step(job, 45)
                return job

            def finish(job, attempts):
                service.galleon("wait", job, "--timeout", "240")
                record = service.get(job)
                assert record["state"] == "SUCCEEDED", record
                assert record["attempts"] == attempts, f"{record['attempts']} attempts, not {attempts}"
                found = losses(pathlib.Path(record["folder"]) / "metrics.jsonl")
                assert found == expected, "the losses are not those of an undisturbed run"

            job = submit("brief")
            network.cut("north")
            time.sleep(2.5)
            network.heal("north")
            finish(job, 1)
            print("cut for 2.5 s: the first attempt went on", flush=True)

            job = submit("long")
            service.start_worker("east")
            network.cut("north")
            took = gone_within(network, ["north"], LEASE + 3, "behind the cut")
            service.await_step(job, 45, attempt=2)
            assert service.workers()["north"] in ("UNREACHABLE", "GONE"), service.workers()
            network.heal("north")
            finish(job, 2)
            for _ in range(2400):
                if service.workers()["north"] == "READY":
                    break
                time.sleep(0.1)
            assert service.workers()["north"] == "READY", service.workers()
            print(f"cut for longer than the lease: the trainer behind it ended after {took:.1f} s, the job went on elsewhere", flush=True)

            job = submit("blind")
            network.cut("scheduler")
            took = gone_within(network, ["north", "south", "east"], LEASE + 3, "without a scheduler")
            network.heal("scheduler")
            finish(job, 2)
            print(f"scheduler cut off: all trainers ended after {took:.1f} s, the job went on afterwards", flush=True)
        kept = False
        return 0
    finally:
        if kept:
            for log in folder.glob("*.log"):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
