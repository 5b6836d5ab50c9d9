#!/usr/bin/env python3
"""The scheduler's two stores in one run on one machine: SQLite, and PostgreSQL over a Unix socket, with everything on the same cores.

    stores.py BIN [--json FILE] [--seconds N] [--jobs N] [--takeovers N]

Durable submits a second, turn by turn; the recovery of --jobs jobs; and with a database that holds a thousand jobs that have ended, and one that holds so many, from the end of the
scheduler that writes, by SIGKILL and by SIGTERM, to the first submit that another acknowledges. Exits 77 where PostgreSQL's programs
are missing.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from scheduler import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "e2e"))
from postgres import SKIP, Service, programs, until  # noqa: E402

JOB = "name: bench\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\ndata: {train: [text.txt], sequence_length: 32}\ntraining: {steps: 1, global_batch: 2, micro_batch: 2}\n"


class Bench:
    def __init__(self, service, options):
        self.service, self.options, self.databases = service, options, 0
        os.mkdir(service.path("bench"))

    def database(self):
        self.databases += 1
        self.service.postgres.sql(f"CREATE DATABASE bench_{self.databases}")
        return f"postgresql://galleon@/bench_{self.databases}?host={self.service.postgres.folder}"

    def figure(self, only, store, jobs):
        """What bench_scheduler says of one load; empty store: SQLite."""
        out = self.service.path("figures.json")
        command = [f"{self.service.bin}/bench_scheduler", "--only", only, "--json", out, "--seconds", str(self.options.seconds), "--jobs", str(jobs)]
        subprocess.run(command + (["--store", store] if store else []), check=True, cwd=self.service.path("bench"), stdout=subprocess.DEVNULL)
        return json.loads(Path(out).read_text(encoding="utf-8"))["submits_mtls" if only == "submits" else only][-1]

    def takeover(self, how, number):
        """Seconds from the signal to the first submit that the other scheduler acknowledges, of a job that is its own."""
        writer = next(name for name in sorted(self.service.running) if self.service.serves(name, self.served.get(name, 0) + 1))
        other = "b" if writer == "a" else "a"
        job = self.service.path("job.yaml")
        begin = time.monotonic()
        self.service.running[writer].send_signal(how)
        while self.service.galleon("submit", job, "--request-id", f"{how.name}-{number}", servers=self.service.address[other])[0] != 0:
            pass
        took = time.monotonic() - begin
        self.served[writer] = self.served.get(writer, 0) + 1
        self.service.ended(writer)
        self.service.scheduler(writer, store=self.store, data=self.data)
        self.stands_by(writer)
        return took

    def stands_by(self, name):
        until(lambda: self.service.http(name, "/readyz")[0] == 200, f"{name}, which has read along")

    def takeovers(self, jobs):
        """Of a database that holds so many jobs: two schedulers take turns."""
        self.store, self.served = self.database(), {}
        filled, file, data = (self.service.path(f"{name}-{jobs}") for name in ("filled", "file", "data"))
        program = f"{self.service.bin}/galleon-scheduler"
        for command in ([f"{self.service.bin}/bench_scheduler", "--fill", filled, "--jobs", str(jobs)], [program, "--data", filled, "--export", file],
                        [program, "--data", data, "--store", self.store, "--import", file]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.service.write("text.txt", "the sea was calm and the ship went on. " * 200)
        self.service.write("job.yaml", JOB)
        self.data = data
        for name in "ab":
            self.service.scheduler(name, store=self.store, data=data)
        until(lambda: self.service.serves("a") or self.service.serves("b"), "a scheduler that serves")
        for name in "ab":
            self.stands_by(name)
        found = {}
        for key, how in (("killed", signal.SIGKILL), ("asked", signal.SIGTERM)):
            times = sorted(self.takeover(how, n) for n in range(self.options.takeovers))
            found[key] = {"jobs": jobs, "takeovers": len(times), "median_seconds": statistics.median(times), "worst_seconds": times[-1]}
        for name in "ab":
            self.service.running[name].send_signal(signal.SIGTERM)
            self.service.ended(name)
            del self.service.address[name]
            os.remove(self.service.path(name + ".log"))
        return found


def main(options):
    run = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "submits_mtls": [], "recovery": []}
    with Service(options.binaries) as service:
        run["postgresql"] = service.postgres.sql("SHOW server_version").split()[0]
        bench = Bench(service, options)

        def note(figure, name, found):
            found = {"store": name, **found}
            run[figure].append(found)
            print(f"{figure}: {json.dumps(found)}", flush=True)
        for _ in range(options.rounds):
            for name in ("sqlite", "postgresql"):
                note("submits_mtls", name, bench.figure("submits", bench.database() if name == "postgresql" else "", 0))
        for name in ("sqlite", "postgresql"):
            note("recovery", name, bench.figure("recovery", bench.database() if name == "postgresql" else "", options.jobs))
        run["takeover"] = []
        for jobs in sorted({min(1000, options.jobs), options.jobs}):
            run["takeover"].append(bench.takeovers(jobs))
            print("takeover:", json.dumps(run["takeover"][-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of the stores' turns")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--takeovers", type=int, default=5, help="of each kind")
    if programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(SKIP)
    main(parser.parse_args())
