#!/usr/bin/env python3
"""Three schedulers as the chart renders them on a real PostgreSQL: one is killed, all are replaced in a StatefulSet's order, and a backup
goes from a journal of SQLite into the database.

    schedulers_test.py FOLDER_OF_PROGRAMS

The pods' own commands, users, mounts, certificates and names, in a network of the test's own, where each has an address of loopback. The
database speaks TLS with a certificate of its own authority. Needs root, for namespaces; ends with 77 without.
"""

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import chart
import pods_test
from pods_test import ApiServer, Pod

sys.path.insert(0, str(chart.ROOT / "tests/e2e"))
import postgres  # noqa: E402

PROGRAMS = pathlib.Path(sys.argv[-1]).resolve()
DATABASE = "db.example.org"
INPUTS = {"inputs": [{"name": "data", "mountPath": "/srv/galleon/data", "existingClaim": "data"}]}
SHARED = {"scheduler": {"replicas": 3, "store": {"postgresql": {"existingSecret": "db", "caSecret": "db"}}, "persistence": {"accessMode": "ReadWriteMany"}},
          "storage": {"jobs": {"accessMode": "ReadWriteMany"}, **INPUTS}, "cli": {"enabled": True},
          "workers": {"cpu": {"memoryPerSlot": "512Mi", "resources": {"limits": {"memory": "1Gi"}}}}}
ONE = {"storage": INPUTS, "cli": {"enabled": True}, "backup": {"schedule": "@daily"}}
ARRANGEMENTS = {"several": SHARED, "one": ONE, "restore": {**SHARED, "scheduler": {**SHARED["scheduler"], "replicas": 0}, "backup": {"restore": "it.db"}}}
JOB = json.dumps({"name": "given", "task": "pretrain", "model": {"source": "preset:tiny"}, "tokenizer": "bytes", "optimizer": {"learning_rate": 0.01},
                  "data": {"train": ["/srv/galleon/data/text.txt"], "sequence_length": 32}, "training": {"steps": 3, "global_batch": 2, "micro_batch": 1}}).encode()


def until(condition, what, pods=()):
    """What the condition is once it is true of anything; whoever ends meanwhile is shown."""
    end = time.monotonic() + 240
    while not (found := condition()):
        for pod in pods:
            assert pod.process.poll() is None, f"{pod.name} ended: {pod.said()}"
        assert time.monotonic() < end, f"{what} did not come: {[pod.said()[-1500:] for pod in pods]}"
        time.sleep(0.05)
    return found


class SchedulersTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-pods-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.running = []
        self.addCleanup(lambda: [pod.stop() for pod in reversed(self.running)])
        ApiServer.secrets = {}
        self.arrangements = json.loads(pathlib.Path(os.environ["RENDERED"]).read_text())
        self.counted, self.hosts = 0, "127.0.0.9 " + DATABASE + "\n"
        for i in range(3):
            self.hosts += f"{self.address(i)} r-galleon-scheduler-{i}.r-galleon-schedulers.ns.svc\n"
        server = pods_test.http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
        pods_test.threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.api = f"http://127.0.0.1:{server.server_address[1]}"
        data = self.folder / "claims/data"
        data.mkdir(parents=True)
        (data / "text.txt").write_text("the sea was calm, and the ship went on; night came. " * 200)

    @staticmethod
    def address(i):
        return f"127.0.0.{11 + i}"

    def start(self, arrangement, name, of="", at="127.0.0.1", environment=None, replace=()):
        """A pod of what the chart runs under this name; it listens at this address."""
        objects = self.arrangements[arrangement]
        spec = json.loads(json.dumps(chart.pod_of(objects, of or name)))
        container = spec["containers"][0]
        if "args" in container:
            container["args"] = [a.replace("$(POD_NAME)", name).replace("0.0.0.0:", at + ":") for a in container["args"]]
            for old, new in replace:
                container["args"] = [a.replace(old, new) for a in container["args"]]
        self.counted += 1
        folder = self.folder / str(self.counted)
        folder.mkdir()
        # A volume of the pod's own, apart from claims, is gone with it.
        pod = Pod(folder, name, spec, self.folder / "claims", objects, environment, hosts=self.hosts)
        self.running.append(pod)
        return pod

    def start_database(self):
        """With a certificate for its name, and where it lets only those in who speak TLS."""
        subprocess.run([PROGRAMS / "galleon", "admin", "init-tls", self.folder / "database", "--host", DATABASE], check=True, stdout=subprocess.DEVNULL)
        place = self.folder / "pg"
        database = postgres.Postgres(str(place), options=("-c", "listen_addresses=127.0.0.9"))
        self.addCleanup(lambda: database.process.poll() is None and database.stop())
        for file, name in (("cert.pem", "server.crt"), ("key.pem", "server.key")):
            target = place / "data" / name
            shutil.copy(self.folder / "database/server" / file, target)
            shutil.chown(target, database.user.get("user"), database.user.get("group"))
            target.chmod(0o600)
        (place / "data/pg_hba.conf").write_text("local all all trust\nhostssl all galleon all scram-sha-256\n")
        database.sql("ALTER SYSTEM SET ssl = on")
        database.sql("ALTER ROLE galleon PASSWORD 'it-is-one'")
        database.sql("CREATE DATABASE galleon")
        database.stop()
        database.start()
        url = f"postgresql://galleon:it-is-one@{DATABASE}/galleon\n".encode()
        ApiServer.secrets["db"] = {"data": {"url": base64.b64encode(url).decode(), "ca.crt": base64.b64encode((self.folder / "database/server/ca.pem").read_bytes()).decode()}}
        return database

    def make_secrets(self):
        pod = self.start("several", "r-galleon-make-secrets", environment={"KUBERNETES_API": self.api})
        self.assertEqual(pod.process.wait(120), 0, pod.said())

    @staticmethod
    def get(address, path):
        try:
            with urllib.request.urlopen(f"http://{address}:9090{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self, i):
        probe = self.schedulers[i].container["readinessProbe"]["httpGet"]
        self.assertEqual(probe["port"], "metrics")
        return self.get(self.address(i), probe["path"])[0] == 200

    def serving(self):
        return [i for i in range(3) if self.get(self.address(i), "/leaderz")[0] == 200]

    def start_scheduler(self, i):
        self.schedulers[i] = self.start("several", f"r-galleon-scheduler-{i}", of="r-galleon-scheduler", at=self.address(i))

    def start_schedulers(self):
        self.schedulers = [None] * 3
        for i in range(3):
            self.start_scheduler(i)
        for i in range(3):
            until(lambda i=i: self.ready(i), "a ready scheduler", self.schedulers)
        until(lambda: len(self.serving()) == 1, "one that serves", self.schedulers)

    def submit(self, *more):
        said = self.cli.execute("galleon", "submit", "-", *more, given=JOB)
        self.assertEqual(said.returncode, 0, said.stderr)
        return said.stdout.decode().split("submitted ")[1].split()[0]

    def listed(self):
        said = self.cli.execute("galleon", "list", "-o", "json")
        self.assertEqual(said.returncode, 0, said.stderr)
        return {job["job_id"] for job in json.loads(said.stdout)}

    def test_the_one_that_serves_is_killed_and_all_are_replaced_while_jobs_are_handed_over(self):
        self.start_database()
        self.make_secrets()
        self.start_schedulers()
        self.cli = self.start("several", "r-galleon-cli")
        worker = self.start("several", "r-galleon-cpu-0", of="r-galleon-cpu")
        jobs = {self.submit("--wait")}
        # Killed, and started again as the kubelet does.
        killed = self.serving()[0]
        self.schedulers[killed].process.send_signal(signal.SIGKILL)
        self.schedulers[killed].process.wait()
        jobs.add(self.submit())
        self.assertNotIn(killed, self.serving())
        self.start_scheduler(killed)
        until(lambda: self.ready(killed), "the one that was killed", self.schedulers)
        # As a StatefulSet does it: the highest first, and the next once it is ready again. The others are ready all the time.
        for i in (2, 1, 0):
            self.schedulers[i].stop()
            self.assertEqual(self.schedulers[i].process.returncode, 0, self.schedulers[i].said())
            jobs.add(self.submit())
            self.assertEqual(len(self.serving()), 1)
            for other in {0, 1, 2} - {i}:
                self.assertTrue(self.ready(other), other)
            self.start_scheduler(i)
            until(lambda i=i: self.ready(i), "the one that was replaced", self.schedulers)
        self.assertEqual(len(jobs), 5)
        self.assertEqual(self.listed(), jobs)
        for job in sorted(jobs):
            said = self.cli.execute("galleon", "wait", job)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        # Of what is scraped from three, one tells of jobs.
        shown = [self.get(self.address(i), "/metrics")[1] for i in range(3)]
        self.assertEqual([self.serving(), sum("\ngalleon_scheduler_serving 1" in each for each in shown), sum("galleon_jobs{" in each for each in shown)], [self.serving(), 1, 1])
        worker.stop()
        self.assertEqual(worker.process.returncode, 0, worker.said())

    def test_a_backup_of_the_one_with_sqlite_goes_into_the_database(self):
        database = self.start_database()
        self.make_secrets()
        one = self.start("one", "r-galleon-scheduler-0", of="r-galleon-scheduler", at="127.0.0.1")
        until(lambda: self.get("127.0.0.1", "/readyz")[0] == 200, "the one with SQLite", [one])
        self.cli = self.start("one", "r-galleon-cli")
        jobs = {self.submit() for _ in range(3)}
        backup = self.start("one", "r-galleon-backup")
        self.assertEqual(backup.process.wait(120), 0, backup.said())
        kept = self.folder / "claims/r-galleon-backup"
        next(kept.iterdir()).rename(kept / "it.db")
        one.stop()
        self.cli.stop()
        # Into a database that holds nothing, beside the journal that it comes from.
        restored = self.start("restore", "r-galleon-restore")
        self.assertEqual(restored.process.wait(120), 0, restored.said())
        self.assertIn("took 3 jobs", restored.said())
        self.start_schedulers()
        self.cli = self.start("several", "r-galleon-cli")
        self.assertEqual(self.listed(), jobs)
        # Nobody puts a backup back under schedulers that work.
        early = self.start("restore", "r-galleon-restore")
        self.assertNotEqual(early.process.wait(120), 0, early.said())
        self.assertIn("stop it first", early.said())
        self.assertEqual(self.listed(), jobs)
        # The certificate is asked for its name.
        database.sql("SELECT 1")
        self.hosts = self.hosts.replace(DATABASE, "other." + DATABASE)
        ApiServer.secrets["db"]["data"]["url"] = base64.b64encode(f"postgresql://galleon:it-is-one@other.{DATABASE}/galleon".encode()).decode()
        wrong = self.start("several", "r-galleon-scheduler-3", of="r-galleon-scheduler", at="127.0.0.14")
        self.assertNotEqual(wrong.process.wait(120), 0)
        self.assertIn(f'does not match host name "other.{DATABASE}"', wrong.said())
        self.assertNotIn("it-is-one", wrong.said())


def main():
    if pods_test.INSIDE in sys.argv:
        sys.argv = sys.argv[:1]
        unittest.main()
    chart.need_tools()
    if postgres.programs() is None:
        print("skipped: PostgreSQL's initdb is not here")
        sys.exit(chart.SKIPPED)
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False).returncode != 0:
        print("skipped: this machine gives no namespaces of one's own; root is needed")
        sys.exit(chart.SKIPPED)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as rendered:
        json.dump({name: chart.render_with(values) for name, values in ARRANGEMENTS.items()}, rendered)
        rendered.flush()
        # The network ends with its last process.
        command = ["unshare", "-n", "-p", "-f", "--kill-child", "-m", "--mount-proc", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
                   sys.executable, __file__, pods_test.INSIDE, str(PROGRAMS)]
        sys.exit(subprocess.run(command, env={**os.environ, "RENDERED": rendered.name}, check=False).returncode)


if __name__ == "__main__":
    main()
