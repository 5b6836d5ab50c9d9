"""A PostgreSQL of a test's own, and schedulers on it: reached by a Unix socket alone, run by a user without rights, ended by their ids."""
import glob
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

SKIP = 77
PATIENCE = 120


def programs():
    """The folder with initdb and postgres; None: there is none."""
    found = sorted(os.path.dirname(p) for p in glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    return found[-1] if found else None


def until(condition, what):
    """What the condition is once it is true of anything."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come")
        time.sleep(0.02)
    return found


class Postgres:
    def __init__(self, folder, standby_of=None, options=()):
        self.folder, self.bin, self.process, self.user, self.options = folder, programs(), None, {}, options
        os.mkdir(folder)
        if os.geteuid() == 0:
            who = pwd.getpwnam("nobody")
            os.chown(folder, who.pw_uid, who.pw_gid)
            self.user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
        self.url = f"postgresql://galleon@/postgres?host={folder}"
        if standby_of:
            subprocess.run([f"{self.bin}/pg_basebackup", "-D", f"{folder}/data", "-R", "-h", standby_of.folder, "-U", "galleon", "--checkpoint=fast", "--no-sync"], check=True, cwd="/", **self.user)
            return self.start()
        subprocess.run([f"{self.bin}/initdb", "-D", f"{folder}/data", "-U", "galleon", "-A", "trust", "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd="/", **self.user)
        self.start()

    def start(self):
        with open(f"{self.folder}.log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([f"{self.bin}/postgres", "-D", f"{self.folder}/data", "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", *self.options],
                                            stdout=log, stderr=log, cwd="/", **self.user)
        until(lambda: subprocess.run([f"{self.bin}/pg_isready", "-q", "-h", self.folder], check=False).returncode == 0, "PostgreSQL")

    def stop(self, how=signal.SIGINT):
        """SIGINT: connections are ended and everything is written. SIGQUIT: as after a crash."""
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def promote(self):
        """What was a standby writes from now on."""
        subprocess.run([f"{self.bin}/pg_ctl", "promote", "-s", "-D", f"{self.folder}/data", "-t", str(PATIENCE)], check=True, cwd="/", **self.user)

    def sql(self, statement):
        done = subprocess.run([f"{self.bin}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-U", "galleon", "-d", "postgres", "-c", statement],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Service:
    """Schedulers on one database, and workers of theirs. Everything that runs is ended with it, and the logs are shown where something fails."""

    def __init__(self, binaries):
        self.bin = os.path.abspath(binaries)
        self.folder = tempfile.mkdtemp(prefix="galleon-t-", dir="/tmp")  # short, as the path of a socket has to be
        os.chmod(self.folder, 0o755)
        self.running, self.address, self.metrics, self.postgres = {}, {}, {}, None

    def __enter__(self):
        try:
            self.postgres = Postgres(os.path.join(self.folder, "pg"))
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            for path in sorted(glob.glob(self.folder + "/*.log")):
                print("---", path, open(path, encoding="utf-8").read()[-1500:], sep="\n")
        # Workers take their leave while there is a scheduler.
        for name, process in sorted(self.running.items(), key=lambda item: item[0] in self.address):
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
        self.postgres.stop()
        shutil.rmtree(self.folder)

    def start(self, name, *command):
        with open(self.path(name + ".log"), "a", encoding="utf-8") as log:
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def path(self, name):
        return os.path.join(self.folder, name)

    def log(self, name):
        with open(self.path(name + ".log"), encoding="utf-8") as log:
            return log.read()

    def scheduler(self, name, *options, store=None, data=None, program=None):
        """At the same address whenever it starts again; stands by or serves when this returns."""
        ready = self.path(name + ".json")
        if os.path.exists(ready):
            os.remove(ready)
        self.start(name, program or f"{self.bin}/galleon-scheduler", "--data", data or self.path("data"), "--store", store or self.postgres.url, "--listen", self.address.get(name, "127.0.0.1:0"),
                   "--metrics", "127.0.0.1:0", "--ready-file", ready, *options)

        def told():
            assert self.running[name].poll() is None, f"{name} ended: {self.log(name)[-500:]}"
            return os.path.exists(ready) and open(ready, encoding="utf-8").read()
        addresses = json.loads(until(told, name))
        self.address[name], self.metrics[name] = addresses["listen"], addresses["metrics"]

    def http(self, name, path):
        """Status and text of the port of probes and metrics."""
        try:
            with urllib.request.urlopen(f"http://{self.metrics[name]}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def serves(self, name, times=1):
        return self.log(name).count("serves on") >= times

    def servers(self):
        return ",".join(self.address[name] for name in sorted(self.address, reverse=True))

    def ended(self, name):
        """Its exit code."""
        return self.running.pop(name).wait(PATIENCE)

    def galleon(self, *arguments, servers=None):
        done = subprocess.run([f"{self.bin}/galleon", *arguments, "--server", servers or self.servers()], capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout, done.stderr

    def ask(self, *arguments):
        code, out, error = self.galleon(*arguments, "-o", "json")
        assert code == 0, error
        return json.loads(out)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)
