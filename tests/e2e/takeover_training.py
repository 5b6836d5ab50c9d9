#!/usr/bin/env python3
"""A job trains while the schedulers on one PostgreSQL, and the database, are disturbed: it notices nothing.

  takeover_training.py BIN    exits 77 where PostgreSQL's programs are missing

The scheduler that writes is killed; the next is stopped for longer than its lease and woken; the database ends as after a crash and
starts again; its connections are cut, again and again. After each the job has made steps that the scheduler knows of, in its first
attempt. Somebody submits all the while: what was acknowledged is there, once. In the end the losses of every step are those of an
undisturbed run beside it, and no scheduler has written anything after the term of another began.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

from postgres import PATIENCE, SKIP, Service, programs, until

# Longer than any test waits: it is cancelled when all is over, so that it spans the faults on slow machines and fast ones.
JOB = """name: NAME
task: pretrain
model: {source: 'preset:tiny'}
tokenizer: bytes
data: {train: [text.txt], sequence_length: 32}
optimizer: {learning_rate: 0.01, galore: {rank: 8, refresh_interval: 20}}
training: {steps: STEPS, global_batch: 2, micro_batch: 2, log_every: 1}
checkpoint: {every: 50, keep: 1}
"""


def losses(path):
    found = {}
    for line in open(path, encoding="utf-8"):
        if not line.endswith("\n"):
            break  # is being written
        said = json.loads(line)
        if "loss" in said:
            assert said["step"] not in found, f"step {said['step']} is there twice"
            found[said["step"]] = said["loss"]
    return found


class Submitter:
    """Hands over one small job after another, and remembers those that were acknowledged."""

    def __init__(self, service, job):
        self.service, self.job, self.acknowledged, self.refused, self.ending = service, job, [], 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        code = 0
        # What is refused may have been taken: it is asked for again, under its id, until it is acknowledged.
        while not self.ending or code != 0:
            code, out, _ = self.service.galleon("submit", self.job, "-o", "json", "--request-id", f"n{len(self.acknowledged)}")
            if code == 0:
                self.acknowledged.append(json.loads(out)["job_id"])
            else:
                self.refused += 1

    def one_more(self):
        known = len(self.acknowledged)
        until(lambda: len(self.acknowledged) > known, "an acknowledged submit")

    def end(self):
        self.ending = True
        self.thread.join(PATIENCE)


def main():
    with Service(sys.argv[1]) as service:
        quick = ("--store-lease", "1s")
        service.scheduler("a", *quick)
        service.scheduler("b", *quick)
        inputs = service.path("inputs")
        os.mkdir(inputs)
        service.write("inputs/text.txt", "".join("the sea was calm, " if i % 7 == 3 else "and the ship went on; " for i in range(2500)))
        long = service.write("inputs/long.yaml", JOB.replace("NAME", "long").replace("STEPS", "1000000"))
        short = service.write("inputs/short.yaml", JOB.replace("NAME", "short").replace("STEPS", "3"))
        service.start("worker", f"{service.bin}/galleon-worker", "--server", service.servers(), "--name", "north", "--data", service.path("north"), "--slots", "2", "--allow", inputs,
                      "--metrics", "127.0.0.1:0", "--threads", "1")
        job = service.ask("submit", long)["job_id"]
        undisturbed = service.path("undisturbed")
        service.start("undisturbed", f"{service.bin}/galleon", "train", long, "--output", undisturbed, "--threads", "1")

        def record():
            return json.loads(service.galleon("get", job, "-o", "json")[1] or "{}")

        def goes_on(after):
            """The scheduler knows of ten more steps than it did."""
            def further():
                known = record()
                return int(known.get("progress", {}).get("step", 0)) > after + 10 and known
            known = until(further, f"a step after {after}")
            assert known["state"] == "RUNNING" and known["attempts"] == 1, known
            return int(known["progress"]["step"])

        step = goes_on(0)
        submitter = Submitter(service, short)
        submitter.one_more()

        service.running["a"].kill()
        service.ended("a")
        step = goes_on(step)
        submitter.one_more()
        print("killed: the job went on")

        service.scheduler("a", *quick)
        service.running["b"].send_signal(signal.SIGSTOP)
        # What reaches it while it is stopped is decided when it wakes, if it decides anything.
        late = subprocess.Popen([f"{service.bin}/galleon", "submit", long, "--server", service.address["b"], "--request-id", "late"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        until(lambda: service.serves("a", 2), "a takeover")
        submitter.one_more()
        service.running["b"].send_signal(signal.SIGCONT)
        code = service.ended("b")
        assert code == 5 and "another scheduler writes now" in service.log("b"), (code, service.log("b")[-500:])
        out, _ = late.communicate(timeout=PATIENCE)
        assert late.returncode != 0, out
        step = goes_on(step)
        print("stopped for longer than its lease and woken: it ended with code 5")

        service.scheduler("b", *quick)
        service.postgres.stop(signal.SIGQUIT)
        service.postgres.start()
        step = goes_on(step)
        submitter.one_more()
        print("the database ended as after a crash and started again: the job went on")

        for _ in range(5):
            service.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'galleon-scheduler'")
            submitter.one_more()
        step = goes_on(step)
        print("every connection cut five times: the job went on")

        submitter.end()
        assert service.galleon("cancel", job, "--yes")[0] == 0
        ended = until(lambda: record().get("state") == "CANCELLED" and record(), "the end of the job")
        assert ended["attempts"] == 1, ended
        there = losses(os.path.join(ended["folder"], "metrics.jsonl"))
        assert len(there) > step and sorted(there) == list(range(1, len(there) + 1)), "steps are missing"
        until(lambda: len(losses(undisturbed + "/metrics.jsonl")) >= len(there), "the undisturbed run")
        right = losses(undisturbed + "/metrics.jsonl")
        different = [n for n in there if there[n] != right[n]]
        assert not different, f"other losses than undisturbed from step {different[0]} on"
        names = [one["job_id"] for one in service.ask("list")]
        assert len(set(submitter.acknowledged)) == len(submitter.acknowledged), submitter.acknowledged
        assert sorted(names) == sorted([job, *submitter.acknowledged]), (names, submitter.acknowledged)
        went_back = service.postgres.sql("SELECT count(*) FROM (SELECT term, lag(term) OVER (ORDER BY sequence) AS before FROM galleon.event) e WHERE term < before")
        assert went_back == "0", f"{went_back} events were written under an older term than what stands before them"
        print(f"{len(there)} steps in one attempt with the losses of an undisturbed run; {len(submitter.acknowledged)} submits acknowledged and there, {submitter.refused} refused")
    return 0


if __name__ == "__main__":
    if programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(SKIP)
    began = time.monotonic()
    done = main()
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(done)
