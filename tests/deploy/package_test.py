#!/usr/bin/env python3
"""The Debian package: what it holds, what it depends on, and its units' own command lines, from its own files.

    package_test.py BUILD_FOLDER

CPack runs in the build folder; the package is unpacked into a folder of the test's own, and nothing is installed here.
"""

import gzip
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SKIPPED = 77
BUILD = pathlib.Path(sys.argv.pop()).resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def variables(path):
    """An EnvironmentFile as systemd reads it, for what the sample files use."""
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {key: shlex.split(value)[0] if value else "" for key, value in (line.split("=", 1) for line in lines)}


class PackageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-package-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", cls.folder / "cpack", cwd=cls.folder)
        packages = list((cls.folder / "cpack").glob("*.deb"))
        assert len(packages) == 1, packages
        cls.package = packages[0]
        cls.root = cls.folder / "root"
        run("dpkg-deb", "-R", cls.package, cls.root)

    def test_it_is_a_debian_package_of_this_version_with_every_library_as_a_dependency(self):
        fields = dict(line.split(": ", 1) for line in (self.root / "DEBIAN/control").read_text().splitlines() if re.match(r"\w", line))
        version = re.search(r"project\(galleon VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
        self.assertEqual((fields["Package"], fields["Version"]), ("galleon", version))
        self.assertRegex(self.package.name, rf"^galleon_{re.escape(version)}_\w+\.deb$")
        for library in ("libc6", "libgrpc++1.51", "libprotobuf32", "libsqlite3-0", "libopenblas0-openmp", "libdnnl2", "libsentencepiece0", "adduser"):
            self.assertIn(library, re.split(r"[ ,|]+", fields["Depends"]), fields["Depends"])
        # Where it was built with PostgreSQL, which neither the quickstart nor a build of one's own needs.
        linked = "libpq.so" in run("readelf", "-d", self.root / "usr/bin/galleon-scheduler")
        self.assertEqual("libpq5" in re.split(r"[ ,|]+", fields["Depends"]), linked, fields["Depends"])
        wanted = (ROOT / "deploy/packages.sh").read_text().split("build=(")[1].split(")")[0].split()
        self.assertFalse([name for name in wanted if "libpq" in name or "postgresql" in name])
        self.assertRegex((ROOT / "deploy/images/Dockerfile").read_text(), r"apt-get install [^\n]* libpq-dev")

    def test_it_holds_programs_units_pages_completion_and_examples(self):
        for path in ("usr/bin/galleon", "usr/bin/galleon-trainer", "usr/bin/galleon-scheduler", "usr/bin/galleon-worker",
                     "usr/lib/galleon/libgalleon_sentencepiece.so", "usr/share/man/man1/galleon-scheduler.1.gz",
                     "usr/share/bash-completion/completions/galleon", "usr/share/zsh/vendor-completions/_galleon",
                     "usr/lib/systemd/system/galleon-worker.service", "etc/galleon/scheduler.conf", "etc/galleon/worker.conf",
                     "usr/share/doc/galleon/examples/janeausten/tokenizer.model", "usr/share/doc/galleon/slurm/train.sbatch"):
            self.assertTrue((self.root / path).is_file(), path)
        self.assertLess(self.package.stat().st_size, 40 << 20)
        # Nothing of the folder that it was built in.
        for program in (self.root / "usr/bin").iterdir():
            dynamic = run("readelf", "-d", program)
            self.assertNotIn(str(ROOT), dynamic, program)
        self.assertIn("/etc/galleon/worker.conf", (self.root / "DEBIAN/conffiles").read_text())
        for page in (self.root / "usr/share/man/man1").iterdir():
            text = gzip.decompress(page.read_bytes()).decode()
            self.assertIn(".SH NAME", text)
            self.assertNotIn(str(BUILD), text)

    @unittest.skipUnless(shutil.which("lintian"), "lintian is not installed")
    def test_debians_own_checks_find_nothing_but_what_is_argued(self):
        done = subprocess.run([ROOT / "deploy/package/lint.sh", self.package], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        # What is argued is there: an override that matches nothing says so.
        self.assertNotIn("unused-override", done.stdout)

    def test_the_scripts_are_shell_and_the_units_are_what_systemd_accepts(self):
        for script in ("postinst", "prerm"):
            run("sh", "-n", self.root / "DEBIAN" / script)
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not here")
        for unit in ("galleon-scheduler.service", "galleon-worker.service"):
            text = (self.root / "usr/lib/systemd/system" / unit).read_text()
            # The programs are not installed on this machine.
            checked = self.folder / unit
            checked.write_text(text.replace("/usr/bin/", str(self.root / "usr/bin") + "/").replace("Documentation=man:", "#"))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", checked], capture_output=True, text=True, check=False)
            own = [line for line in done.stderr.splitlines() if unit in line]
            self.assertEqual(own, [], done.stderr)
            exposure = subprocess.run(["systemd-analyze", "security", "--offline=true", checked], capture_output=True, text=True, check=False).stdout
            level = re.search(r"Overall exposure level for .*: ([\d.]+)", exposure)
            if level:  # absent from older versions
                self.assertLessEqual(float(level.group(1)), 2.0, exposure)

    def command_of(self, unit, conf, changed):
        """The unit's ExecStart as systemd would run it, with its state and runtime folders below this test's."""
        text = (self.root / "usr/lib/systemd/system" / unit).read_text()
        line = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE).group(1)
        given = re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE)
        values = {key: value.replace("%S", str(self.folder / "StateDirectory")) for key, value in given}
        values.update({**variables(self.root / "etc/galleon" / conf), **changed})
        for key, kind in (("STATE_DIRECTORY", "StateDirectory"), ("RUNTIME_DIRECTORY", "RuntimeDirectory")):
            name = re.search(rf"^{kind}=(.*)$", text, re.MULTILINE).group(1)
            values[key] = str(self.folder / kind / name)
            pathlib.Path(values[key]).mkdir(parents=True, exist_ok=True)
        words = []
        for word in line.split(" "):
            if word.startswith("$") and not word.startswith("${"):
                words += shlex.split(values[word[1:]])  # systemd splits $NAME at blanks, and ${NAME} never
            else:
                words.append(re.sub(r"\$\{(\w+)\}", lambda found: values[found.group(1)], word))
        words[0] = str(self.root) + words[0]
        return words, pathlib.Path(values["RUNTIME_DIRECTORY"]) / "ready.json"

    def start(self, words, ready):
        log = (self.folder / f"{ready.parent.name}.log").open("w")
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        log.close()
        self.addCleanup(self.end, process)
        deadline = time.monotonic() + 240
        while not ready.exists():
            self.assertIsNone(process.poll(), (self.folder / f"{ready.parent.name}.log").read_text())
            self.assertLess(time.monotonic(), deadline, "not ready")
            time.sleep(0.05)
        return json.loads(ready.read_text())

    @staticmethod
    def end(process):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def test_a_job_goes_through_the_units_own_command_lines(self):
        data = self.folder / "srv"
        (data / "data").mkdir(parents=True)
        shutil.copytree(self.root / "usr/share/doc/galleon/examples/janeausten", data / "data/books")
        state = self.start(*self.command_of("galleon-scheduler.service", "scheduler.conf",
                                            {"JOBS": str(data / "jobs"), "LISTEN": "127.0.0.1:0", "METRICS": "127.0.0.1:0"}))
        self.start(*self.command_of("galleon-worker.service", "worker.conf",
                                    {"SERVER": state["listen"], "ALLOW": str(data / "data"), "METRICS": "127.0.0.1:0"}))
        job = data / "job.yaml"
        books = sorted((data / "data/books/train").iterdir())
        self.assertTrue(books)
        job.write_text(json.dumps({
            "name": "packaged", "task": "pretrain", "model": {"source": "preset:tiny", "overrides": {"vocab_size": 2048}},
            "tokenizer": str(data / "data/books/tokenizer.model"), "data": {"train": [str(books[0])], "sequence_length": 32},
            "optimizer": {"learning_rate": 0.01, "galore": {"rank": 8}}, "training": {"steps": 5, "global_batch": 4, "micro_batch": 4}}))
        environment = {**os.environ, "GALLEON_SERVER": state["listen"]}
        galleon = self.root / "usr/bin/galleon"
        identifier = json.loads(run(galleon, "submit", job, "-o", "json", env=environment))["job_id"]
        said = run(galleon, "wait", identifier, "--timeout", "240", env=environment)
        self.assertIn("SUCCEEDED", said)


if __name__ == "__main__":
    if not shutil.which("dpkg-shlibdeps"):
        print("skipped: dpkg-dev is not here")
        sys.exit(SKIPPED)
    unittest.main()
