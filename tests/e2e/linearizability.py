#!/usr/bin/env python3
"""Callers submit, cancel and read jobs at two schedulers on one PostgreSQL while these are killed, stopped and asked to end: each job's
history can have happened one call after the other (histories.py).

  linearizability.py BIN [--broken SCHEDULER]    exits 77 where PostgreSQL's programs are missing

With --broken another program is the first scheduler, and a history that cannot have happened is what is expected.
"""
import argparse
import json
import random
import signal
import sys
import threading
import time

from histories import ABSENT, Call, linearizable
from postgres import PATIENCE, SKIP, Service, programs, until

JOB = "name: NAME\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\ndata: {train: [text.txt], sequence_length: 32}\ntraining: {steps: 1, global_batch: 2, micro_batch: 2}\n"


class Callers:
    """Whose calls each ask one of the two first, and are all remembered."""

    def __init__(self, service, jobs):
        self.service, self.ids, self.calls, self.ending, self.answered = service, {}, {}, False, 0
        self.files = {f"j{n}": service.write(f"j{n}.yaml", JOB.replace("NAME", f"j{n}")) for n in range(jobs)}
        self.lock = threading.Lock()
        self.threads = []

    def start(self, count):
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        dice = random.Random(number)
        while not self.ending:
            key = dice.choice([key for key in self.files if key != "j0"])
            kind = dice.choice(["submit", "read", "read", "read", "cancel"] if key in self.ids else ["submit", "read"])
            if kind == "cancel" and dice.random() < 0.7:
                kind = "read"
            self.call(kind, key, dice.choice("ab"))

    def call(self, kind, key, name):
        command = {"submit": lambda: ["submit", self.files[key], "--request-id", key], "cancel": lambda: ["cancel", self.ids[key], "--yes"],
                   "read": lambda: ["list", "--prefix", key + "-"]}[kind]()
        # Callers know both: one that meets a standby goes on to the other by itself, as it would wait for a takeover where it knew that one alone.
        servers = ",".join(self.service.address[n] for n in sorted(self.service.address, key=lambda n: n != name))
        made = time.monotonic()
        code, out, _ = self.service.galleon(*command, "-o", "json", servers=servers)
        answered = time.monotonic()
        if code != 0:
            call = Call(kind, made)
        elif kind == "submit":
            call = Call(kind, made, answered, json.loads(out)["job_id"])
        elif kind == "cancel":
            call = Call(kind, made, answered)
        else:
            jobs = json.loads(out)
            call = Call(kind, made, answered, ABSENT if not jobs else ",".join(job["state"] for job in jobs))
        with self.lock:
            self.calls.setdefault(key, []).append(call)
            if code == 0:
                self.answered += 1
            if code == 0 and kind == "submit":
                self.ids[key] = call.seen
        return code == 0

    def surely(self, kind, key, name):
        until(lambda: self.call(kind, key, name), f"{kind} at {name}")

    def some_more(self, count=15):
        known = self.answered
        until(lambda: self.answered > known + count, "answered calls")

    def end(self):
        self.ending = True
        for thread in self.threads:
            thread.join(PATIENCE)


def main(options):
    with Service(options.binaries) as service:
        quick = ("--store-lease", "1s")
        service.write("text.txt", "the sea was calm and the ship went on. " * 200)
        service.scheduler("a", *quick, program=options.broken)
        service.scheduler("b", *quick)
        callers = Callers(service, 9)
        callers.surely("submit", "j0", "a")
        if not options.broken:
            callers.start(3)
            callers.some_more()
        # Stopped for longer than its lease. What it is asked then it answers when it wakes, if at all: after all that the other has done.
        service.running["a"].send_signal(signal.SIGSTOP)
        callers.surely("cancel", "j0", "b")
        late = threading.Thread(target=callers.call, args=("read", "j0", "a"), daemon=True)
        late.start()
        time.sleep(0.3)  # it may be asked after it wakes too: the answer has to be right all the same
        service.running["a"].send_signal(signal.SIGCONT)
        late.join(PATIENCE)
        if not options.broken:
            assert service.ended("a") == 5
            callers.some_more()
            service.scheduler("a", *quick)
            service.running["b"].kill()
            service.ended("b")
            callers.some_more()
            service.scheduler("b", *quick)
            service.running["a"].send_signal(signal.SIGTERM)
            assert service.ended("a") == 0
            callers.some_more()
        callers.end()
        names = "b" if service.serves("b") and "a" not in service.running else "ab"
        for key in sorted(callers.calls):
            until(lambda: any(callers.call("read", key, name) for name in reversed(names)), f"a last read of {key}")
        wrong = [key for key, calls in sorted(callers.calls.items()) if not linearizable(calls)]
        count = sum(len(calls) for calls in callers.calls.values())
        print(f"{count} calls for {len(callers.calls)} jobs, {callers.answered} of them answered; no order for {wrong or 'none'}")
        if options.broken:
            print("noticed" if wrong else "NOT NOTICED")
            return 0 if wrong else 1
        for key in wrong:
            print(key, *sorted(callers.calls[key], key=lambda c: c.made), sep="\n  ")
        return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries")
    parser.add_argument("--broken", help="a scheduler that was broken on purpose")
    if programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(SKIP)
    sys.exit(main(parser.parse_args()))
