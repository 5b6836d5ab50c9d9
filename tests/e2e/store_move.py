#!/usr/bin/env python3
"""docs/operate.md's lines, typed as they are: a journal of SQLite goes into a database, and a database that was recovered to an earlier moment goes on.

  store_move.py BIN    exits 77 where PostgreSQL's programs are missing
"""
import json
import os
import pathlib
import re
import subprocess
import sys

from postgres import PATIENCE, SKIP, Postgres, Service, programs, until

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs/operate.md"


def lines_of(title):
    section = GUIDE.read_text(encoding="utf-8").split(f"\n### {title}\n")[1].split("\n#")[0]
    lines = re.search(r"```sh\n(.*?)```", section, re.DOTALL).group(1).splitlines()
    assert len(lines) == 2, lines
    return lines


def main():
    with Service(sys.argv[1]) as service:
        def type_lines(title):
            for line in lines_of(title):
                done = subprocess.run(["bash", "-c", line], cwd=service.folder, env={**os.environ, "PATH": f"{service.bin}:{os.environ['PATH']}"}, capture_output=True, text=True,
                                      timeout=PATIENCE, check=False)
                assert done.returncode == 0, (line, done.stderr)

        def start(name, *store):
            ready = service.path(name + ".json")
            if os.path.exists(ready):
                os.remove(ready)
            service.start(name, f"{service.bin}/galleon-scheduler", "--data", service.path("data"), "--listen", service.address.get(name, "127.0.0.1:0"), "--metrics", "127.0.0.1:0",
                          "--lease", "20s", "--ready-file", ready, *store)
            service.address[name] = json.loads(until(lambda: os.path.exists(ready) and pathlib.Path(ready).read_text(encoding="utf-8"), name))["listen"]

        def end(name):
            service.running[name].terminate()
            assert service.ended(name) == 0

        def jobs():
            return {job["job_id"]: job for job in service.ask("list")}

        os.mkdir(service.path("inputs"))
        service.write("inputs/text.txt", "the sea was calm and the ship went on. " * 2000)
        job = service.write("job.yaml", "name: voyage\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\ndata: {train: [inputs/text.txt], sequence_length: 32}\n"
                                        "training: {steps: 1000000, global_batch: 2, micro_batch: 2}\ncheckpoint: {every: 20}\n")

        def put_address(url):
            pathlib.Path(service.write("store", url + "\n")).chmod(0o600)

        put_address(service.postgres.url)
        start("a")
        service.start("worker", f"{service.bin}/galleon-worker", "--server", service.address["a"], "--name", "w", "--data", service.path("worker"), "--slots", "1",
                      "--allow", service.path("inputs"), "--metrics", "127.0.0.1:0", "--stop-grace", "60")
        running = service.ask("submit", job)["job_id"]
        others = [service.ask("submit", job)["job_id"] for _ in range(2)]
        until(lambda: jobs()[running].get("checkpoint"), "a checkpoint")
        end("a")
        type_lines("From SQLite to PostgreSQL")
        assert not os.path.exists(service.path("data/scheduler.db"))
        start("a", "--store", "@" + service.path("store"))
        assert set(jobs()) == {running, *others}
        # What ran counts as lost, and goes on from its checkpoint: its epoch is none of those from before.
        moved = until(lambda: (found := jobs()[running])["state"] == "RUNNING" and int(found.get("progress", {}).get("step", 0)) > 20 and found, "the job that goes on")
        # The copy of now is the database of after a recovery; what came behind it is lost.
        past = Postgres(service.path("past"), standby_of=service.postgres)
        try:
            past.promote()
            late = service.ask("submit", job)["job_id"]
            until(lambda: int(jobs()[running]["checkpoint"]["step"]) > int(moved["checkpoint"]["step"]), "a later checkpoint")
            end("a")
            put_address(past.url)
            # The copy may have a lease of a moment ago.
            until(lambda: past.sql("SELECT lease_until < clock_timestamp() FROM galleon.writer") == "t", "the end of the lease")
            type_lines("Backup and recovery of the database")
            start("a", "--store", "@" + service.path("store"))
            assert set(jobs()) == {running, *others} and late not in jobs()
            until(lambda: jobs()[running]["state"] == "RUNNING" and int(jobs()[running].get("checkpoint", {}).get("step", 0)) > int(moved["checkpoint"]["step"]), "a job that goes on after the recovery")
            print("a job ran on through a move and a recovery, from checkpoints")
        finally:
            # Workers take their leave while there is a scheduler.
            service.running["worker"].terminate()
            service.ended("worker")
            if "a" in service.running:
                end("a")
            past.stop()
    return 0


if __name__ == "__main__":
    if programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(SKIP)
    sys.exit(main())
