#!/usr/bin/env python3
"""The images, without a container engine: their root file system, and compose's own services started from it.

    images_test.py BUILD_FOLDER

deploy/images/root.sh assembles the root (mmdebstrap, Debian's archive). Each service of deploy/compose.yaml runs in it with the user,
read-only root, volumes, command and network that compose gives it, as process 1. Needs root; ends with 77 where something is missing.
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
import urllib.parse

BUILD = pathlib.Path(sys.argv.pop()).resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ROOT / "deploy/images"
sys.path.insert(0, str(ROOT / "tests/e2e"))

import debian  # noqa: E402
import network  # noqa: E402
import process_one  # noqa: E402

try:
    import yaml
except ImportError:
    yaml = None

ADDRESSES = {"certificates": "10.73.0.1", "scheduler": "10.73.0.2", "worker-1": "10.73.0.3", "worker-2": "10.73.0.4", "galleon": "10.73.0.5",
             "prometheus": "10.73.0.6"}


def instructions(path):
    """(instruction, rest) of a Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#")))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


class Container(process_one.ProcessOne):
    """A service of compose as process 1 of a namespace of its own."""

    def __init__(self, compose, name, image_root, folder, net, arguments=()):
        self.name, self.folder, self.net = name, folder / "containers" / f"{name}-{time.monotonic_ns()}", net
        service = compose["services"][name]
        root = self.folder / "root"
        root.mkdir(parents=True)
        hosts = self.folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {host}\n" for host, address in ADDRESSES.items()))
        script = ["set -e", f"mount --bind {image_root} {root}"]
        if service["read_only"]:
            script.append(f"mount -o remount,bind,ro {root}")
        script += [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev", f"mount --bind {hosts} {root}/etc/hosts"]
        for tmpfs in service.get("tmpfs", []):
            place, options = tmpfs.split(":")
            script.append(f"mount -t tmpfs -o {options} tmpfs {root}{place}")
        for volume in service.get("volumes", []):
            source, target, *mode = re.sub(r"\$\{GALLEON_DATA:-[^}]*\}", "/DATA", volume).split(":")
            place = folder / "volumes" / source.strip("/")
            if not place.exists():  # as the engine makes a volume: with the owner of the image's folder
                place.mkdir(parents=True)
                owner = (image_root / target.lstrip("/")).stat()
                os.chown(place, owner.st_uid, owner.st_gid)
            script.append(f"mount --bind {place} {root}{target}")
            if "ro" in mode:
                script.append(f"mount -o remount,bind,ro {root}{target}")
        user = service["user"].split(":")[0]
        entry = service.get("entrypoint") or IMAGE_ENTRYPOINTS[service["build"].get("target", "")]
        command = [*entry, *(arguments or service.get("command", []))]
        variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GALLEON_METRICS_PORT": "9090", **service.get("environment", {})}
        exports = " ".join(f"{key}={value}" for key, value in variables.items())
        (self.folder / "command").write_text("\0".join(command))
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
        script.append(f"exec chroot {root} /usr/bin/env -i {exports} /usr/bin/setpriv --reuid {user} --regid {user} --clear-groups "
                      f"--bounding-set -all --no-new-privs {quoted}")
        runner = self.folder / "run.sh"
        runner.write_text("\n".join(script) + "\n")
        self.log = self.folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", net.names[name], "unshare", "--mount", "--pid", "--fork", "--kill-child",
                                             "sh", str(runner)], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def healthy(self):
        return self.first_process() is not None and self.enter(*HEALTH).returncode == 0

    def stop(self, seconds):
        first = self.first_process()
        begin = time.monotonic()
        if first is not None:
            os.kill(first, signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end within {seconds} s of SIGTERM\n{self.log.read_text()[-2000:]}") from None
        return time.monotonic() - begin

    def zombies(self):
        found = []
        for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                name, rest = status.read_text().rsplit(")", 1)
            except OSError:
                continue
            state, parent = rest.split()[:2]
            if state == "Z" and int(parent) == self.first_process():
                found.append(name)
        return found


def health_check():
    said = next(rest for word, rest in instructions(IMAGES / "Dockerfile") if word == "HEALTHCHECK")
    return json.loads(said.split("CMD", 1)[1])


def entrypoints():
    """Of each target of the Dockerfile."""
    found, stage = {}, None
    for word, rest in instructions(IMAGES / "Dockerfile"):
        if word == "FROM":
            stage = rest.split(" AS ")[1]
        if word == "ENTRYPOINT":
            found[stage] = json.loads(rest)
    return found


HEALTH = health_check()
IMAGE_ENTRYPOINTS = entrypoints()


def assemble(folder):
    """The root in folder/image. Why there is none, where Debian's archive is out of reach; anything else that fails is an error."""
    package = debian.package(BUILD, folder)
    done = subprocess.run([IMAGES / "root.sh", package, folder / "image", debian.base(BUILD)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stdout + done.stderr
        reason = debian.unreachable(said)
        assert reason, said[-4000:]
        return reason
    (folder / "image/etc/hosts").touch()  # which an engine puts there
    # Others may pass through, as in an image.
    folder.chmod(0o755)
    return None


class ImagesTest(unittest.TestCase):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-images-"))
    root = folder / "image"

    def test_the_dockerfiles_are_pinned_run_without_root_and_copy_what_is_there(self):
        for path in IMAGES.glob("*Dockerfile"):
            said = instructions(path)
            base = next(rest for word, rest in said if word == "ARG" and rest.startswith("BASE="))
            self.assertRegex(base, r":.*\d", f"{path}: {base} names no version")
            for word, rest in said:
                if word == "COPY" and not rest.startswith("--from"):
                    for source in rest.split()[:-1]:
                        self.assertTrue((ROOT / source).exists(), f"{path} copies {source}")
                if word == "USER":
                    self.assertRegex(rest, r"^\d+:\d+$", "Kubernetes cannot see that a named user is not root")
            for needed in ("USER", "HEALTHCHECK", "ENTRYPOINT", "STOPSIGNAL"):
                self.assertIn(needed, [word for word, _ in said], path)

    def test_the_root_holds_what_the_programs_need_and_nothing_that_runs_as_root(self):
        for entry in IMAGE_ENTRYPOINTS.values():
            self.assertTrue((self.root / "usr/bin" / entry[0]).is_file(), entry)
        for program in ("galleon", "galleon-trainer", "galleon-scheduler", "galleon-worker"):
            libraries = debian.run("chroot", self.root, "ldd", f"/usr/bin/{program}")
            self.assertNotIn("not found", libraries, program)
            self.assertRegex(debian.run("chroot", self.root, f"/usr/bin/{program}", "--version"), r"^\d+\.\d+\.\d+")
        self.assertEqual(debian.run("find", self.root, "-xdev", "-type", "f", "-perm", "/6000"), "")
        self.assertEqual(list((self.root / "var/lib/apt/lists").glob("*_*")), [])
        size = int(debian.run("du", "-sxm", self.root).split()[0])
        self.assertLess(size, 320, "MiB before compression")

    def test_a_user_that_a_cluster_gives_reaches_the_mounts_and_no_keys(self):
        as_given = ("chroot", "--userspec=1000670000:0", self.root, "/usr/bin/test")
        for folder in ("/var/lib/galleon", "/srv/galleon/jobs", "/srv/galleon/data"):
            self.assertEqual(subprocess.run([*as_given, "-w", folder], check=False).returncode, 0, folder)
        self.assertNotEqual(subprocess.run([*as_given, "-r", "/var/lib/galleon-tls/admin"], check=False).returncode, 0)

    def test_composes_services_run_a_job_are_scraped_and_end_in_time(self):
        compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
        data = self.folder / "volumes/DATA"
        shutil.copytree(ROOT / "deploy/examples/janeausten", data)
        book = sorted((data / "train").iterdir())[0]
        for name, steps in (("short", 5), ("long", 100000)):
            (data / f"{name}.yaml").write_text(json.dumps({
                "name": name, "task": "pretrain", "model": {"source": "preset:tiny", "overrides": {"vocab_size": 2048}}, "tokenizer": "tokenizer.model",
                "data": {"train": [f"train/{book.name}"], "sequence_length": 32}, "optimizer": {"learning_rate": 0.01, "galore": {"rank": 8}},
                "training": {"steps": steps, "global_batch": 4, "micro_batch": 2}, "parallel": {"ranks": 2}, "checkpoint": {"every": 50000}}))
        with network.Network(ADDRESSES) as net:
            def start(name, *arguments):
                container = Container(compose, name, self.root, self.folder, net, arguments)
                self.addCleanup(container.end)
                return container

            def galleon(*arguments):
                container = start("galleon", *arguments)
                code = container.process.wait(240)
                self.assertEqual(code, 0, container.log.read_text())
                return container.log.read_text()

            def within(seconds, what, condition, *containers):
                end = time.monotonic() + seconds
                while not condition():
                    said = "".join(c.log.read_text()[-1500:] for c in containers)
                    self.assertFalse(any(c.process.poll() is not None for c in containers), f"{what}: ended\n{said}")
                    self.assertLess(time.monotonic(), end, f"{what}\n{said}")
                    time.sleep(0.1)

            for _ in range(2):  # the second finds what the first made
                certificates = start("certificates")
                self.assertEqual(certificates.process.wait(240), 0, certificates.log.read_text())
            self.assertEqual(sorted(p.name for p in (self.folder / "volumes/tls-worker").iterdir()), ["ca.pem", "cert.pem", "key.pem"])
            scheduler = start("scheduler")
            within(240, "the scheduler's health check", scheduler.healthy, scheduler)
            workers = [start("worker-1"), start("worker-2")]
            for worker in workers:
                within(240, f"{worker.name}'s health check", worker.healthy, worker)
            job = re.search(r"submitted (\S+)", galleon("submit", "/srv/galleon/data/short.yaml")).group(1)
            self.assertIn("SUCCEEDED", galleon("wait", job, "--timeout", "240"))
            self.scrape(compose, net, within)

            job = re.search(r"submitted (\S+)", galleon("submit", "/srv/galleon/data/long.yaml")).group(1)
            within(240, "the job's steps", lambda: int(json.loads(galleon("get", job, "-o", "json")).get("progress", {}).get("step", 0)) > 20, *workers)
            for worker in workers:
                self.assertEqual(worker.zombies(), [], "process 1 leaves ended children")
            # SIGTERM: a checkpoint, the job handed back, and the end well within the grace.
            self.assertLess(workers[0].stop(60), 30)
            self.assertEqual(workers[0].process.returncode, 0, workers[0].log.read_text())
            within(240, "the checkpoint", lambda: "checkpoint" in json.loads(galleon("get", job, "-o", "json")), workers[1])
            record = json.loads(galleon("get", job, "-o", "json"))
            self.assertGreater(int(record["checkpoint"]["step"]), 20)
            self.assertEqual(record["state"], "QUEUED")
            self.assertLess(workers[1].stop(60), 30)
            self.assertLess(scheduler.stop(30), 10)
            self.assertEqual(scheduler.process.returncode, 0, scheduler.log.read_text())

    def scrape(self, compose, net, within):
        """Prometheus with compose's configuration, in compose's network: every target is up, and the rules are loaded."""
        place = self.folder / "prometheus"
        place.mkdir()
        for volume in compose["services"]["prometheus"]["volumes"]:
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                text = (ROOT / "deploy" / source).read_text()
                (place / pathlib.Path(target).name).write_text(text.replace("scrape_interval: 15s", "scrape_interval: 1s"))
        hosts = next((self.folder / "containers").glob("scheduler-*")) / "hosts"
        command = f"mount --bind {hosts} /etc/hosts && exec prometheus --config.file={place}/prometheus.yaml --storage.tsdb.path={place}/tsdb " \
                  "--web.listen-address=127.0.0.1:9999"
        with (place / "log").open("w") as log:
            prometheus = subprocess.Popen(["ip", "netns", "exec", net.names["prometheus"], "unshare", "--mount", "sh", "-c", command], stdout=log, stderr=log)
        try:
            def ask(path, **arguments):
                done = subprocess.run(["ip", "netns", "exec", net.names["prometheus"], "curl", "-s", "--max-time", "5",
                                       f"http://127.0.0.1:9999/api/v1/{path}?{urllib.parse.urlencode(arguments)}"], capture_output=True, text=True, check=False)
                return json.loads(done.stdout)["data"] if done.returncode == 0 and done.stdout.startswith("{") else None

            def all_up():
                said = ask("query", query="up == 1")
                return said is not None and len(said["result"]) == 3

            within(240, "every target is scraped\n" + (place / "log").read_text(), all_up)
            self.assertGreater(len(ask("rules")["groups"]), 0)
            self.assertTrue(ask("query", query="galleon_jobs")["result"])
        finally:
            prometheus.terminate()
            prometheus.wait()


if __name__ == "__main__":
    reason = network.refusal()
    missing = [program for program in ("mmdebstrap", "nsenter", "setpriv", "prometheus", "curl", "cpack") if shutil.which(program) is None]
    if missing:
        reason = f"{', '.join(missing)} are not installed"
    if yaml is None:
        reason = "Python's yaml is not installed"
    try:
        reason = reason or assemble(ImagesTest.folder)
        if reason is not None:
            print(f"skipped: {reason}")
            sys.exit(debian.SKIPPED)
        unittest.main()
    finally:
        shutil.rmtree(ImagesTest.folder, ignore_errors=True)
