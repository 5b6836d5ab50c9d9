#!/usr/bin/env python3
"""Faults of a database, as an operator meets them: each ends a scheduler with its code and a sentence that says what to do, and what it says helps.

  store_faults.py BIN    exits 77 where PostgreSQL's programs are missing
"""
import os
import subprocess
import sys

from postgres import PATIENCE, SKIP, Postgres, Service, programs, until

CANNOT_START, JOURNAL = 1, 3


class Faults:
    def __init__(self, service):
        self.service = service
        text = service.write("text.txt", "the sea was calm and the ship went on. " * 500)
        self.job = service.write("job.yaml", f"name: voyage\ntask: pretrain\nmodel: {{source: 'preset:tiny'}}\ntokenizer: bytes\ndata: {{train: [{text}], sequence_length: 32}}\n"
                                             "training: {steps: 20, global_batch: 2, micro_batch: 2}\n")

    def run(self, *options, store=None, data="data"):
        """A scheduler that ends by itself: its code and what it says."""
        done = subprocess.run([f"{self.service.bin}/galleon-scheduler", "--data", self.service.path(data), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
                               *(["--store", store or self.service.postgres.url] if store != "" else []), *options], capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stderr

    def refused(self, code, *sentences, **how):
        got, said = self.run(**how)
        assert got == code and all(each in said for each in sentences), (got, said)
        print("refused:", said.split(": ", 1)[1].strip().replace(self.service.folder, "…"))

    def submit(self):
        return self.service.ask("submit", self.job)["job_id"]

    def listed(self):
        return sorted(job["job_id"] for job in self.service.ask("list"))

    def end(self, name):
        self.service.running[name].terminate()
        code = self.service.ended(name)
        assert code == 0, self.service.log(name)

    def of_others(self, jobs):
        """Another cluster's, a newer version's, an emptied one."""
        sql = self.service.postgres.sql
        # As of two clusters that name one database: the first goes on.
        self.refused(JOURNAL, "is of cluster", "there is no", "give the --data that its other schedulers share", data="elsewhere")
        assert self.listed() == jobs
        sql("CREATE DATABASE other")
        url = self.service.postgres.url.replace("/postgres?", "/other?")
        self.refused(JOURNAL, "holds no journal", "says that there was one, of cluster", "it is another database, or was emptied", store=url)
        self.end("a")
        sql("UPDATE galleon.store SET schema_version = 99")
        self.refused(JOURNAL, "was written by a newer Galleon (schema 99, this one reads up to", "was left as it is; start that version")
        sql("UPDATE galleon.store SET schema_version = 1")

    def of_settings(self):
        """What would lose something, or lets nobody write."""
        for setting, other, sentence in (("default_transaction_isolation", "serializable", "has default_transaction_isolation = serializable"),
                                         ("default_transaction_read_only", "on", "has default_transaction_read_only = on"),
                                         ("synchronous_commit", "off", "has synchronous_commit = off")):
            self.service.postgres.sql(f"ALTER ROLE galleon SET {setting} = '{other}'")
            self.refused(JOURNAL, sentence, "ALTER DATABASE … SET")
            self.service.postgres.sql(f"BEGIN READ WRITE; ALTER ROLE galleon RESET {setting}; COMMIT")
        self.refused(CANNOT_START, "there is no such database", "createdb makes one", store=self.service.postgres.url.replace("/postgres?", "/nowhere?"))
        self.refused(CANNOT_START, "the database lets nobody in", 'role "stranger"', store=self.service.postgres.url.replace("galleon@", "stranger@"))
        self.refused(CANNOT_START, "the database cannot be reached", store="postgresql://galleon@/postgres?host=/nowhere")

    def of_clocks(self, jobs):
        """A clock that jumps ahead ends a lease too early, one that is put back leaves one that seems to last."""
        service, sql = self.service, self.service.postgres.sql
        service.scheduler("a")
        service.scheduler("b")
        assert service.serves("a", 2) and not service.serves("b")
        sql("UPDATE galleon.writer SET lease_until = clock_timestamp() - interval '1 hour'")
        # Who serves renews it, or the other takes the term: one of both serves, and the other knows.
        until(lambda: sum(service.http(name, "/leaderz")[0] == 200 for name in service.running) == 1 or [n for n in service.running if service.running[n].poll() is not None], "one that serves")
        until(lambda: self.submit_or_none() is not None, "a job")
        lost = [name for name in service.running if service.running[name].poll() is not None]
        for name in lost:
            assert service.ended(name) == 5 and "is over: another scheduler writes now" in service.log(name), service.log(name)
            service.scheduler(name)
        leader = next(name for name in service.running if service.http(name, "/leaderz")[0] == 200)
        other = ({"a", "b"} - {leader}).pop()
        service.running[leader].kill()
        service.ended(leader)
        sql("UPDATE galleon.writer SET lease_until = clock_timestamp() + interval '1 day'")
        until(lambda: service.http(other, "/leaderz")[0] == 200, "a takeover from a lease of yesterday's clock")
        assert set(jobs) < set(self.listed())
        self.end(other)

    def submit_or_none(self):
        code, _, _ = self.service.galleon("submit", self.job)
        return True if code == 0 else None

    def of_the_past(self):
        """A recovery to an earlier moment: it is refused, and goes on as docs/operate.md has it, with epochs that nobody has seen."""
        service = self.service
        service.scheduler("a")
        before = self.listed()
        past = Postgres(service.path("past"), standby_of=service.postgres)
        try:
            until(lambda: past.sql("SELECT count(*) FROM galleon.event") == service.postgres.sql("SELECT count(*) FROM galleon.event"), "the copy")
            past.promote()
            after = self.submit()
            self.end("a")
            self.refused(JOURNAL, "had been acknowledged", "put back to an earlier moment", "--export", "--restore", store=past.url)
            code, said = self.run("--export", service.path("past.db"), store=past.url)
            assert code == 0, said
            code, said = self.run("--restore", service.path("past.db"), store=past.url)
            assert code == 0 and "is kept as" in said, said
            service.scheduler("a", store=past.url)
            assert self.listed() == before and after not in before
            self.submit()
            self.end("a")
            # Nor is the one before it taken for this one's.
            self.refused(JOURNAL, "had been acknowledged")
        finally:
            past.stop()


def main():
    with Service(sys.argv[1]) as service:
        faults = Faults(service)
        service.scheduler("a")
        jobs = sorted(faults.submit() for _ in range(3))
        faults.of_others(jobs)
        faults.of_settings()
        faults.of_clocks(jobs)
        faults.of_the_past()
        assert os.path.exists(service.path("data/scheduler.cluster"))
        print("every fault had its sentence, and three acknowledged jobs are there")
    return 0


if __name__ == "__main__":
    if programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(SKIP)
    sys.exit(main())
