#!/usr/bin/env python3
"""deploy/images/Dockerfile, really built: buildah, without a daemon and without a registry.

    dockerfile_test.py BUILD_FOLDER [--whole] [--twice]

The base image is a bare root by mmdebstrap, and packages come from where this machine's apt gets its own. The stage that compiles is replaced by
the package of BUILD_FOLDER; with --whole it runs too, which takes as long as compiling everything. --twice builds all again and names the files
that differ. Needs root, buildah and mmdebstrap; ends with 77 where something is missing.
"""

import hashlib
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

import debian
import process_one

ROOT = pathlib.Path(__file__).resolve().parents[2]
WHOLE, TWICE = ("--whole" in sys.argv, "--twice" in sys.argv)
BUILD = pathlib.Path(next(word for word in sys.argv[1:] if not word.startswith("-"))).resolve()
TARGETS = ("scheduler", "worker")
JOBS = "/srv/galleon/jobs"


class Buildah:
    """buildah with a storage of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir()
        for self.driver in ("overlay", "vfs"):
            if self.run("info", check=False).returncode == 0:
                break

    def run(self, *arguments, check=True):
        command = ["buildah", "--root", self.folder / "storage", "--runroot", self.folder / "run", "--storage-driver", self.driver, *arguments]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, env=self.environment)
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-6000:]}{done.stderr[-3000:]}"
        return done

    def say(self, *arguments):
        return self.run(*arguments).stdout.strip()

    def import_base(self, tarball):
        container = self.say("from", "scratch")
        self.run("add", "--quiet", container, tarball, "/")
        self.run("commit", "--quiet", "--rm", container, "localhost/base")

    def build(self, target, tag, package=None, layers=True):
        given = ["--build-context", f"build={package}"] if package else []
        return self.run("bud", "--isolation", "chroot", "--network", "host", "--pull-never", "--format", "docker", f"--layers={str(layers).lower()}",
                        "--build-arg", "BASE=localhost/base", "--build-arg", "ARCHIVE=base", *given, "--target", target, "-t", tag,
                        "-f", ROOT / "deploy/images/Dockerfile", ROOT)

    def configuration(self, tag):
        return json.loads(self.say("inspect", "--type", "image", tag))["Docker"]["config"]

    def mounted(self, tag):
        """The image's root, in a container that nothing runs in."""
        return pathlib.Path(self.say("mount", self.say("from", "--pull-never", tag)))


class Running(process_one.ProcessOne):
    """An image's process as an engine would run it: process 1, the image's user, entry point and environment, a root that is read-only.
    Who shares another's network shares its folder of jobs too."""

    def __init__(self, folder, name, root, configuration, arguments, network=None):
        self.configuration = configuration
        self.folder = folder / name
        place = self.folder / "root"
        place.mkdir(parents=True)
        script = ["set -e", "ip link set lo up", f"mount --bind {root} {place}", f"mount -o remount,bind,ro {place}", f"mount -t proc proc {place}/proc",
                  f"mount --rbind /dev {place}/dev", f"mount -t tmpfs tmpfs {place}/tmp"]
        for volume in configuration["Volumes"]:
            shared = network is not None and volume == JOBS
            source = (network if shared else self).folder / volume.strip("/").replace("/", "-")
            source.mkdir(exist_ok=shared)
            owner = (root / volume.lstrip("/")).stat()  # as an engine makes a volume
            os.chown(source, owner.st_uid, owner.st_gid)
            script.append(f"mount --bind {source} {place}{volume}")
        user, group = configuration["User"].split(":")
        variables = " ".join(f"'{each}'" for each in configuration["Env"])
        script.append(f"exec chroot {place} /usr/bin/env -i -C {configuration['WorkingDir']} {variables} /usr/bin/setpriv --reuid {user} --regid {group} "
                      f"--clear-groups --bounding-set -all --no-new-privs {' '.join([*configuration['Entrypoint'], *arguments])}")
        (self.folder / "run.sh").write_text("\n".join(script) + "\n")
        enter = ["nsenter", f"--net=/proc/{network.first_process()}/ns/net"] if network else []
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen([*enter, "unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"]), "sh",
                                             str(self.folder / "run.sh")], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def log(self):
        return (self.folder / "log").read_text()

    def health(self):
        """What the image's own health check says; empty while it fails."""
        if self.process.poll() is not None:
            raise AssertionError(self.log())
        kind, *command = self.configuration["Healthcheck"]["Test"]
        assert kind == "CMD", kind
        done = self.enter(*command) if self.first_process() else None
        return done.stdout if done and done.returncode == 0 else ""

    def stop(self, seconds):
        os.kill(self.first_process(), getattr(signal, self.configuration["StopSignal"]))
        return self.process.wait(seconds)


def contents(root):
    """Of every path: its kind, rights, owner and what it holds. Times are left out."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = pathlib.Path(folder) / name
            info = path.lstat()
            held = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path.relative_to(root))] = (oct(info.st_mode), info.st_uid, info.st_gid, held)
    return found


class DockerfileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-dockerfile-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.folder.chmod(0o755)
        cls.buildah = Buildah(cls.folder)
        cls.addClassCleanup(cls.buildah.run, "rm", "--all", check=False)
        cls.buildah.import_base(debian.base(BUILD))
        cls.given = None
        if not WHOLE:
            cls.given = cls.folder / "package"
            (cls.given / "out").mkdir(parents=True)
            debian.package(BUILD, cls.folder).rename(cls.given / "out" / "galleon.deb")
        for target in TARGETS:
            cls.buildah.build(target, f"localhost/{target}", cls.given)
        cls.configurations = {target: cls.buildah.configuration(f"localhost/{target}") for target in TARGETS}
        cls.roots = {target: cls.buildah.mounted(f"localhost/{target}") for target in TARGETS}

    def start(self, target, arguments, network=None):
        started = Running(self.folder, f"{target}-{time.monotonic_ns()}", self.roots[target], self.configurations[target], arguments, network)
        self.addCleanup(started.end)
        end = time.monotonic() + 240
        while not started.health():
            self.assertLess(time.monotonic(), end, started.log())
            time.sleep(0.1)
        return started

    def test_an_image_says_how_it_is_run(self):
        for target, configuration in self.configurations.items():
            self.assertEqual(configuration["User"], "10001:10001")
            self.assertEqual(configuration["Entrypoint"], [f"galleon-{target}"])
            self.assertEqual(configuration["StopSignal"], "SIGTERM")
            self.assertEqual(configuration["WorkingDir"], "/srv/galleon")
            self.assertEqual(sorted(configuration["Volumes"]), [JOBS, "/var/lib/galleon"])
            self.assertIn("9090/tcp", configuration["ExposedPorts"])
            self.assertEqual(configuration["Healthcheck"]["Test"], ["CMD", "/usr/lib/galleon/health"])

    def test_an_image_says_what_it_is(self):
        labels = self.configurations["worker"]["Labels"]
        told = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items() if key.startswith("org.opencontainers.image.")}
        self.assertEqual((told["title"], told["licenses"], told["version"]), ("Galleon", "Apache-2.0", re.search(r"project\(galleon VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)))
        self.assertLessEqual({"revision", "source", "description"}, set(told))

    def test_an_image_holds_what_the_programs_need_and_little_else(self):
        for root in self.roots.values():
            for program in ("galleon", "galleon-trainer", "galleon-scheduler", "galleon-worker"):
                self.assertNotIn("not found", debian.run("chroot", root, "ldd", f"/usr/bin/{program}"), program)
            self.assertEqual(debian.run("find", root, "-xdev", "-type", "f", "-perm", "/6000"), "")
            self.assertEqual([path.name for path in (root / "tmp").iterdir()], [])
            self.assertEqual(list((root / "var/lib/apt/lists").glob("*_*")), [])
            self.assertLess(int(debian.run("du", "-sxm", root).split()[0]), 320, "MiB before compression")

    def test_scheduler_and_worker_start_are_healthy_find_each_other_and_take_sigterm(self):
        scheduler = self.start("scheduler", ["--data", "/var/lib/galleon", "--jobs", JOBS, "--listen", "127.0.0.1:7070", "--metrics", "127.0.0.1:9090"])
        self.assertIn("/livez: 200", scheduler.health())
        worker_configuration = dict(self.configurations["worker"], Env=[*self.configurations["worker"]["Env"], "GALLEON_METRICS_PORT=9091"])
        self.configurations["worker"], kept = worker_configuration, self.configurations["worker"]
        self.addCleanup(self.configurations.update, worker=kept)
        worker = self.start("worker", ["--server", "127.0.0.1:7070", "--name", "one", "--slots", "1", "--data", "/var/lib/galleon", "--allow", "/srv/galleon/data",
                                       "--metrics", "127.0.0.1:9091"], network=scheduler)
        for each in (scheduler, worker):
            status = pathlib.Path(f"/proc/{each.first_process()}/status").read_text()
            self.assertRegex(status, r"Uid:\t10001\t10001\t10001\t10001")
            self.assertRegex(status, r"CapEff:\t0000000000000000")
            self.assertRegex(status, r"NSpid:\t\d+\t1\n")
        end = time.monotonic() + 240
        while "READY" not in (said := scheduler.enter("galleon", "workers", "--server", "127.0.0.1:7070").stdout):
            self.assertLess(time.monotonic(), end, said + worker.log())
            time.sleep(0.2)
        self.assertIn("one", said)
        self.assertEqual(worker.stop(30), 0, worker.log())
        self.assertEqual(scheduler.stop(30), 0, scheduler.log())

    @unittest.skipUnless(TWICE, "--twice asks for it")
    def test_two_builds_give_the_same_files(self):
        self.buildah.build("worker", "localhost/again", self.given, layers=False)
        first, second = contents(self.roots["worker"]), contents(self.buildah.mounted("localhost/again"))
        self.assertGreater(len(first), 1000)
        self.assertEqual({path for path in first.keys() | second.keys() if first.get(path) != second.get(path)}, set())


if __name__ == "__main__":
    debian.need("buildah", "mmdebstrap", "nsenter", "setpriv", "cpack", "ip")
    unittest.main(argv=sys.argv[:1] + [word for word in sys.argv[1:] if word.startswith("test_")])
