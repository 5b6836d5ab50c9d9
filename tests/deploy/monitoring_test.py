#!/usr/bin/env python3
"""Dashboards, alerts and the list of series against real daemons: a scheduler, two workers, one of which has GPUs, jobs, and a Prometheus.

    monitoring_test.py FOLDER_OF_PROGRAMS [--keep FILE]      --keep: ranges of every panel's query, for helm/galleon/dashboards/make_pictures.py

What the daemons said is laid down as if it had been scraped every 15 s and every 60 s, by one and by two scrapers of the same target, and
each query of each dashboard answers to all four. The rules are those of the chart, unchanged: whether they fire in time is
alert_rules_test.py's; here their causes are, which have to make them true.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "galleon"
SKIPPED = 77
KEEP = sys.argv.pop() if len(sys.argv) > 2 and sys.argv[-2] == "--keep" else None
if KEEP:
    sys.argv.pop()
PROGRAMS = pathlib.Path(sys.argv.pop()).resolve()
sys.path.insert(0, str(ROOT / "docs"))
sys.dont_write_bytecode = True
import make_reference  # noqa: E402

# What `promtool check metrics` says of names that stay as they are, and why.
LINT = {}
# What Grafana makes of it where a query has a smallest step of a minute: four of them.
RATE_WINDOW = "4m"


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

    def worker(self, name, slots, memory=1 << 30, more=(), environment=None, within=()):
        """`within`: a command that becomes the worker."""
        self.start(name, [*within, PROGRAMS / "galleon-worker", "--server", self.addresses["scheduler"]["listen"], "--name", name, "--data", self.folder / name,
                          "--slots", str(slots), "--memory-per-slot", str(memory), "--allow", self.folder / "inputs", "--allow", self.folder / "mounted",
                          "--probe-every", "1", "--metrics", self.addresses.get(name, {}).get("metrics", "127.0.0.1:0"), "--ready-file",
                          self.folder / f"{name}.json", "--threads", "1", *more], environment)
        self.ready(name)

    def scrape(self, name):
        with urllib.request.urlopen(f"http://{self.addresses[name]['metrics']}/metrics", timeout=20) as answer:
            return answer.read().decode()

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
    """Debian's, with the chart's rules. `targets` are scraped twice a second; without them it has what lies in `folder`/tsdb."""

    def __init__(self, service, targets=()):
        folder = service.folder
        configuration = {"global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"}, "rule_files": [str(CHART / "rules" / "alerts.yaml")],
                         "scrape_configs": [{"job_name": "galleon", "static_configs": list(targets)}] if targets else []}
        (folder / "prometheus.json").write_text(json.dumps(configuration))
        service.start("prometheus", ["prometheus", f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/tsdb",
                                     "--web.listen-address=127.0.0.1:0", "--log.format=json"])
        self.address = None
        end = time.monotonic() + 240
        while self.address is None or not self.is_ready():
            for line in (folder / "prometheus.log").read_text().splitlines():
                if '"msg":"Listening on"' in line:
                    self.address = json.loads(line)["address"]
            assert time.monotonic() < end, (folder / "prometheus.log").read_text()
            time.sleep(0.05)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=20) as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, path, **arguments):
        request = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from error

    def query(self, expression, **arguments):
        """Series with a value that is a number."""
        return [r for r in self.get("query", query=expression, **arguments)["result"] if r["value"][1] != "NaN"]

    def rules(self):
        return {rule["name"]: rule for group in self.get("rules")["groups"] for rule in group["rules"]}


SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")


def samples(text):
    """{(name, labels as they are written): value} of a scrape."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            found[name, labels or ""] = float(value)
    return found


def chosen_all(expression, cluster=".*"):
    for name, value in {"cluster": cluster, "namespace": ".*", "queue": ".*", "job": ".+", "__rate_interval": RATE_WINDOW}.items():
        expression = expression.replace(f"${name}", value)
    return expression


def dashboards():
    return {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "dashboards").glob("*.json"))}


def queries_of(boards):
    """(where, expression) of every panel, annotation and variable."""
    for stem, board in boards.items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{stem}: {panel['title']}", target["expr"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
                # Whoever has one cluster or namespace gives it no name; the variable then stands for everything.
                yield f"{stem}: variable {variable['name']}", f"count by ({label}) ({series})"


class Scene(unittest.TestCase):
    maxDiff = None

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
            "resources": {"device": "cpu"}, "parallel": {"ranks": ranks}, "checkpoint": {"every": 40}, **more}))
        return path

    def within(self, seconds, what, condition):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.25)
        self.fail(f"not within {seconds} s: {what}")

    def gpu_worker(self):
        """A worker with two cards that this test describes, and a trainer that trains nothing: `script` is what it does."""
        self.cards = self.folder / "cards"
        self.cards.write_text("GPU-1111 24576 24000 41 7 0 0 NVIDIA Test 24GB\nGPU-2222 24576 23000 52 90 0 0 NVIDIA Test 24GB\n")
        self.script = "stage train; step 5; sleep 600000"
        self.service.worker("gpus", 2, more=["--device", "cuda", "--trainer", PROGRAMS / "fake-trainer", "--label", f"script={self.script}"],
                            environment={"LD_LIBRARY_PATH": str(PROGRAMS / "fake_nvml"), "FAKE_NVML": str(self.cards)})


class SeriesTest(Scene):
    """What real daemons say, laid down as Prometheus would have it."""

    def setUp(self):
        super().setUp()
        self.service.scheduler()
        self.service.worker("north", 2)
        self.gpu_worker()
        self.service.submit(self.job("on-a-gpu", resources={"device": "cuda"}, scheduling={"labels": {"script": self.script}}))
        ended = self.service.submit(self.job("short", steps=5))
        self.service.galleon("wait", ended, "--timeout", "240")
        self.novels = self.service.submit(self.job("novels", ranks=2))
        self.service.submit(self.job("waits", ranks=2))
        seen = lambda worker, text: text in self.service.scrape(worker)  # noqa: E731
        for worker, text in (("north", f'galleon_job_subspace_overlap_ratio{{worker="north",job_id="{self.novels}"'),
                             ("north", "galleon_job_validation_loss{"), ("gpus", 'gpu_uuid="GPU-'), ("gpus", "galleon_job_loss{"),
                             ("north", f'galleon_job_checkpoint_step{{worker="north",job_id="{self.novels}"'),
                             ("north", f'galleon_job_memory_resident_bytes{{worker="north",job_id="{self.novels}",attempt="1",rank="1"}}')):
            self.within(240, text, lambda: seen(worker, text))
        self.within(240, "the queue is told of", lambda: 'galleon_slots_pending{device="cpu",labels="",queue="default"} 2' in self.service.scrape("scheduler"))
        self.names = ("scheduler", "north", "gpus")
        self.first = {name: self.service.scrape(name) for name in self.names}
        # What starts, is committed and is decided in between.
        self.service.submit(self.job("on-the-other", resources={"device": "cuda"}, scheduling={"labels": {"script": self.script}}))
        self.within(240, "two jobs on GPUs", lambda: self.service.scrape("gpus").count("galleon_job_loss{") == 2)
        step = samples(self.first["north"])["galleon_job_step", f'worker="north",job_id="{self.novels}",attempt="1"']
        self.within(240, "more steps", lambda: samples(self.service.scrape("north"))["galleon_job_step",
                                                                                     f'worker="north",job_id="{self.novels}",attempt="1"'] > step + 20)
        self.second = {name: self.service.scrape(name) for name in self.names}
        for name in ("north", "gpus", "scheduler"):
            self.service.stop(name)

    # Where a target is known from, by scraper.
    SCRAPERS = ('job="kubernetes-pods",namespace="ns"', 'job="r-galleon",namespace="ns",pod="r-galleon-0",container="galleon",endpoint="metrics"')
    SCRAPED = 25 * 60

    def lay_down(self):
        """Blocks in which each figure goes from the first scrape's value to the second's. A cluster is an interval and a number of scrapers."""
        now = int(time.time())
        with (self.folder / "openmetrics").open("w") as out:
            for interval in (15, 60):
                for scrapers in (1, 2):
                    for target in self.names:
                        first, second = samples(self.first[target]), samples(self.second[target])
                        for (name, labels), value in second.items():
                            before = first.get((name, labels), value)
                            for scraper in self.SCRAPERS[:scrapers]:
                                all_labels = ",".join(filter(None, [labels, f'cluster="{interval}s-{scrapers}",instance="{target}:9090"', scraper]))
                                times = range(now - self.SCRAPED, now + 1, interval)
                                for i, at in enumerate(times):
                                    out.write(f"{name}{{{all_labels}}} {before + (value - before) * i / (len(times) - 1)} {at}\n")
            out.write("# EOF\n")
        done = subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", self.folder / "openmetrics", self.folder / "tsdb"], check=False,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.prometheus = Prometheus(self.service)
        self.now = now

    def test_series_labels_queries_and_rules(self):
        with self.subTest("names are as Prometheus wants them"):
            said = {}
            for name in self.names:
                done = subprocess.run(["promtool", "check", "metrics"], input=self.second[name], capture_output=True, text=True, check=False)
                for line in (done.stdout + done.stderr).splitlines():
                    series, _, what = line.partition(" ")
                    said[series] = what
            self.assertEqual(said, LINT)

        with self.subTest("every series and label stands in the documents, and every one of the documents is there"):
            described = {series: kind for rows in make_reference.described_series().values() for series, (kind, _) in rows.items()}
            seen = {}
            for name in self.names:
                for series, labels in samples(self.second[name]):
                    base = re.sub(r"_(bucket|sum|count)$", "", series)
                    base = base if base in described else series
                    seen.setdefault(base, set()).update(set(re.findall(r"(\w+)=\"", labels)) - {"le", "worker"})
                    self.assertEqual(name != "scheduler", 'worker="' in labels, (series, labels))
            self.assertEqual(set(seen) - set(described), set())
            self.assertEqual({s: seen[s] for s in seen}, {s: set(make_reference.labels_of(s)) for s in seen})
            # Without TLS, sweeps, receivers and quotas they have nothing to say.
            self.assertEqual({s for s in set(described) - set(seen) if not re.search(r"certificate|notifications|quota|forgotten|disk_short|log_bytes", s)}, set())

        self.lay_down()
        clusters = [f"{interval}s-{scrapers}" for interval in (15, 60) for scrapers in (1, 2)]
        boards = dashboards()
        with self.subTest("every query of a dashboard answers, however it was scraped"):
            answers = {}
            for where, expression in queries_of(boards):
                for cluster in clusters:
                    answers[where, expression, cluster] = self.prometheus.query(chosen_all(expression, cluster), time=self.now)
            self.assertGreater(len(answers), 200)
            self.assertEqual([(where, cluster) for (where, _, cluster), found in answers.items() if not found], [])
            # Two scrapers say what one says.
            for (where, expression, cluster), found in answers.items():
                if cluster.endswith("-2") and "variable" not in where:
                    one = answers[where, expression, cluster.replace("-2", "-1")]
                    self.assertEqual(sorted(self.value(r) for r in found), sorted(self.value(r) for r in one), where)
            # What a dashboard did before does not answer: so the check can fail.
            joined = 'galleon_job_loss{cluster="CLUSTER"} * on (job_id, attempt, instance) group_left (name) galleon_job_info{cluster="CLUSTER"}'
            self.assertTrue(self.prometheus.query(joined.replace("CLUSTER", "60s-1"), time=self.now))
            with self.assertRaisesRegex(AssertionError, "many-to-many"):
                self.prometheus.query(joined.replace("CLUSTER", "60s-2"), time=self.now)
            self.assertFalse(self.prometheus.query('rate(galleon_job_steps_total{cluster="60s-1"}[1m])', time=self.now - 1))

        with self.subTest("annotations answer"):
            for stem, board in boards.items():
                for one in board["annotations"]["list"]:
                    self.prometheus.query(chosen_all(one["expr"]), time=self.now)
            # The checkpoint was not there a minute before the first scrape.
            checkpoints = next(one["expr"] for one in boards["training"]["annotations"]["list"] if one["name"] == "Checkpoints")
            self.assertTrue(self.prometheus.query(chosen_all(checkpoints, "15s-1"), time=self.now - self.SCRAPED + 20))

        with self.subTest("queries of the documents answer"):
            reference = (ROOT / "docs/reference/metrics.md").read_text()
            joins = re.findall(r"```\n(.*?)```", reference.split("## Joins", 1)[1], re.DOTALL)
            self.assertEqual(len(joins), 3)
            for query in joins:
                self.prometheus.query(query, time=self.now)
            self.assertTrue(self.prometheus.query(joins[0], time=self.now))
            # A GPU's figure as DCGM's exporter names it.
            as_dcgm = joins[1].replace("DCGM_FI_DEV_GPU_UTIL", 'label_replace(galleon_worker_gpu_utilisation_ratio, "UUID", "$1", "uuid", "(.*)")')
            self.assertEqual(sorted((r["metric"]["worker"], r["metric"]["job_id"].rsplit("-", 1)[0]) for r in self.prometheus.query(as_dcgm, time=self.now)),
                             [("gpus", "on-a-gpu"), ("gpus", "on-the-other")])
            # Two slots that are waited for.
            self.assertEqual([float(r["value"][1]) for r in self.prometheus.query(
                'sum(max by (queue, device, labels) (galleon_slots_pending{namespace="ns", device=~"auto|cpu"}))', time=self.now)], [2])

        with self.subTest("no rule fails, or is true, by what was said"):
            self.within(240, "all rules were evaluated", lambda: all(rule["health"] == "ok" for rule in self.prometheus.rules().values()))
            for name, rule in self.prometheus.rules().items():
                self.assertEqual(self.prometheus.query(rule["query"], time=self.now), [], name)

    @staticmethod
    def value(result):
        labels = {k: v for k, v in result["metric"].items() if k != "cluster"}
        return json.dumps([labels, round(float(result["value"][1]), 6)], sort_keys=True)


class CausesTest(Scene):
    """A cause makes the rule's own expression true, over the windows that it has."""

    def holds(self, name, seconds=240):
        expression = self.prometheus.rules()[name]["query"]
        self.within(seconds, f"{name} is true", lambda: self.prometheus.query(expression))

    def test_causes(self):
        self.service.scheduler()
        self.service.worker("south", 4, 256 << 20)
        self.gpu_worker()
        targets = [{"targets": [self.service.addresses[name]["metrics"]], "labels": {"namespace": "ns", "job": f"ns/{name}"}} for name in
                   ("scheduler", "south", "gpus")]
        self.prometheus = Prometheus(self.service, targets)
        self.within(240, "targets are scraped", lambda: len(self.prometheus.query("up == 1")) == 3)
        expressions = {name: rule["query"] for name, rule in self.prometheus.rules().items()}
        self.within(240, "no rule is true", lambda: not any(self.prometheus.query(query) for query in expressions.values()))

        # A card that falls off the bus.
        self.cards.write_text("GPU-1111 24576 24000 41 7 15 0 NVIDIA Test 24GB\nGPU-2222 24576 23000 52 90 0 0 NVIDIA Test 24GB\n")
        self.holds("GalleonGpuUnhealthy")

        # A mount that goes and comes.
        (self.folder / "mounted").rename(self.folder / "unmounted")
        self.holds("GalleonWorkerUnfit")
        waits = self.service.submit(self.job("waits"))
        self.service.galleon("cordon", "gpus")
        self.holds("GalleonWorkersAbsent")
        self.service.galleon("cancel", waits)
        (self.folder / "unmounted").rename(self.folder / "mounted")
        self.within(240, "the worker is back", lambda: not self.prometheus.query(expressions["GalleonWorkerUnfit"]))

        # Jobs that cannot succeed, one of them since its numbers run away.
        for i in range(6):
            self.service.submit(self.job(f"short-{i}", data="inputs/too-short.txt"))
        away = self.service.submit(self.job("away", optimizer={"learning_rate": 1e30, "clip_norm": 1e30}))
        self.holds("GalleonJobDiverged")
        self.assertEqual([one["metric"]["job_id"] for one in self.prometheus.query(expressions["GalleonJobDiverged"])], [away])
        self.holds("GalleonAttemptsFail")

        # A gang of four where three slots are free, and a rank of 24 MiB in a slot that became smaller.
        self.service.submit(self.job("runs"))
        self.within(240, "it trains", lambda: self.prometheus.query("galleon_job_steps_total > 3"))
        gang = self.service.submit(self.job("gang", ranks=4, training={"steps": 10, "global_batch": 8, "micro_batch": 2}))
        # Of the half hour in which nothing has started this test has seen the last moments.
        self.within(240, "its rule is true but for the half hour", lambda: self.prometheus.query(expressions["GalleonQueueStands"].replace("[30m]", "[3s]")))
        self.service.galleon("cancel", gang)
        self.service.stop_hard("south")
        self.service.worker("south", 4, 8 << 20)
        self.holds("GalleonMemoryNearLimit")

        # A trainer that stands still, and one that is watched doing so.
        still = self.service.trainers()
        for pid in still:
            os.kill(pid, signal.SIGSTOP)
        age = "max(galleon_job_progress_age_seconds)"
        self.within(240, "its age grows", lambda: float(self.prometheus.query(age)[0]["value"][1]) > 3)
        for pid in still:
            os.kill(pid, signal.SIGCONT)
        self.within(240, "it goes on", lambda: float(self.prometheus.query(age)[0]["value"][1]) < 2)

        # A scheduler that does not answer, and then is gone.
        self.service.running["scheduler"].send_signal(signal.SIGSTOP)
        self.holds("GalleonLeaseRunsOut")
        self.service.running["scheduler"].send_signal(signal.SIGCONT)
        self.service.running["gpus"].send_signal(signal.SIGSTOP)
        self.holds("GalleonWorkerUnreachable")
        self.service.running["gpus"].send_signal(signal.SIGCONT)
        for name in ("south", "gpus", "scheduler"):
            self.service.stop(name)
        self.holds("GalleonSchedulerAbsent")


    def slow_disk(self):
        """A library with which each commit takes more than half a second."""
        source = "#include <unistd.h>\n#include <sys/syscall.h>\n" + "".join(
            f"int {name}(int fd) {{ usleep(700000); return syscall(SYS_{name}, fd); }}\n" for name in ("fsync", "fdatasync"))
        (self.folder / "slow.c").write_text(source)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.folder / "slow.so", self.folder / "slow.c"], check=True)
        return {"LD_PRELOAD": str(self.folder / "slow.so")}

    @unittest.skipUnless(shutil.which("cc"), "there is no C compiler")
    @unittest.skipUnless(os.geteuid() == 0, "a disk of a worker's own needs root")
    def test_causes_of_disks_losses_and_storms(self):
        # The worker's disk is of 32 MiB, mounted for it alone.
        (self.folder / "full").mkdir()
        small_disk = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=32m none "$0" && exec "$@"', self.folder / "full"]
        self.service.scheduler(self.slow_disk())
        fake = ["--trainer", PROGRAMS / "fake-trainer"]
        stays, dies = "stage train; step 5; wait-stop", "raise 9"
        self.service.worker("full", 1, more=[*fake, "--label", f"script={dies}"], within=small_disk)
        small = pathlib.Path(f"/proc/{self.service.running['full'].pid}/root{self.folder}/full")
        self.service.worker("many", 31, 64 << 20, more=[*fake, "--label", f"script={stays}"])
        targets = [{"targets": [self.service.addresses[name]["metrics"]], "labels": {"namespace": "ns", "job": f"ns/{name}"}} for name in
                   ("scheduler", "full", "many")]
        self.prometheus = Prometheus(self.service, targets)
        self.within(240, "targets are scraped", lambda: len(self.prometheus.query("up == 1")) == 3)
        for name in ("GalleonDiskFillsUp", "GalleonAttemptsLost", "GalleonEvictionStorm"):
            self.assertEqual(self.prometheus.query(self.prometheus.rules()[name]["query"]), [], name)
        (small / "filler").write_bytes(b"x" * (30 << 20))
        self.holds("GalleonDiskFillsUp")
        self.assertEqual([one["metric"]["worker"] for one in self.prometheus.query(self.prometheus.rules()["GalleonDiskFillsUp"]["query"])], ["full"])
        (small / "filler").unlink()

        # Trainers that something outside ends, and queues that take slots back all at once.
        more = {"scheduling": {"labels": {"script": stays}}, "parallel": {"ranks": 1}}
        for i in range(31):
            self.service.submit(self.job(f"low-{i}", **more))
        for i in range(2):
            self.service.submit(self.job(f"dies-{i}", scheduling={"labels": {"script": dies}}))
        self.within(240, "all slots are taken", lambda: self.prometheus.query('sum(galleon_worker_slots{worker="many", state="used"}) == 31'))
        self.service.submit(self.job("high", ranks=31, scheduling={"labels": {"script": stays}, "priority": 10}, training={"steps": 10, "global_batch": 62, "micro_batch": 2}))
        self.holds("GalleonEvictionStorm")
        self.holds("GalleonAttemptsLost")
        self.holds("GalleonJournalSlow")


@unittest.skipUnless(KEEP, "draws nothing")
class PicturesTest(Scene):
    def test_keep(self):
        self.service.scheduler()
        self.service.worker("north", 2)
        self.service.worker("south", 2)
        more = {"model": {"source": "preset:llama-9m", "overrides": {"vocab_size": 2048}}}
        galore = {"learning_rate": 0.01, "galore": {"rank": 32, "refresh_interval": 20}}
        self.service.galleon("wait", self.service.submit(self.job("short", steps=5)), "--timeout", "240")
        targets = [{"targets": [self.service.addresses[name]["metrics"]], "labels": {"namespace": "ns"}} for name in ("scheduler", "north", "south")]
        self.prometheus = Prometheus(self.service, targets)
        self.service.submit(self.job("full-rank", **more, optimizer={"learning_rate": 0.002}))
        novels = self.service.submit(self.job("novels", ranks=2, **more, optimizer=galore))
        self.within(240, "two jobs train", lambda: len(self.prometheus.query("galleon_job_loss")) >= 2)
        time.sleep(150)
        now = time.time()
        # A panel that is there for each job is drawn for one of them.
        chosen = lambda panel, text: text.replace("$job", novels) if "repeat" in panel else text  # noqa: E731
        kept = [{"dashboard": stem, "panel": panel["title"], "shown": chosen(panel, panel["title"]), "legend": target["legendFormat"],
                 "query": chosen_all(chosen(panel, target["expr"]))}
                for stem, board in dashboards().items() for panel in board["panels"] for target in panel["targets"]]
        for one in kept:
            one["result"] = self.prometheus.get("query_range", query=one["query"], start=now - 150, end=now, step=1)["result"]
        pathlib.Path(KEEP).write_text(json.dumps(kept))


if __name__ == "__main__":
    if not shutil.which("prometheus"):
        print("skipped: prometheus is not here; deploy/packages.sh test installs it")
        sys.exit(SKIPPED)
    unittest.main(defaultTest="PicturesTest" if KEEP else None)
