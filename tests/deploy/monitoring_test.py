#!/usr/bin/env python3
"""Dashboards and alerts against a real service: a scheduler, two workers, jobs, and a Prometheus that has the alert rules.

    monitoring_test.py FOLDER_OF_PROGRAMS [--keep FILE]      --keep: ranges of every panel's query, for helm/galleon/dashboards/make_pictures.py

Targets carry the labels that Prometheus' operator gives to the chart's monitors. Alerts fire by their causes; their windows
of minutes are shortened, their thresholds are not. What this machine does not let a test cause is left to promtool (alerts_test.yaml)
and named in PROMTOOL_ONLY.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "galleon"
SKIPPED = 77
KEEP = sys.argv.pop() if len(sys.argv) > 2 and sys.argv[-2] == "--keep" else None
if KEEP:
    sys.argv.pop()
PROGRAMS = pathlib.Path(sys.argv.pop()).resolve()
SCRAPE = 0.5
# What they say of certificates, receivers and files that are read again, tests of the scheduler show (security, notify, reload).
PROMTOOL_ONLY = {"GalleonCertificateEnds", "GalleonCertificateRefused", "GalleonReloadFailed", "GalleonNotificationsBehind"}
SLOW_DISK = r"""
#include <unistd.h>
int fsync(int fd) { (void)fd; usleep(700000); return 0; }
int fdatasync(int fd) { return fsync(fd); }
"""


def shortened(rules):
    """Waits of minutes become seconds; a window of an hour stays, since all of this test lies within it."""
    rules = re.sub(r"for: \d+[ms]", "for: 1s", rules)
    return re.sub(r"\[(5|10|30)m\]", "[8s]", rules)


class Service:
    """Processes of a folder; every one is ended by its id."""

    def __init__(self, folder):
        self.folder, self.running, self.addresses = folder, {}, {}

    def start(self, name, command, environment=None):
        with (self.folder / f"{name}.log").open("a") as log:
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})

    def ready(self, name, seconds=240):
        path = self.folder / f"{name}.json"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                state = json.loads(path.read_text())
                if state.get("pid") == self.running[name].pid:
                    self.addresses[name] = state
                    return state
            except (OSError, ValueError):
                pass
            assert self.running[name].poll() is None, (self.folder / f"{name}.log").read_text()
            time.sleep(0.05)
        raise AssertionError(f"{name} is not ready: {(self.folder / f'{name}.log').read_text()}")

    def scheduler(self, environment=None, more=()):
        known = self.addresses.get("scheduler", {})
        self.start("scheduler", [PROGRAMS / "galleon-scheduler", "--data", self.folder / "scheduler", "--listen", known.get("listen", "127.0.0.1:0"),
                                 "--metrics", known.get("metrics", "127.0.0.1:0"), "--lease", "15s", "--ready-file", self.folder / "scheduler.json", *more],
                   environment)
        self.ready("scheduler")

    def worker(self, name, slots, memory, data=None):
        self.start(name, [PROGRAMS / "galleon-worker", "--server", self.addresses["scheduler"]["listen"], "--name", name, "--data", data or self.folder / name,
                          "--slots", str(slots), "--memory-per-slot", str(memory), "--allow", self.folder / "inputs", "--allow", self.folder / "mounted", "--probe-every", "1", "--metrics",
                          self.addresses.get(name, {}).get("metrics", "127.0.0.1:0"), "--ready-file", self.folder / f"{name}.json", "--threads", "1"])
        self.ready(name)

    def stop(self, name):
        process = self.running.pop(name)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop_hard(self, name):
        """As a crash would: what it started runs on."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop_all(self):
        for name in sorted(self.running, key=lambda n: (n == "scheduler", n == "prometheus")):
            self.stop(name)

    def galleon(self, *arguments, check=True):
        done = subprocess.run([PROGRAMS / "galleon", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=240,
                              env={**os.environ, "GALLEON_SERVER": self.addresses["scheduler"]["listen"]})
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, path):
        return json.loads(self.galleon("submit", path, "-o", "json"))["job_id"]

    def trainers(self):
        """Process ids of this service's trainers, whose command lines name its folder."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if command.startswith(str(PROGRAMS / "galleon-trainer")) and str(self.folder) in command:
                    found.append(int(entry.name))
        return found


class Prometheus:
    def __init__(self, service, targets):
        folder = service.folder
        configuration = {"global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"}, "rule_files": [str(folder / "alerts.yaml")],
                         "scrape_configs": [{"job_name": "galleon", "static_configs": targets}]}
        (folder / "prometheus.json").write_text(json.dumps(configuration))
        (folder / "alerts.yaml").write_text(shortened((CHART / "rules" / "alerts.yaml").read_text()))
        service.start("prometheus", ["prometheus", f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/tsdb",
                                     "--web.listen-address=127.0.0.1:0", "--log.format=json"])
        self.address = None
        end = time.monotonic() + 240
        while self.address is None:
            for line in (folder / "prometheus.log").read_text().splitlines():
                if '"msg":"Listening on"' in line:
                    self.address = json.loads(line)["address"]
            assert time.monotonic() < end, (folder / "prometheus.log").read_text()
            time.sleep(0.05)

    def get(self, path, **arguments):
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}", timeout=20) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        """Series with a value that is a number."""
        return [r for r in self.get("query", query=expression)["result"] if r["value"][1] != "NaN"]

    def firing(self):
        return {a["labels"]["alertname"] for a in self.get("alerts")["alerts"] if a["state"] == "firing"}


class Starved:
    """A process whose processor is elsewhere most of the time: it runs for 5 ms of every 305."""

    def __init__(self, process):
        self.process, self.ended = process, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ended.wait(0.005):
            self.process.send_signal(signal.SIGSTOP)
            self.ended.wait(0.3)
            self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def chosen_all(expression):
    return expression.replace("$queue", ".*").replace("$job", ".*")


def operator_labels(monitor, pod):
    """Those of a target of the chart's ServiceMonitor (scheduler) or PodMonitor (worker)."""
    labels = {"namespace": "ns", "pod": pod, "container": "galleon", "endpoint": "metrics"}
    return {**labels, "service": "r-galleon-scheduler", "job": "r-galleon-scheduler"} if monitor == "scheduler" else {**labels, "job": "ns/r-galleon-workers"}


class MonitoringTest(unittest.TestCase):
    seen = set()  # alerts that have fired, over all tests

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-monitoring-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.service = Service(self.folder)
        self.addCleanup(self.service.stop_all)
        text = "the sea was calm, and the ship went on; night came. " * 900
        if KEEP:
            text = "".join(book.read_text() for book in sorted((ROOT / "deploy/examples/janeausten/train").glob("*.txt")))
        (self.folder / "inputs").mkdir()
        (self.folder / "inputs" / "text.txt").write_text(text)
        (self.folder / "inputs" / "too-short.txt").write_text("x")
        (self.folder / "mounted").mkdir()

    def job(self, name, steps=100000, ranks=1, data="inputs/text.txt", **more):
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps({
            "name": name, "task": "pretrain", "model": {"source": "preset:tiny"}, "tokenizer": "bytes",
            "data": {"train": [data], "validation": ["inputs/text.txt"], "sequence_length": 32},
            "optimizer": {"learning_rate": 0.01, "galore": {"rank": 8, "refresh_interval": 10}},
            "training": {"steps": steps, "global_batch": 4, "micro_batch": 2, "log_every": 1, "evaluate_every": 20, "evaluate_tokens": 512},
            "parallel": {"ranks": ranks}, "checkpoint": {"every": 40}, **more}))
        return path

    def within(self, seconds, what, condition):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.25)
        self.fail(f"not within {seconds} s: {what}")

    def fires(self, name, seconds=240):
        self.within(seconds, f"{name} fires", lambda: name in self.prometheus.firing())
        self.seen.add(name)

    def begin(self, slots, memory):
        """A scheduler, the workers north and south, a Prometheus with its targets as the chart's monitors would have them."""
        self.service.scheduler()
        self.data_of_south = self.folder / "small" / "south" if self.small_disk() else None
        self.service.worker("north", slots, memory)
        self.service.worker("south", slots, memory, self.data_of_south)
        self.watch("scheduler", "north", "south")

    def watch(self, *names):
        targets = [{"targets": [self.service.addresses[name]["metrics"]], "labels": operator_labels(name, f"r-galleon-{name}-0")} for name in names]
        self.prometheus = Prometheus(self.service, targets)
        self.within(240, "targets are scraped", lambda: len(self.prometheus.query("up == 1")) == len(names))

    def small_disk(self):
        """A file system of 128 MiB for one worker; False where this process may not mount."""
        place = self.folder / "small"
        place.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", place], capture_output=True, check=False)
        if done.returncode == 0:
            self.addCleanup(subprocess.run, ["umount", "-l", place], check=False)
        return done.returncode == 0

    def test_every_panel_of_every_dashboard_has_data_during_a_job(self):
        self.begin(2, 1 << 30)
        ended = self.service.submit(self.job("short", steps=5))
        self.service.galleon("wait", ended, "--timeout", "240")
        if KEEP:  # what a picture is worth looking at for
            more = {"model": {"source": "preset:llama-9m", "overrides": {"vocab_size": 2048}}}
            galore = {"learning_rate": 0.01, "galore": {"rank": 32, "refresh_interval": 20}}
            self.service.submit(self.job("full-rank", **more, optimizer={"learning_rate": 0.002}))
            self.service.submit(self.job("novels", ranks=2, **more, optimizer=galore))
        else:
            self.service.submit(self.job("novels", ranks=2))
        queries = []
        kept = []
        for path in sorted((CHART / "dashboards").glob("*.json")):
            board = json.loads(path.read_text())
            for panel in board["panels"]:
                for target in panel["targets"]:
                    queries.append((f"{path.stem}: {panel['title']}", chosen_all(target["expr"])))
                    kept.append({"dashboard": path.stem, "panel": panel["title"], "legend": target["legendFormat"], "query": queries[-1][1]})
            for variable in board["templating"]["list"]:
                if variable["type"] != "query":
                    continue
                series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
                queries.append((f"{path.stem}: variable {variable['name']}", chosen_all(f'count by ({label}) ({series}) unless on () vector(0) == 1')))
        self.assertGreater(len(queries), 25)
        empty = dict(queries)
        deadline = time.monotonic() + 240
        while empty and time.monotonic() < deadline:
            empty = {}
            for title, expression in queries:
                if not self.prometheus.query(expression):
                    empty[title] = expression
            time.sleep(0.5)
        self.assertEqual(empty, {})
        # A series of a job carries the job's name in the legend, and its worker's own labels are not lost.
        named = next(expression for title, expression in queries if title == "training: Training loss")
        self.within(240, "novels trains", lambda: "novels" in [one["metric"]["name"] for one in self.prometheus.query(named)])
        # Which rank the others wait for, by rank.
        self.within(240, "a figure for each rank", lambda: sorted(
            {one["metric"]["rank"] for one in self.prometheus.query("galleon_job_rank_waited_seconds_total")}) == ["0", "1"])
        self.assertTrue(self.prometheus.query("galleon_job_slowest_rank"))
        if KEEP:
            time.sleep(120)
            now = time.time()
            for one in kept:
                one["result"] = self.prometheus.get("query_range", query=one["query"], start=now - 150, end=now, step=1)["result"]
            pathlib.Path(KEEP).write_text(json.dumps(kept))

    def test_alerts_fire_by_their_causes(self):
        self.begin(4, 256 << 20)
        self.within(240, "nothing fires", lambda: not self.prometheus.firing())
        # A mount that goes and comes.
        (self.folder / "mounted").rename(self.folder / "unmounted")
        self.fires("GalleonWorkerUnfit")
        (self.folder / "unmounted").rename(self.folder / "mounted")
        self.within(240, "the workers are back", lambda: not self.prometheus.firing())
        self.service.galleon("cordon", "north")
        for i in range(4):
            self.service.submit(self.job(f"run-{i}"))
        self.within(240, "four trainers", lambda: len(self.prometheus.query("galleon_job_tokens_total > 0")) == 4)

        # A worker whose slots became smaller while its trainers ran on.
        self.service.stop_hard("south")
        self.service.worker("south", 4, 24 << 20, self.data_of_south)
        self.fires("GalleonMemoryNearLimit")
        self.service.stop_hard("south")
        self.service.worker("south", 4, 256 << 20, self.data_of_south)

        # Jobs that cannot succeed.
        for i in range(7):
            self.service.submit(self.job(f"short-{i}", data="inputs/too-short.txt"))
        self.service.galleon("undrain", "north")
        self.fires("GalleonAttemptsFail")

        # A gang of six where four slots are free.
        gang = self.service.submit(self.job("gang", ranks=6, training={"steps": 10, "global_batch": 12, "micro_batch": 2}))
        self.fires("GalleonQueueStands")
        self.service.galleon("cancel", gang)

        # A trainer that stands still.
        still = self.service.trainers()[0]
        os.kill(still, signal.SIGSTOP)
        self.fires("GalleonJobStands")
        os.kill(still, signal.SIGCONT)

        # A scheduler that does not answer.
        self.service.running["scheduler"].send_signal(signal.SIGSTOP)
        self.fires("GalleonLeaseRunsOut")
        self.service.running["scheduler"].send_signal(signal.SIGCONT)

        # Workers that are drained one after the other, again and again.
        for turn in range(9):
            leaving, staying = ("south", "north") if turn % 2 == 0 else ("north", "south")
            self.service.galleon("undrain", staying)
            self.service.galleon("drain", leaving)
            self.within(240, f"{leaving} is empty", lambda: self.used(leaving) == 0 and self.used(staying) == 4)
        self.fires("GalleonEvictionStorm")
        self.service.galleon("undrain", leaving)

        if self.data_of_south:
            with (self.folder / "small" / "filler").open("wb", buffering=0) as file:
                try:
                    for _ in range(128):
                        file.write(bytes(1 << 20))
                except OSError:
                    pass
            self.fires("GalleonDiskFillsUp")
            (self.folder / "small" / "filler").unlink()
        else:
            PROMTOOL_ONLY.add("GalleonDiskFillsUp")

        # A disk whose every write takes 0.7 s.
        source, library = self.folder / "slow.c", self.folder / "slow.so"
        source.write_text(SLOW_DISK)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        self.service.stop("scheduler")
        self.service.scheduler({"LD_PRELOAD": str(library)})
        for i in range(5):
            self.service.submit(self.job(f"slow-{i}", ranks=8, training={"steps": 10, "global_batch": 16, "micro_batch": 2}))
        self.fires("GalleonJournalSlow")
        self.service.stop("scheduler")
        self.service.scheduler()

        # A worker that is gone with all that it ran.
        gone = "north" if self.used("north") else "south"
        for pid in self.service.trainers():
            os.kill(pid, signal.SIGSTOP)
        self.service.running[gone].send_signal(signal.SIGSTOP)
        self.fires("GalleonWorkerUnreachable")
        self.fires("GalleonAttemptsLost")
        self.service.running[gone].send_signal(signal.SIGCONT)
        for pid in self.service.trainers():
            os.kill(pid, signal.SIGCONT)

        for name in ("south", "north", "scheduler"):
            self.service.stop(name)
        self.fires("GalleonSchedulerAbsent")

    def test_calls_that_fail_and_a_starved_processor_raise_their_alerts(self):
        # A planner that something else ends, as a machine that runs out of memory does.
        planner = self.folder / "planner"
        planner.write_text("#!/bin/sh\nkill -9 $$\n")
        planner.chmod(0o755)
        self.service.scheduler(more=["--planner", planner])
        self.watch("scheduler")
        job = self.job("wide", ranks=8, training={"steps": 10, "global_batch": 16, "micro_batch": 2})

        def fails_and_fires():
            done = subprocess.run([PROGRAMS / "galleon", "submit", job, "--server", self.service.addresses["scheduler"]["listen"]], capture_output=True,
                                  text=True, check=False, timeout=240)
            self.assertIn("the planner was ended by signal 9", done.stderr)
            return "GalleonCallsFail" in self.prometheus.firing()

        self.within(240, "GalleonCallsFail fires", fails_and_fires)
        self.seen.add("GalleonCallsFail")
        self.service.stop("scheduler")

        # A queue, callers who change it without a pause, and a scheduler that hardly gets a processor.
        self.service.scheduler()
        with concurrent.futures.ThreadPoolExecutor(4) as callers:
            jobs = list(callers.map(self.service.submit, [job] * 240))
        self.assertNotIn("GalleonDecisionSlow", self.prometheus.firing())
        ended = threading.Event()

        def change(job):
            priority = 0
            while not ended.is_set():
                priority = (priority + 1) % 100
                self.service.galleon("reprioritize", job, "--priority", priority, check=False)

        callers = [threading.Thread(target=change, args=[job]) for job in jobs[:6]]
        with Starved(self.service.running["scheduler"]):
            for caller in callers:
                caller.start()
            try:
                self.fires("GalleonDecisionSlow", 120)
            finally:
                ended.set()
        for caller in callers:
            caller.join()

    def test_that_every_alert_has_fired(self):
        """After all others, by its name."""
        known = set(re.findall(r"alert: (\w+)", (CHART / "rules" / "alerts.yaml").read_text()))
        self.assertEqual(known - PROMTOOL_ONLY, self.seen)

    def used(self, worker):
        workers = json.loads(self.service.galleon("workers", "-o", "json"))
        return sum(int(w.get("slots_used", 0)) for w in workers if w["worker_id"] == worker)


if __name__ == "__main__":
    if not shutil.which("prometheus"):
        print("skipped: prometheus is not here; deploy/packages.sh test installs it")
        sys.exit(SKIPPED)
    unittest.main()
