#!/usr/bin/env python3
"""The database fails over to its synchronous standby under a scheduler that names both.

  failover.py BIN    exits 77 where PostgreSQL's programs are missing

A scheduler that names the standby alone is refused by name. The primary ends as after a crash, the standby is promoted: the scheduler
goes on in its process, and what was acknowledged is there.
"""
import signal
import subprocess
import sys

from postgres import PATIENCE, SKIP, Postgres, Service, programs, until


def main():
    with Service(sys.argv[1]) as service:
        first = service.postgres
        second = Postgres(service.path("second"), standby_of=first)
        try:
            first.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            first.sql("SELECT pg_reload_conf()")
            until(lambda: first.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1", "the synchronous standby")
            alone = subprocess.run([f"{service.bin}/galleon-scheduler", "--data", service.path("data"), "--store", second.url, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"],
                                   capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert alone.returncode == 1 and "is a standby, which only reads" in alone.stderr, (alone.returncode, alone.stderr)
            service.scheduler("a", store=f"postgresql://galleon@/postgres?host={first.folder},{second.folder}&target_session_attrs=read-write")
            service.write("text.txt", "the sea was calm and the ship went on. " * 500)
            job = service.write("job.yaml", "name: voyage\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\ndata: {train: [text.txt], sequence_length: 32}\n"
                                            "training: {steps: 20, global_batch: 2, micro_batch: 2}\n")
            jobs = [service.ask("submit", job)["job_id"] for _ in range(3)]
            first.stop(signal.SIGQUIT)
            second.promote()
            jobs.append(service.ask("submit", job)["job_id"])
            assert sorted(one["job_id"] for one in service.ask("list")) == sorted(jobs), jobs
            assert service.running["a"].poll() is None, service.log("a")[-500:]
            print("the database failed over: the scheduler went on, and four acknowledged jobs are there")
        finally:
            second.stop()
    return 0


if __name__ == "__main__":
    if programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(SKIP)
    sys.exit(main())
