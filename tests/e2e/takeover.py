#!/usr/bin/env python3
"""Two schedulers on one PostgreSQL: the one that serves is killed, stopped for longer than its lease, and asked to end.

  takeover.py BIN    exits 77 where PostgreSQL's programs are missing
"""
import itertools
import os
import signal
import socket
import sys
import threading
import time

from postgres import SKIP, Service, programs, until


class Balancer:
    """One address that leads to several schedulers in turn, as a Service or a balancer of connections does."""

    def __init__(self, addresses):
        self.addresses, self.taken = addresses, [0] * len(addresses)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for i in itertools.count():
            near, _ = self.listener.accept()
            target = i % len(self.addresses)
            host, port = self.addresses[target].rsplit(":", 1)
            try:
                far = socket.create_connection((host, int(port)))
            except OSError:
                near.close()
                continue
            self.taken[target] += 1
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(one, other), daemon=True).start()

    @staticmethod
    def copy(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def main():
    with Service(sys.argv[1]) as service:
        service.scheduler("a")
        service.scheduler("b")
        assert service.serves("a") and not service.serves("b")
        os.mkdir(service.path("inputs"))
        service.write("text.txt", "the sea was calm and the ship went on. " * 2000)
        job = service.write("job.yaml", "name: voyage\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\ndata: {train: [text.txt], sequence_length: 32}\n"
                                        "training: {steps: 20, global_batch: 2, micro_batch: 2}\n")

        def submit():
            return service.ask("submit", job)["job_id"]

        # The one that stands by says who serves.
        code, _, error = service.galleon("list", servers=service.address["b"])
        assert code != 0 and f"the one at {service.address['a']}" in error, error
        # An address that leads to both is enough, for workers too.
        balancer = Balancer([service.address["b"], service.address["a"]])
        service.start("worker", f"{service.bin}/galleon-worker", "--server", balancer.address, "--name", "w", "--data", service.path("worker"), "--slots", "1",
                      "--allow", service.path("inputs"), "--metrics", "127.0.0.1:0")
        until(lambda: "ready" in str(service.ask("workers")).lower(), "the worker")
        before = list(balancer.taken)
        for _ in range(2):
            code, _, error = service.galleon("queues", servers=balancer.address)
            assert code == 0, error
        assert all(now > then for now, then in zip(balancer.taken, before)), (before, balancer.taken)
        service.running["worker"].terminate()
        service.ended("worker")
        # It is ready for that, and shows nothing that is the other's.
        assert service.http("a", "/readyz")[0] == service.http("a", "/leaderz")[0] == 200
        until(lambda: service.http("b", "/readyz")[0] == 200, "one that stands by and has read along")
        code, said = service.http("b", "/leaderz")
        assert code == 503 and f"the one at {service.address['a']}" in said, (code, said)
        shown = {name: service.http(name, "/metrics")[1] for name in ("a", "b")}
        assert "\ngalleon_scheduler_serving 1" in shown["a"] and "galleon_slots{" in shown["a"], shown["a"]
        assert "\ngalleon_scheduler_serving 0" in shown["b"] and "galleon_build_info" in shown["b"], shown["b"]
        assert "galleon_slots" not in shown["b"] and "galleon_disk" not in shown["b"] and "galleon_config" not in shown["b"], shown["b"]
        jobs = [submit()]
        # Killed.
        service.running["a"].kill()
        service.ended("a")
        killed = time.monotonic()
        jobs.append(submit())
        assert service.http("b", "/leaderz")[0] == 200 and "\ngalleon_scheduler_serving 1" in service.http("b", "/metrics")[1]
        print(f"from kill to the next submit: {time.monotonic() - killed:.2f} s")
        # Stopped for longer than its lease: it ends when it wakes.
        service.scheduler("a")
        service.running["b"].send_signal(signal.SIGSTOP)
        until(lambda: service.serves("a", 2), "a takeover")
        service.running["b"].send_signal(signal.SIGCONT)
        code = service.ended("b")
        assert code == 5, code
        jobs.append(submit())
        # Asked to end.
        service.scheduler("b")
        service.running["a"].send_signal(signal.SIGTERM)
        asked = time.monotonic()
        jobs.append(submit())
        print(f"from SIGTERM to the next submit: {time.monotonic() - asked:.2f} s")
        assert service.ended("a") == 0
        listed = str(service.ask("list"))
        assert all(job in listed for job in jobs) and len(set(jobs)) == 4, listed
        # Without the database it could not take over, and a new process would not help.
        service.scheduler("a")
        until(lambda: service.http("a", "/readyz")[0] == 200, "one that stands by again")
        service.postgres.stop()
        until(lambda: service.http("a", "/readyz")[0] == 503, "one that is not ready without its database")
        assert service.http("a", "/livez")[0] == 200
        print("four jobs were acknowledged by three terms, and all are there")
    return 0


if __name__ == "__main__":
    if programs() is None:
        print("PostgreSQL's initdb is not here")
        sys.exit(SKIP)
    sys.exit(main())
