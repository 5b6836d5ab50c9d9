#!/usr/bin/env python3
"""The scheduler's figures with their growth, beside Slurm's on the same machine in the same run.

    scheduler.py BIN [--json FILE] [--seconds N] [--workers N] [--without-slurm]

BIN holds bench_scheduler and galleon-scheduler. Slurm (Debian: slurmctld slurm-client munge) is started with a
configuration of its own in a temporary folder, on loopback, and ended again; where it is not installed, that part is left
out by name. With --json, a plot of the growth is drawn beside the file.
"""
import argparse
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release()}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def submits_by_processes(command, folder, seconds, environment=None, clients=8):
    """How often `command`, run again and again by `clients` shells, succeeds."""
    counts = [folder / f"count.{i}" for i in range(clients)]
    loops = []
    begin = time.monotonic()
    for count in counts:
        with open(count, "wb") as file:
            loops.append(subprocess.Popen(["sh", "-c", f"while :; do {command} >/dev/null && echo; done"], env=environment, stdout=file,
                                          stderr=subprocess.DEVNULL, start_new_session=True))
    time.sleep(seconds)
    took = time.monotonic() - begin
    for loop in loops:
        os.killpg(loop.pid, signal.SIGKILL)
        loop.wait()
    done = sum(count.stat().st_size for count in counts)
    return {"clients": clients, "submits": done, "per_second": done / took}


class Slurm:
    """A controller that only queues: its one node never answers, so that a submission is all that is timed."""

    NEEDED = ("slurmctld", "sbatch", "munged", "scancel")

    def __init__(self, folder):
        self.folder = folder
        self.processes = []

    def __enter__(self):
        # munged insists on folders that nobody else can write.
        key, sock = self.folder / "munge.key", self.folder / "munge.socket"
        self.folder.chmod(0o755)
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.start(["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={sock}",
                    f"--pid-file={self.folder}/munge.pid", f"--log-file={self.folder}/munge.log",
                    f"--seed-file={self.folder}/munge.seed"])
        self.wait(sock.exists, "munged")
        state = self.folder / "state"
        state.mkdir()
        self.conf = self.folder / "slurm.conf"
        self.conf.write_text("\n".join([
            "ClusterName=bench", "SlurmctldHost=localhost(127.0.0.1)", f"SlurmctldPort={free_port()}",
            f"SlurmdPort={free_port()}", f"AuthInfo=socket={sock}", "SlurmUser=root", "SlurmdUser=root",
            f"StateSaveLocation={state}", f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmctldLogFile={self.folder}/slurmctld.log", "ProctrackType=proctrack/linuxproc", "MpiDefault=none",
            "ReturnToService=1", "SchedulerType=sched/backfill", "SelectType=select/cons_tres", "MaxJobCount=200000",
            "AccountingStorageType=accounting_storage/none", "JobAcctGatherType=jobacct_gather/none",
            "SlurmctldParameters=rl_enable=0", "NodeName=nowhere NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN",
            "PartitionName=all Nodes=nowhere Default=YES MaxTime=INFINITE State=UP", ""]))
        self.environment = dict(os.environ, SLURM_CONF=str(self.conf))
        self.start(["slurmctld", "-D", "-f", str(self.conf)])
        self.wait(self.submits, "slurmctld")
        return self

    def start(self, command):
        log = open(self.folder / (Path(command[0]).name + ".out"), "wb")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def wait(self, ready, name):
        for _ in range(100):
            if ready():
                return
            if any(p.poll() is not None for p in self.processes):
                break
            time.sleep(0.1)
        logs = "\n".join(p.read_text(errors="replace")[-1500:] for p in self.folder.glob("*.out"))
        raise RuntimeError(f"{name} did not start\n{logs}")

    def submits(self):
        command = ["sbatch", "--parsable", "--chdir=/", "--output=/dev/null", "--wrap=true"]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def figure(self, seconds):
        """sbatch runs: each is a process that connects, submits one job and ends."""
        return submits_by_processes("sbatch --parsable --chdir=/ --output=/dev/null --wrap=true", self.folder, seconds, self.environment)

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def our_command_line(binaries, seconds):
    """The same with `galleon submit`: a process for each job, durable before it is answered."""
    folder = Path(tempfile.mkdtemp(prefix="galleon-bench-"))
    ready = folder / "ready.json"
    scheduler = subprocess.Popen(
        [binaries / "galleon-scheduler", "--data", folder / "data", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
         "--ready-file", ready], stdout=subprocess.DEVNULL, stderr=open(folder / "log", "wb"))
    try:
        for _ in range(200):
            if ready.exists():
                break
            time.sleep(0.05)
        address = json.loads(ready.read_text())["listen"]
        (folder / "text.txt").write_text("the sea was calm\n" * 200)
        (folder / "job.yaml").write_text(
            "name: bench\ntask: pretrain\nmodel: {source: preset:tiny}\ntokenizer: bytes\n"
            "data: {train: [text.txt], sequence_length: 32}\ntraining: {steps: 1, global_batch: 2, micro_batch: 2}\n")
        submit = f"'{binaries}/galleon' submit --server {address} '{folder}/job.yaml'"
        subprocess.run(["sh", "-c", submit], check=True, stdout=subprocess.DEVNULL)  # the plan is cached by shape from here on
        return submits_by_processes(submit, folder, seconds)
    finally:
        scheduler.terminate()
        scheduler.wait()
        shutil.rmtree(folder, ignore_errors=True)


PLOTS = [  # figure, size, its name, value, its name
    ("decision_pass", "queued", "jobs queued", "median_ms", "pass, ms"),
    ("recovery", "jobs", "jobs recovered", "seconds", "recovery, s"),
    ("dispatches", "workers", "workers", "per_second", "dispatches/s"),
    ("submits_mtls", "queued_before", "jobs queued", "per_second", "submits/s"),
    ("heartbeats", "workers", "workers", "scheduler_cores", "scheduler, cores"),
]


def draw(figures, path):
    """One small panel for each figure, over the size that it grows with."""
    width, height, left, bottom = 230, 190, 52, 36
    panels = [p for p in PLOTS if len(figures.get(p[0], [])) > 1]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * len(panels)}" height="{height}" '
           f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>']
    for number, (figure, x_key, x_name, y_key, y_name) in enumerate(panels):
        points = [(f[x_key], f[y_key]) for f in figures[figure]]
        most_x, most_y = max(x for x, _ in points), max(y for _, y in points) * 1.1
        x0, w, h = number * width + left, width - left - 14, height - bottom - 26
        place = [(x0 + w * x / most_x, 26 + h - h * y / most_y) for x, y in points]
        out.append(f'<path d="M{x0} 26V{26 + h}H{x0 + w}" fill="none" stroke="#888"/>')
        out.append('<polyline fill="none" stroke="#1f5fa8" stroke-width="2" points="'
                   + " ".join(f"{x:.1f},{y:.1f}" for x, y in place) + '"/>')
        for (x, y), (_, value) in zip(place, points):
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f5fa8"/>')
            text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            out.append(f'<text x="{min(x, x0 + w - 8):.1f}" y="{y - 7:.1f}" text-anchor="middle">{text}</text>')
        out.append(f'<text x="{x0 - 44}" y="14" font-weight="bold">{y_name}</text>')
        out.append(f'<text x="{x0 + w / 2}" y="{height - 6}" text-anchor="middle">{x_name}</text>')
        out.append(f'<text x="{x0 + w}" y="{height - 20}" text-anchor="end">{most_x:,}</text>')
    out.append("</svg>")
    path.write_text("\n".join(out) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--workers", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--without-slurm", action="store_true")
    options = parser.parse_args()
    binaries = options.binaries.resolve()
    with tempfile.TemporaryDirectory(prefix="galleon-bench-") as name:
        folder = Path(name)
        run = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
        written = folder / "figures.json"
        subprocess.run([binaries / "bench_scheduler", "--json", written, "--seconds", str(options.seconds), "--jobs",
                        str(options.jobs), "--workers", str(options.workers)], check=True, cwd=folder)
        run.update(json.loads(written.read_text()))
        run["galleon_submit_processes"] = our_command_line(binaries, options.seconds)
        print("galleon submit:", run["galleon_submit_processes"])
        missing = [program for program in Slurm.NEEDED if shutil.which(program) is None]
        if options.without_slurm or missing:
            print("left out: Slurm" + (f", as {', '.join(missing)} are not installed" if missing else ""))
        else:
            (folder / "slurm").mkdir()
            with Slurm(folder / "slurm") as slurm:
                run["slurm_sbatch_processes"] = slurm.figure(options.seconds)
            print("sbatch:", run["slurm_sbatch_processes"])
        if options.json:
            options.json.write_text(json.dumps(run, indent=1) + "\n")
            draw(run, options.json.with_suffix(".svg"))


if __name__ == "__main__":
    sys.exit(main())
