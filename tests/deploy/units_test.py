#!/usr/bin/env python3
"""Two schedulers as the unit of the Debian package starts them, each with its own scheduler.conf, on a real PostgreSQL.

    units_test.py FOLDER_OF_PROGRAMS      exits 77 where PostgreSQL's programs are missing
"""

import json
import os
import pathlib
import re
import socket
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import postgres  # noqa: E402

UNIT = (ROOT / "deploy/systemd/galleon-scheduler.service").read_text()


def setting(key):
    return re.search(rf"^{key}=(.*)$", UNIT, re.MULTILINE).group(1)


def variables(runtime, **conf):
    """As systemd gives them: the unit's, the package's file, and what the operator wrote there."""
    own = dict([setting("Environment").replace("%S", "/var/lib").split("=", 1)])
    for line in [*(ROOT / "deploy/systemd/scheduler.conf").read_text().splitlines(), *(f"{k}={v}" for k, v in conf.items())]:
        if line and not line.startswith("#"):
            key, value = line.split("=", 1)
            own[key] = value.strip('"')
    return {**own, "RUNTIME_DIRECTORY": str(runtime), "STATE_DIRECTORY": "/var/lib/" + setting("StateDirectory")}


def command(binaries, given):
    """${X} is a word, $X is as many as it holds."""
    words = []
    for word in setting("ExecStart").replace("/usr/bin", str(binaries)).split():
        if re.fullmatch(r"\$\w+", word):
            words += given[word[1:]].split()
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda found: given[found.group(1)], word))
    return words


class Unit:
    """One of them; what it tells systemd comes by a socket."""

    def __init__(self, service, name, **conf):
        self.service, self.name = service, name
        runtime = pathlib.Path(service.path(name + "-run"))
        runtime.mkdir(exist_ok=True)
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.settimeout(postgres.PATIENCE)
        place = str(runtime / "notify")
        if os.path.exists(place):
            os.remove(place)
        self.told.bind(place)
        os.environ["NOTIFY_SOCKET"] = place
        service.start(name, *command(service.bin, variables(runtime, JOBS=service.path("jobs"), LISTEN="127.0.0.1:0", METRICS="127.0.0.1:0", **conf)))
        del os.environ["NOTIFY_SOCKET"]
        self.status = self.hears("READY=1")
        ready = json.loads((runtime / "ready.json").read_text())
        service.address[name], service.metrics[name] = ready["listen"], ready["metrics"]

    def hears(self, word):
        """The status that comes with it."""
        while word not in (message := self.told.recv(4096).decode()):
            pass
        return message


def main():
    binaries = sys.argv[1]
    # What was there before there were two: its state is where it was.
    assert command("/usr/bin", variables("/run/galleon-scheduler"))[:3] == ["/usr/bin/galleon-scheduler", "--data", "/var/lib/galleon-scheduler"]
    # The unit's sandbox lets it write what the comment names.
    assert setting("ReadWritePaths") == "/srv/galleon" and "DATA=/srv/galleon/scheduler" in (ROOT / "deploy/systemd/scheduler.conf").read_text()
    with postgres.Service(binaries) as service:
        address = pathlib.Path(service.write("store", service.postgres.url + "\n"))
        address.chmod(0o600)
        conf = {"DATA": service.path("shared"), "OPTIONS": f'"--store @{address} --store-lease 2s"'}
        first, second = Unit(service, "a", **conf), Unit(service, "b", **conf)
        # systemd takes both for started, and shows which stands by.
        assert "serves on" in first.status, first.status
        assert f"stands by; the one at {service.address['a']}" in second.status, second.status
        service.ask("queues")
        service.running["a"].kill()
        service.ended("a")
        second.hears("serves on")
        service.ask("queues")
        # What restarts by itself, and what nobody can mend but who looks at it.
        prevented = setting("RestartPreventExitStatus").split()
        assert setting("Restart") == "on-failure" and "5" not in prevented and "4" not in prevented and "1" not in prevented and prevented == ["2", "3"]
        again = Unit(service, "a", **conf)
        assert "stands by" in again.status
    print("two units on one database: both started, one took over")
    return 0


if __name__ == "__main__":
    if postgres.programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(postgres.SKIP)
    sys.exit(main())
