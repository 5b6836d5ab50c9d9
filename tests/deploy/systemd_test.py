#!/usr/bin/env python3
"""The lines of docs/install.md under "The Debian package", typed on a machine with systemd: one that systemd-nspawn boots.

    systemd_test.py BUILD_FOLDER

A bare Debian root gets systemd, and the package's dependencies as downloads; it is booted without a network and the lines are run in it as they are
written. Needs root, systemd-nspawn and mmdebstrap; ends with 77 where something is missing or the kernel does not let systemd be process 1.
"""

import ctypes
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import debian

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv.pop()).resolve()
SERVER = ["--server", "127.0.0.1:7070"]


def lines_of_the_guide():
    """The commands of the section, without what builds the package and without comments."""
    section = (ROOT / "docs/install.md").read_text().split("\n## The Debian package\n")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL).group(1)
    return [line for line in block.splitlines() if line.strip() and not line.startswith("cpack")]


class Machine:
    """A root that systemd-nspawn has booted. `why_not`: what systemd says where it does not run here."""

    def __init__(self, root, log):
        self.log, self.first, self.why_not = log, None, None
        # Its own control group file system and network; its console is the log.
        with log.open("w") as out:
            self.process = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", root, "--boot", "--register=no", "--keep-unit", "--private-network", "--console=pipe",
                 "--kill-signal=SIGRTMIN+3"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})
        end = time.monotonic() + 240
        while self.why_not is None and self.state() not in ("running", "degraded"):
            if self.process.poll() is not None or time.monotonic() > end:
                self.why_not = f"systemd does not run as process 1 here: {self.state() or log.read_text()[-300:]}"
            time.sleep(0.2)

    def state(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            self.first = int(children.read_text().split()[0])
        except (OSError, IndexError):
            return ""
        return self.run("systemctl is-system-running", check=False).stdout.strip()

    def run(self, line, check=True, answer=""):
        done = subprocess.run(["nsenter", "--target", str(self.first), "--all", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb",
                               "bash", "-c", f"cd /root && {line}"], input=answer, capture_output=True, text=True, check=False, timeout=600)
        assert not check or done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}\n{self.journal()}"
        return done

    def journal(self):
        return self.run("journalctl --no-pager -n 40 -u galleon-scheduler -u galleon-worker", check=False).stdout

    def power_off(self):
        if self.process.poll() is None:
            self.process.terminate()  # which systemd is told as an order to halt
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class SystemdTest(unittest.TestCase):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-systemd-"))
    machine = None

    def job(self):
        return json.loads(self.machine.run(f"sudo -u galleon galleon get {self.identifier} -o json {' '.join(SERVER)}").stdout)

    def step(self):
        return int(self.job().get("progress", {}).get("step", 0))

    def within(self, seconds, what, condition):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                self.fail(f"not within {seconds} s: {what}\n{self.machine.journal()}")
            time.sleep(0.3)

    def property_of(self, unit, name):
        return self.machine.run(f"systemctl show -P {name} {unit}").stdout.strip()

    def test_the_guide_s_lines_install_start_and_train_and_the_units_keep_their_word(self):
        lines = lines_of_the_guide()
        self.assertGreaterEqual(len(lines), 4)
        for line in lines:
            said = self.machine.run(line, answer="y\n").stdout
        self.identifier = re.search(r"submitted (\S+)", said).group(1)
        for unit in ("galleon-scheduler", "galleon-worker"):
            self.assertEqual(self.property_of(unit, "ActiveState"), "active")
            self.assertEqual(self.property_of(unit, "UnitFileState"), "enabled")
            self.assertEqual(self.property_of(unit, "NRestarts"), "0", self.machine.journal())
        self.within(240, "steps", lambda: self.step() >= 3)
        # The unit's filter of system calls leaves Landlock its own.
        if ctypes.CDLL(None).syscall(444, None, 0, 1) > 0:  # landlock_create_ruleset: the version that this kernel has
            self.machine.run("journalctl --no-pager -u galleon-worker | grep 'rank 0 started, .* confined by Landlock'")

        # It says itself when it has read its files again: until then `systemctl reload` would show it as reloading.
        self.machine.run("systemctl reload galleon-scheduler")
        self.within(60, "the reload is over", lambda: self.property_of("galleon-scheduler", "ActiveState") == "active")
        self.assertIn("serves on", self.property_of("galleon-scheduler", "StatusText"))
        self.assertIn("is registered at", self.property_of("galleon-worker", "StatusText"))
        self.assertEqual(self.property_of("galleon-scheduler", "NRestarts"), "0", self.machine.journal())

        # A scheduler that is killed comes back, and what runs goes on.
        before = self.step()
        self.machine.run("systemctl kill --signal=KILL galleon-scheduler")
        self.within(240, "the scheduler is back", lambda: self.property_of("galleon-scheduler", "NRestarts") == "1"
                    and self.machine.run(f"galleon workers {' '.join(SERVER)}", check=False).returncode == 0)
        self.within(240, "the job goes on", lambda: self.step() > before)
        self.assertEqual(self.job()["state"], "RUNNING")
        self.assertEqual(int(self.job()["attempts"] if "attempts" in self.job() else 1), 1)

        # A worker that is restarted lets its trainers write a checkpoint, from which they go on.
        before = self.step()
        self.machine.run("systemctl restart galleon-worker")
        self.within(240, "the checkpoint", lambda: "checkpoint" in self.job())
        self.assertGreaterEqual(int(self.job()["checkpoint"]["step"]), before)
        self.within(240, "the job runs on", lambda: self.step() > int(self.job()["checkpoint"]["step"]))

        self.machine.run(f"sudo -u galleon galleon cancel {self.identifier} {' '.join(SERVER)}")
        self.machine.run("sudo apt remove galleon", answer="y\n")
        self.assertEqual(self.machine.run("pgrep -u galleon", check=False).stdout, "")
        self.assertIn("SLOTS=", self.machine.run("cat /etc/galleon/worker.conf").stdout)
        self.machine.run("test -d /srv/galleon/jobs")


def prepare(folder):
    """The machine, booted, with the package beside its root's home."""
    root = folder / "root"
    root.mkdir()
    debian.run("tar", "-xf", debian.base(BUILD), "-C", root)
    package = debian.package(BUILD, folder)
    shutil.copy(package, root / "root")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "etc/hostname").write_text("machine\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost machine\n")
    # No service starts in the root before it is booted.
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    script = f"export DEBIAN_FRONTEND=noninteractive; apt-get update && apt-get install -y --no-install-recommends systemd-sysv dbus sudo procps && " \
             f"apt-get install -y --download-only /root/{package.name}"
    done = subprocess.run(["chroot", root, "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        debian.skip(debian.unreachable(done.stdout + done.stderr) or sys.exit(done.stdout[-3000:] + done.stderr[-3000:]))
    (root / "usr/sbin/policy-rc.d").unlink()
    machine = Machine(root, folder / "console")
    if machine.why_not:
        machine.power_off()
        debian.skip(machine.why_not)
    return machine


if __name__ == "__main__":
    debian.need("systemd-nspawn", "mmdebstrap", "nsenter", "cpack")
    try:
        SystemdTest.machine = prepare(SystemdTest.folder)
        unittest.main()
    finally:
        if SystemdTest.machine is not None:
            SystemdTest.machine.power_off()
        shutil.rmtree(SystemdTest.folder, ignore_errors=True)
