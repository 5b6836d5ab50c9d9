#!/usr/bin/env python3
"""The disk under the database's tables is full for a while: what is said, that nothing acknowledged is lost, and that it goes on.

  full_database.py BIN    exits 77 where PostgreSQL's programs are missing, or no file system may be mounted

The tables are on a file system of a few megabytes in a mount namespace of this test's own, the database's log of changes is not.
"""
import json
import os
import subprocess
import sys
import threading

from postgres import SKIP, Service, programs, until


def main():
    with Service(sys.argv[1]) as service:
        small = service.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "small", small], check=True)
        os.mkdir(small + "/tables")
        os.chown(small + "/tables", service.postgres.user.get("user", os.geteuid()), service.postgres.user.get("group", os.getegid()))
        ballast = small + "/ballast"
        try:
            service.postgres.sql(f"CREATE TABLESPACE small LOCATION '{small}/tables'")
            service.postgres.sql("CREATE DATABASE tight TABLESPACE small")
            store = f"postgresql://galleon@/tight?host={service.postgres.folder}"
            service.scheduler("a", store=store)
            service.write("text.txt", "the sea was calm and the ship went on. " * 200)
            job = service.write("job.yaml", "name: voyage\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\ndata: {train: [text.txt], sequence_length: 32}\n"
                                            "training: {steps: 1, global_batch: 2, micro_batch: 2}\n")
            jobs = [service.ask("submit", job)["job_id"]]
            service.postgres.sql("CHECKPOINT")
            with open(ballast, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass
            asked = threading.Event()
            refused = []

            def submit():
                while not asked.is_set():
                    code, out, error = service.galleon("submit", job, "--request-id", f"r{len(jobs)}", "-o", "json")
                    if code == 0:
                        jobs.append(out)
                    else:
                        refused.append(error)

            caller = threading.Thread(target=submit, daemon=True)
            caller.start()
            told = until(lambda: [line for line in service.log("a").splitlines() if "(53100)" in line], "what is said of a full disk")
            assert "the database's disk is full" in told[0] and "nothing is decided until it is back" in told[0], told[0]
            print(told[0])
            known = len(jobs)
            os.remove(ballast)
            until(lambda: "the database is back" in service.log("a"), "the database")
            until(lambda: len(jobs) > known, "an acknowledged submit")
            asked.set()
            caller.join()
            assert service.running["a"].poll() is None
            names = {one["job_id"] for one in service.ask("list")}
            acknowledged = {jobs[0]} | {json.loads(out)["job_id"] for out in jobs[1:]}
            assert len(acknowledged) == len(jobs) and acknowledged <= names and len(names) - len(acknowledged) <= 1, (acknowledged, names)
            print(f"{len(jobs)} acknowledged submits are there, {len(refused)} were refused in between")
        finally:
            for name in list(service.address):
                service.running[name].terminate()
                service.ended(name)
                del service.address[name]
            service.postgres.stop()
            service.postgres.stop = lambda: None
            subprocess.run(["umount", small], check=True)
    return 0


if __name__ == "__main__":
    if programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(SKIP)
    if "GALLEON_OWN_MOUNTS" in os.environ:
        sys.exit(main())
    if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "small", "/mnt"], check=False, capture_output=True).returncode != 0 or os.geteuid() != 0:
        print("no file system may be mounted here")
        sys.exit(SKIP)
    os.execvpe("unshare", ["unshare", "--mount", sys.executable, *sys.argv], {**os.environ, "GALLEON_OWN_MOUNTS": "1"})
