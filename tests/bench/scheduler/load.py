#!/usr/bin/env python3
"""Load on a scheduler in which many jobs have ended, beside another build of it on the same machine in the same run.

    load.py BIN [--before BIN] [--ended N …] [--submits N] [--lists N] [--rounds N] [--json FILE]

BIN holds bench_scheduler and galleon-scheduler; --before, a folder with another galleon-scheduler. For each number of ended
jobs a data folder is filled once, and each round starts each scheduler on a copy of it: the time until it serves, its resident
memory, then submits, cancels of all of them, lists with and without filters, and a worker's syncs beside lists.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "load_before": os.getloadavg()[0]}


def resident_mb(pid):
    return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS")) / 1000


def one_round(scheduler, bench, filled, folder, options):
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(filled, data)
    os.sync()
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    begin = time.monotonic()
    process = subprocess.Popen([scheduler, "--data", data, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--ready-file", ready,
                                "--planner", data / "planner.sh", "--max-requests", "1000000"],
                               stdout=subprocess.DEVNULL, stderr=open(folder / "log", "wb"))
    try:
        while not ready.exists():
            if process.poll() is not None:
                raise RuntimeError((folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.005)
        figures = {"restart_seconds": time.monotonic() - begin}
        listen = json.loads(ready.read_text())["listen"]
        time.sleep(1)
        figures["resident_mb"] = resident_mb(process.pid)
        done = subprocess.run([bench, "--load", listen, "--submits", str(options.submits), "--lists", str(options.lists)], check=True,
                              stdout=subprocess.PIPE, text=True)
        figures.update(json.loads(done.stdout))
        figures["resident_after_load_mb"] = resident_mb(process.pid)
        return figures
    finally:
        process.kill()
        process.wait()


def middle(rounds):
    """The median of each figure over rounds of the same shape."""
    first = rounds[0]
    if isinstance(first, dict):
        return {key: middle([r[key] for r in rounds]) for key in first}
    if isinstance(first, list):
        return [middle(list(items)) for items in zip(*rounds)]
    return first if isinstance(first, str) else statistics.median(rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--ended", type=int, nargs="+", default=[12_000, 200_000])
    parser.add_argument("--submits", type=int, default=3_000)
    parser.add_argument("--lists", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bench = options.binaries.resolve() / "bench_scheduler"
    builds = {"now": options.binaries.resolve() / "galleon-scheduler"}
    if options.before:
        builds = {"before": options.before.resolve() / "galleon-scheduler"} | builds
    run = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "figures": []}
    with tempfile.TemporaryDirectory(prefix="galleon-bench-", dir=os.getcwd()) as name:
        folder = Path(name)
        for ended in options.ended:
            filled = folder / "filled"
            shutil.rmtree(filled, ignore_errors=True)
            subprocess.run([bench, "--fill", filled, "--jobs", str(ended)], check=True, cwd=folder)
            rounds = {build: [] for build in builds}
            for _ in range(options.rounds):
                for build, scheduler in builds.items():
                    rounds[build].append(one_round(scheduler, bench, filled, folder, options))
            for build in builds:
                figures = {"ended": ended, "build": build, "rounds": options.rounds} | middle(rounds[build])
                run["figures"].append(figures)
                print(json.dumps(figures), flush=True)
    if options.json:
        options.json.write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
