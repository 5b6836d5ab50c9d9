#!/usr/bin/env python3
"""pgbouncer between the schedulers and PostgreSQL: by sessions it is noticed by nobody, by transactions it is refused by name.

  pooler.py BIN    exits 77 where PostgreSQL's programs or pgbouncer are missing
"""
import os
import shutil
import signal
import subprocess
import sys

from postgres import PATIENCE, SKIP, Service, programs, until

PGBOUNCER = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")


def pooler(service, mode):
    """Starts one, and says where it is."""
    folder = service.path(mode)
    os.mkdir(folder)
    if service.postgres.user:
        os.chown(folder, service.postgres.user["user"], service.postgres.user["group"])
    service.write(f"{mode}.ini", f"[databases]\n* = host={service.postgres.folder}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\nlisten_port = 5432\n"
                                 f"auth_type = trust\nauth_file = {service.path('users.txt')}\npool_mode = {mode}\nmax_client_conn = 50\ndefault_pool_size = 20\n")
    service.write("users.txt", '"galleon" ""\n')
    with open(service.path(mode + ".log"), "a", encoding="utf-8") as log:
        process = subprocess.Popen([PGBOUNCER, service.path(f"{mode}.ini")], stdout=log, stderr=log, cwd="/", **service.postgres.user)
    until(lambda: os.path.exists(f"{folder}/.s.PGSQL.5432") or process.poll() is not None, "pgbouncer")
    return process, f"postgresql://galleon@/postgres?host={folder}"


def main():
    with Service(sys.argv[1]) as service:
        poolers = []
        try:
            process, store = pooler(service, "transaction")
            poolers.append(process)
            done = subprocess.run([f"{service.bin}/galleon-scheduler", "--data", service.path("other"), "--store", store, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"],
                                  capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert done.returncode != 0 and "pool by sessions (pgbouncer: pool_mode = session)" in done.stderr, (done.returncode, done.stderr)
            print(done.stderr.strip().splitlines()[-1])
            process, store = pooler(service, "session")
            poolers.append(process)
            service.scheduler("a", "--store-lease", "1s", store=store)
            service.scheduler("b", "--store-lease", "1s", store=store)
            service.write("text.txt", "the sea was calm and the ship went on. " * 200)
            job = service.write("job.yaml", "name: voyage\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\ndata: {train: [text.txt], sequence_length: 32}\n"
                                            "training: {steps: 1, global_batch: 2, micro_batch: 2}\n")
            jobs = [service.ask("submit", job)["job_id"]]
            service.running["a"].send_signal(signal.SIGKILL)
            service.ended("a")
            jobs.append(service.ask("submit", job)["job_id"])
            # The pooler ends, or hangs and keeps its connections, and another is there in its place.
            for how in (signal.SIGKILL, signal.SIGSTOP):
                poolers[-1].send_signal(how)
                shutil.rmtree(service.path("session"))
                poolers.append(pooler(service, "session")[0])
                jobs.append(service.ask("submit", job)["job_id"])
            assert sorted(one["job_id"] for one in service.ask("list")) == sorted(jobs), jobs
            assert service.running["b"].poll() is None
            service.running["b"].terminate()
            assert service.ended("b") == 0
            del service.address["a"], service.address["b"]
            print("by sessions: a takeover, and another pooler in the place of the first; four acknowledged jobs are there")
        finally:
            for process in poolers:
                process.kill()
                process.wait(PATIENCE)
    return 0


if __name__ == "__main__":
    if programs() is None or PGBOUNCER is None:
        print("PostgreSQL's initdb or pgbouncer is not here")
        sys.exit(SKIP)
    sys.exit(main())
