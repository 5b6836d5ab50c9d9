#!/usr/bin/env python3
"""Two schedulers on one PostgreSQL: the one that serves is killed, stopped for longer than its lease, and asked to end.

  takeover.py BIN    exits 77 where PostgreSQL's programs are missing
"""
import glob
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN = sys.argv[1]
PATIENCE = 120
programs = sorted(os.path.dirname(p) for p in glob.glob("/usr/lib/postgresql/*/bin/initdb"))
if not programs:
    print("PostgreSQL's initdb is not here")
    sys.exit(77)
PG = programs[-1]
folder = tempfile.mkdtemp(prefix="galleon-t-", dir="/tmp")
os.chmod(folder, 0o755)
database = os.path.join(folder, "pg")
os.mkdir(database)
user = {}
if os.geteuid() == 0:
    who = pwd.getpwnam("nobody")
    os.chown(database, who.pw_uid, who.pw_gid)
    user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
running = {}


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come")
        time.sleep(0.02)
    return found


def start(name, *command, **more):
    with open(os.path.join(folder, name + ".log"), "a", encoding="utf-8") as log:
        running[name] = subprocess.Popen(command, stdout=log, stderr=log, **more)


def galleon(*arguments):
    done = subprocess.run([f"{BIN}/galleon", *arguments, "--server", SERVERS], capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr


def scheduler(name):
    ready = os.path.join(folder, name + ".json")
    if os.path.exists(ready):
        os.remove(ready)
    start(name, f"{BIN}/galleon-scheduler", "--data", f"{folder}/data", "--store", URL, "--listen", ADDRESS.get(name, "127.0.0.1:0"), "--metrics", "127.0.0.1:0", "--ready-file", ready)
    ADDRESS[name] = json.loads(until(lambda: os.path.exists(ready) and open(ready, encoding="utf-8").read(), name))["listen"]


def submit():
    code, out, error = galleon("submit", os.path.join(folder, "job.yaml"), "-o", "json")
    assert code == 0, error
    return json.loads(out)["job_id"]


def serves(name):
    return "serves on" in open(os.path.join(folder, name + ".log"), encoding="utf-8").read()


URL = f"postgresql://galleon@/postgres?host={database}"
ADDRESS = {}
try:
    subprocess.run([f"{PG}/initdb", "-D", f"{database}/data", "-U", "galleon", "-A", "trust", "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd="/", **user)
    start("postgres", f"{PG}/postgres", "-D", f"{database}/data", "-c", "listen_addresses=", "-c", f"unix_socket_directories={database}", cwd="/", **user)
    until(lambda: subprocess.run([f"{PG}/pg_isready", "-q", "-h", database], check=False).returncode == 0, "PostgreSQL")
    scheduler("a")
    scheduler("b")
    SERVERS = ADDRESS["b"] + "," + ADDRESS["a"]
    assert serves("a") and not serves("b")
    with open(os.path.join(folder, "text.txt"), "w", encoding="utf-8") as text:
        text.write("the sea was calm and the ship went on. " * 2000)
    with open(os.path.join(folder, "job.yaml"), "w", encoding="utf-8") as file:
        file.write("name: voyage\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\ndata: {train: [text.txt], sequence_length: 32}\n"
                   "training: {steps: 20, global_batch: 2, micro_batch: 2}\n")
    # The one that stands by says who serves.
    alone = subprocess.run([f"{BIN}/galleon", "list", "--server", ADDRESS["b"]], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert alone.returncode != 0 and f"the one at {ADDRESS['a']}" in alone.stderr, alone.stderr
    jobs = [submit()]
    # Killed.
    running["a"].kill()
    running.pop("a").wait()
    killed = time.monotonic()
    jobs.append(submit())
    print(f"from kill to the next submit: {time.monotonic() - killed:.2f} s")
    # Stopped for longer than its lease: it ends when it wakes.
    scheduler("a")
    running["b"].send_signal(signal.SIGSTOP)
    until(lambda: open(os.path.join(folder, "a.log"), encoding="utf-8").read().count("serves on") == 2, "a takeover")
    running["b"].send_signal(signal.SIGCONT)
    code = running.pop("b").wait(PATIENCE)
    assert code == 5, code
    jobs.append(submit())
    # Asked to end.
    scheduler("b")
    running["a"].send_signal(signal.SIGTERM)
    asked = time.monotonic()
    jobs.append(submit())
    print(f"from SIGTERM to the next submit: {time.monotonic() - asked:.2f} s")
    assert running.pop("a").wait(PATIENCE) == 0
    code, out, error = galleon("list", "-o", "json")
    assert code == 0, error
    assert all(job in out for job in jobs) and len(set(jobs)) == 4, out
    print("four jobs were acknowledged by three terms, and all are there")
except BaseException:
    for path in sorted(glob.glob(folder + "/*.log")):
        print("---", path, open(path, encoding="utf-8").read()[-1500:], sep="\n")
    raise
finally:
    for name, process in sorted(running.items(), key=lambda item: item[0] == "postgres"):
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    shutil.rmtree(folder)
