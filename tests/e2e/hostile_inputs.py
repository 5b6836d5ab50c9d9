#!/usr/bin/env python3
"""What a job's folders and files can make a worker read: nothing but what lies below its --allow, whatever the links say.

    hostile_inputs.py FOLDER_OF_PROGRAMS
"""
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROGRAMS = None
PATIENCE = 240
LEASE = 10  # seconds
SECRET = "-----BEGIN PRIVATE KEY----- this is nobody's business "


class Service:
    def __init__(self, folder):
        self.folder, self.running = folder, {}

    def start(self, name, *command):
        ready = self.folder / f"{name}.json"
        with open(self.folder / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen([*map(str, command), "--metrics", "127.0.0.1:0", "--ready-file", str(ready)], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not ready.exists():
            if self.running[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / f"{name}.log").read_text())
            time.sleep(0.05)
        return json.loads(ready.read_text())

    def stop(self):
        for process in list(self.running.values())[::-1]:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


class HostileInputs(unittest.TestCase):
    worker_options = ()

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-hostile-")).resolve()
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        self.allowed, self.keys = self.folder / "allowed", self.folder / "keys"
        self.allowed.mkdir()
        self.keys.mkdir()
        (self.keys / "key.pem").write_text(SECRET * 200)
        (self.allowed / "text.txt").write_text("the sea was calm and the ship went on; " * 200)
        self.service = Service(self.folder)
        self.addCleanup(self.service.stop)
        said = self.service.start("scheduler", PROGRAMS / "galleon-scheduler", "--data", self.folder / "scheduler", "--jobs", self.folder / "jobs",
                                  "--listen", "127.0.0.1:0", "--lease", f"{LEASE}s")
        self.environment = {**os.environ, "GALLEON_SERVER": said["listen"]}
        self.service.start("worker", PROGRAMS / "galleon-worker", "--server", said["listen"], "--name", "w", "--data", self.folder / "worker", "--slots", "2",
                           "--threads", "1", "--allow", self.allowed, *self.worker_options)

    def galleon(self, *arguments):
        return subprocess.run([PROGRAMS / "galleon", *map(str, arguments)], env=self.environment, capture_output=True, text=True, timeout=PATIENCE)

    def run_job(self, data="text.txt", tokenizer="bytes", model="preset:tiny"):
        """Submits a job that names paths which the submitter need not have, and waits for its end."""
        path = self.folder / f"job-{time.monotonic_ns()}.yaml"
        path.write_text(json.dumps({
            "name": "hostile", "task": "pretrain", "model": {"source": str(model)}, "tokenizer": str(tokenizer),
            "data": {"train": [str(self.allowed / data)], "sequence_length": 16}, "optimizer": {"learning_rate": 0.01},
            "training": {"steps": 2, "global_batch": 2, "micro_batch": 1}, "checkpoint": {"every": 2}}))
        said = self.galleon("submit", path, "-o", "json")
        self.assertEqual(said.returncode, 0, said.stderr)
        job = json.loads(said.stdout)["job_id"]
        waited = self.galleon("wait", job, "--timeout", PATIENCE)
        return waited.returncode, json.loads(self.galleon("get", job, "-o", "json").stdout), self.folder / "jobs" / job

    def assert_nothing_taken(self):
        """Neither as text nor as the ids of a byte tokenizer does the secret lie in anything that jobs have made."""
        words = SECRET[5:20].encode()
        wide = b"".join(bytes([c, 0]) for c in words)
        for path in (self.folder / "jobs").rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                self.assertFalse(words in content or wide in content, path)

    def test_a_link_of_a_tokenizer_folder_to_a_key_is_refused_by_name(self):
        folder = self.allowed / "tokenizer"
        folder.mkdir()
        symbols, others = [], 256
        for byte in range(256):  # as GPT-2 writes bytes
            shown = 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte
            symbols.append(chr(byte if shown else others))
            others += 0 if shown else 1
        (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate([*symbols, "</s>"])}))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "</s>"}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        code, job, _ = self.run_job(tokenizer=folder)
        self.assertEqual(code, 0, job)
        (folder / "merges.txt").unlink()
        key = self.keys / "merges"
        key.write_text("#version: 0.2 " + SECRET + "\n")
        (folder / "merges.txt").symlink_to(key)
        code, job, _ = self.run_job(tokenizer=folder)
        self.assertEqual(code, 1, job)
        self.assertIn(f"{folder}/merges.txt ({key}) lies outside", job["message"])
        self.assert_nothing_taken()

    def test_a_model_folder_of_links_loads_nothing_from_outside(self):
        code, _, folder = self.run_job()
        self.assertEqual(code, 0)
        model = next((folder / "checkpoints").glob("step-*"))
        elsewhere = self.folder / "elsewhere"
        shutil.copytree(model, elsewhere)
        for path in (elsewhere, *elsewhere.iterdir()):
            path.chmod(0o755)
        linked = self.allowed / "model"
        linked.mkdir()
        for name in ("config.json", "model.safetensors"):
            (linked / name).symlink_to(elsewhere / name)
        code, job, _ = self.run_job(model=linked)
        self.assertEqual(code, 1, job)
        self.assertIn("lies outside", job["message"])

    def test_layouts_that_are_made_of_links_work(self):
        code, _, folder = self.run_job()
        self.assertEqual(code, 0)
        model = next((folder / "checkpoints").glob("step-*"))
        hub = self.allowed / "models--some--model"
        (hub / "blobs").mkdir(parents=True)
        (hub / "snapshots" / "0123").mkdir(parents=True)
        for i, name in enumerate(("config.json", "model.safetensors")):
            shutil.copy(model / name, hub / "blobs" / f"{i:040x}")
            (hub / "blobs" / f"{i:040x}").chmod(0o644)
            (hub / "snapshots" / "0123" / name).symlink_to(f"../../blobs/{i:040x}")
        parts = self.allowed / "parts"
        parts.mkdir()
        (parts / "a.txt").symlink_to("../text.txt")
        (parts / "b.txt").symlink_to(self.allowed / "text.txt")
        (self.allowed / "latest").symlink_to("parts")
        code, job, _ = self.run_job(data="latest/*.txt", model=hub / "snapshots" / "0123")
        self.assertEqual(code, 0, job)

    def test_no_exchange_of_data_between_the_check_and_its_use_wins(self):
        swapped, stop, count = self.allowed / "swapped.txt", threading.Event(), [0]

        def swap():
            targets = ("text.txt", str(self.keys / "key.pem"))
            while not stop.is_set():
                (self.allowed / "new").symlink_to(targets[count[0] % 2])
                os.replace(self.allowed / "new", swapped)
                count[0] += 1
                time.sleep(0.0002)

        swapped.symlink_to("text.txt")
        attacker = threading.Thread(target=swap)
        attacker.start()
        try:
            ends = [self.run_job(data="swapped.txt")[0] for _ in range(8)]
        finally:
            stop.set()
            attacker.join()
        self.assertGreater(count[0], 2000)
        self.assertTrue(all(code in (0, 1) for code in ends), ends)
        self.assert_nothing_taken()

    def test_others_may_not_read_what_a_job_writes(self):
        code, _, folder = self.run_job()
        self.assertEqual(code, 0)
        made = [path for path in folder.rglob("*") if path.is_file()]
        self.assertGreater(len(made), 4)
        for path in [*made, *(self.folder / "worker").rglob("*")]:
            if not path.is_symlink():
                self.assertEqual(path.stat().st_mode & 0o007, 0, path)
        self.assertEqual((self.folder / "worker" / "attempts").stat().st_mode & 0o777, 0o700)

    def test_the_log_says_whether_landlock_is_in_force(self):
        self.assertRegex((self.folder / "worker.log").read_text(), r"trainers are (confined by Landlock, version \d+|not confined by Landlock)")

    def test_a_trainer_ends_itself_soon_after_its_lease_though_its_daemon_is_stopped(self):
        path = self.folder / "endless.yaml"
        path.write_text(json.dumps({
            "name": "endless", "task": "pretrain", "model": {"source": "preset:tiny"}, "tokenizer": "bytes",
            "data": {"train": [str(self.allowed / "text.txt")], "sequence_length": 16}, "optimizer": {"learning_rate": 0.01},
            "training": {"steps": 1000000, "global_batch": 1, "micro_batch": 1, "log_every": 1}}))
        said = self.galleon("submit", path, "-o", "json")
        self.assertEqual(said.returncode, 0, said.stderr)
        metrics = self.folder / "jobs" / json.loads(said.stdout)["job_id"] / "metrics.jsonl"

        def wait(condition, patience=PATIENCE):
            deadline = time.monotonic() + patience
            while not condition():
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)

        wait(lambda: metrics.exists() and metrics.stat().st_size > 0)
        trainer, = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*") if self.is_trainer(path)]
        worker = self.service.running["worker"]
        worker.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        try:
            wait(lambda: not self.is_trainer(pathlib.Path("/proc") / str(trainer)))
        finally:
            worker.send_signal(signal.SIGCONT)
        # The lease, and what a busy machine takes to run a thread; with a full socket it once went on for half a minute.
        self.assertLess(time.monotonic() - begin, LEASE + 10)

    def is_trainer(self, process):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return False
        return "galleon-trainer\0" in command and str(self.folder) in command and "--supervise" not in command and state != "Z"

    def test_keys_and_the_daemons_own_folder_must_not_lie_where_jobs_read(self):
        for data, more in ((self.allowed / "w", []), (self.folder / "w", ["--tls", self.allowed / "tls"])):
            subprocess.run([PROGRAMS / "galleon", "admin", "init-tls", self.allowed / "tls", "--host", "localhost"], capture_output=True, check=False)
            if more:
                more = ["--tls", self.allowed / "tls" / "worker"]
            said = subprocess.run([PROGRAMS / "galleon-worker", "--server", "127.0.0.1:1", "--name", "x", "--data", data, "--slots", "1", "--allow", self.allowed, *more],
                                  capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(said.returncode, 1, said.stderr)
            self.assertIn("lies below --allow", said.stderr)


@unittest.skipUnless(os.geteuid() == 0, "only root may change users")
class TrainerUser(HostileInputs):
    """The same with trainers of a user of their own."""
    worker_options = ("--trainer-user", "nobody")

    def test_a_jobs_folder_is_given_to_the_trainers_user_and_its_files_are_his(self):
        code, job, folder = self.run_job()
        self.assertEqual(code, 0, job)
        nobody = pwd.getpwnam("nobody").pw_uid
        self.assertEqual({path.stat().st_uid for path in [folder, *folder.rglob("*")]}, {nobody})
        self.assertEqual(folder.stat().st_mode & 0o777, 0o750)

    def test_a_user_that_is_not_there_or_root_is_refused_by_name(self):
        for name, why in (("no-such-user-here", "no user no-such-user-here"), ("root", "other than root")):
            said = subprocess.run([PROGRAMS / "galleon-worker", "--server", "127.0.0.1:1", "--name", "x", "--data", self.folder / "x", "--slots", "1",
                                   "--trainer-user", name], capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(said.returncode, 1)
            self.assertIn(why, said.stderr)

    def test_a_daemon_that_may_not_change_users_says_so(self):
        other = pwd.getpwnam("daemon").pw_uid
        data = self.folder / "of-daemon"
        data.mkdir()
        os.chown(data, other, other)
        said = subprocess.run([PROGRAMS / "galleon-worker", "--server", "127.0.0.1:1", "--name", "x", "--data", data, "--slots", "1", "--trainer-user", "nobody"],
                              capture_output=True, text=True, timeout=PATIENCE, user=other, group=other, extra_groups=[])
        self.assertEqual(said.returncode, 1)
        self.assertIn("may not start processes as another user", said.stderr)


if __name__ == "__main__":
    PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
