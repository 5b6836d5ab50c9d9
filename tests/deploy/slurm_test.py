#!/usr/bin/env python3
"""deploy/slurm/train.sbatch under Debian's Slurm: a controller and two nodes on this machine, each node in a network of its own.

    slurm_test.py BUILD_FOLDER/bin

All runs in namespaces that end with the test. Needs root, slurmctld, slurmd and Slurm's commands; ends with 77 and the reason where
something is missing.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.argv.pop()).resolve()
INSIDE = "GALLEON_SLURM_TEST_INSIDE"
PATIENCE = 240
STEPS = 400

CONF = """ClusterName=trial
SlurmctldHost={host}(10.77.0.1)
SlurmctldPort=17000
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
KillWait=20
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName=n01 NodeHostname={host} NodeAddr=10.77.0.1 Port=17001 CPUs=2 RealMemory=1000
NodeName=n02 NodeHostname={host} NodeAddr=10.77.0.2 Port=17002 CPUs=2 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

JOB = """name: sea
task: pretrain
model: {{source: 'preset:tiny'}}
tokenizer: bytes
data: {{train: [text.txt], sequence_length: 32}}
optimizer: {{learning_rate: 0.01, galore: {{rank: 8, refresh_interval: 20}}}}
training: {{steps: {steps}, global_batch: 4, micro_batch: 2, log_every: 1}}
checkpoint: {{every: 100000}}
"""


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def wait_until(condition, what, log=None):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come" + (":\n" + log.read_text()[-3000:] if log and log.exists() else ""))
        time.sleep(0.1)


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, **more)
    if done.returncode != 0:
        raise AssertionError(f"{command} ends with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Cluster:
    """Processes of Slurm, in this network namespace and in another."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("state", "n01", "n02"):
            (folder / name).mkdir()
        hosts = folder / "hosts"
        host = socket.gethostname()
        hosts.write_text(f"127.0.0.1 localhost\n10.77.0.1 {host}\n10.77.0.1 n01\n10.77.0.2 n02\n")
        run("mount", "--bind", str(hosts), "/etc/hosts")
        self.other = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        net = pathlib.Path(f"/proc/{self.other.pid}/ns/net")
        wait_until(lambda: os.readlink(net) != os.readlink("/proc/self/ns/net"), "another network")
        there = ["nsenter", f"--net={net}"]
        run("ip", "link", "set", "lo", "up")
        run(*there, "ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "west", "type", "veth", "peer", "name", "east", "netns", str(self.other.pid))
        run("ip", "address", "add", "10.77.0.1/24", "dev", "west")
        run("ip", "link", "set", "west", "up")
        run(*there, "ip", "address", "add", "10.77.0.2/24", "dev", "east")
        run(*there, "ip", "link", "set", "east", "up")
        conf = folder / "slurm.conf"
        conf.write_text(CONF.format(host=host, folder=folder))
        os.environ["SLURM_CONF"] = str(conf)
        os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
        self.processes = [self.start("slurmctld", "-D", "-c"), self.start("slurmd", "-D", "-N", "n01"),
                          self.start(*there, "slurmd", "-D", "-N", "n02")]
        wait_until(lambda: self.states() == ["idle", "idle"], "two idle nodes", folder / "controller.log")

    def start(self, *command):
        with (self.folder / "out.log").open("a") as out:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def states(self):
        done = subprocess.run(["sinfo", "--noheader", "--Node", "--format=%T"], capture_output=True, text=True, check=False)
        return done.stdout.split()

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(PATIENCE)
        self.other.kill()
        self.other.wait()


class Batch:
    """A job of the batch script."""

    def __init__(self, folder, name, steps, *options, arguments=()):
        self.output, self.log = folder / name, folder / f"{name}.log"
        job = folder / f"{name}.yaml"
        job.write_text(JOB.format(steps=steps))
        self.id = run("sbatch", "--parsable", "--cpus-per-task=1", f"--output={self.log}", *options, str(ROOT / "deploy/slurm/train.sbatch"),
                      str(job), str(self.output), *arguments).strip()

    def fields(self):
        return dict(field.split("=", 1) for field in run("scontrol", "--oneliner", "show", "job", self.id).split() if "=" in field)

    def state(self):
        return self.fields()["JobState"]

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def await_end(self):
        wait_until(lambda: self.state() not in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED"), f"the end of {self.output.name}", self.log)
        return self.state()

    def losses(self):
        path = self.output / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [(line["step"], line["loss"]) for line in map(json.loads, (line for line in lines if line.endswith("\n"))) if "loss" in line]

    def await_step(self, step):
        wait_until(lambda: self.losses() and self.losses()[-1][0] >= step, f"step {step}", self.log)


class Slurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-slurm-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        (cls.folder / "text.txt").write_text("the sea was calm, and the ship went on; night came. " * 2000)
        cls.cluster = Cluster(cls.folder)
        cls.addClassCleanup(cls.cluster.stop)
        # The same on this machine alone.
        (cls.folder / "alone.yaml").write_text(JOB.format(steps=STEPS))
        run(str(BIN / "galleon"), "train", str(cls.folder / "alone.yaml"), "--output", str(cls.folder / "alone"), "--ranks", "2", "--threads", "1")
        cls.alone = [(line["step"], line["loss"]) for line in map(json.loads, (cls.folder / "alone/metrics.jsonl").read_text().splitlines())]

    def test_a_run_on_two_nodes_is_that_of_two_ranks(self):
        batch = Batch(self.folder, "two", STEPS, "--time=10")
        self.assertEqual(batch.await_end(), "COMPLETED", batch.text())
        self.assertEqual(batch.losses(), self.alone)
        text = batch.text()
        self.assertIn(f"slurm: job {batch.id} step 0, 2 tasks on n01 n02\n", text)
        self.assertRegex(text, r"slurm: time limit at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, a checkpoint is saved from \d\d:\d\d:\d\d on\n")
        self.assertIn("slurm: rank 0 of 2 on n01 at 10.77.0.1, 1 thread\n", text)
        self.assertIn("slurm: rank 1 of 2 on n02 at 10.77.0.2, 1 thread\n", text)
        self.assertEqual(text.count(f"done: {STEPS} steps"), 1, "one task speaks for all")
        self.assertEqual([path.name for path in batch.output.iterdir() if path.name.startswith(".")], [], "nothing is left behind")

    def test_a_signal_saves_a_checkpoint_and_the_requeued_job_goes_on_from_it(self):
        for signal in ("USR1", "TERM"):
            with self.subTest(signal):
                batch = Batch(self.folder, f"signal-{signal}", STEPS, "--time=10")
                batch.await_step(5)
                # As --signal sends it: to the tasks, not to the script.
                run("scancel", f"--signal={signal}", batch.id)
                wait_until(lambda: batch.fields()["Restarts"] == "1", "the way back into the queue", batch.log)
                self.assertIn("told to end; saving a checkpoint", batch.text())
                self.assertEqual(batch.await_end(), "COMPLETED", batch.text())
                self.assertIn("2 tasks on n01 n02, requeued 1 time\n", batch.text())
                self.assertIn("continuing from step ", batch.text())
                self.assertEqual(batch.losses(), self.alone)

    def test_it_ends_with_a_checkpoint_before_the_time_limit_without_a_signal(self):
        batch = Batch(self.folder, "limit", 1000000, "--time=1", "--signal=CONT@1")
        wait_until(lambda: batch.fields()["Restarts"] == "1", "the way back into the queue", batch.log)
        self.assertIn(f"the time limit of Slurm's job {batch.id} is near; saving a checkpoint", batch.text())
        stopped = int(re.search(r"stopped after step (\d+)", batch.text()).group(1))
        wait_until(lambda: f"continuing from step {stopped}" in batch.text(), "the resumed run", batch.log)
        run("scancel", batch.id)
        self.assertEqual(batch.await_end(), "CANCELLED", batch.text())

    def test_what_contradicts_srun_is_refused_by_name(self):
        batch = Batch(self.folder, "wrong", STEPS, "--time=1", arguments=("--ranks", "3"))
        self.assertEqual(batch.await_end(), "FAILED")
        self.assertIn("galleon: --ranks 3 contradicts srun, which has started 2 tasks; leave it out", batch.text())
        self.assertEqual(batch.fields()["Restarts"], "0", "a mistake is not repeated")

    def test_one_task_alone_runs_the_ranks_of_the_job_file(self):
        batch = Batch(self.folder, "one", STEPS, "--time=10", "--nodes=1", "--ntasks=1", "--cpus-per-task=2",
                      arguments=("--ranks", "2", "--threads", "1"))
        self.assertEqual(batch.await_end(), "COMPLETED", batch.text())
        self.assertEqual(batch.losses(), self.alone)


if __name__ == "__main__":
    if os.geteuid() != 0:
        skip("namespaces and slurmd need root")
    missing = [tool for tool in ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "ip", "unshare", "nsenter") if not shutil.which(tool)]
    if missing:
        skip(f"{', '.join(missing)} missing here")
    if INSIDE not in os.environ:
        spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if subprocess.run([*spaces, "ip", "link", "add", "west", "type", "veth", "peer", "name", "east"], capture_output=True, check=False).returncode != 0:
            skip("namespaces, or networks of pairs, cannot be made here")
        os.environ[INSIDE] = "1"
        os.execvp(spaces[0], [*spaces, sys.executable, "-B", __file__, *sys.argv[1:], str(BIN)])
    unittest.main()
