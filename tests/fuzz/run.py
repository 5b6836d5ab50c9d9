#!/usr/bin/env python3
"""Runs libFuzzer's targets for some processor time each, one after the other, and says what each has tried.

    run.py BIN [TARGET …] [--seconds N] [--corpus FOLDER]

BIN is the folder of the build with the preset "fuzz". What a target learns stays in FOLDER/TARGET (default: found beside BIN), where the
next run goes on; an input that ends it lies beside that. The processor's time counts, not the clock's, so that a shared machine shortens
nothing. Exit code 1: a target found something."""
import argparse
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
# Of those that run a whole scheduler or plan a job, and of gzip, whose zstd may ask for a window of 2 GiB.
MEGABYTES = {"calls": 2048, "journal": 1024, "job_plan": 2048, "gzip": 4096}


def run(binary, name, seconds, corpus):
    learned = corpus / name
    learned.mkdir(parents=True, exist_ok=True)
    used, tried, covered = 0.0, 0, 0
    while used < seconds:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([binary, f"-max_total_time={max(10, int(seconds - used))}", "-timeout=120", f"-rss_limit_mb={MEGABYTES.get(name, 1024)}",
                               f"-malloc_limit_mb={MEGABYTES.get(name, 512)}", "-print_final_stats=1", f"-artifact_prefix={corpus}/{name}-",
                               learned, SEEDS / name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        tried += int((re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr) or [0])[-1])
        covered = int((re.findall(r"cov: (\d+)", done.stderr) or [covered])[-1])
        if done.returncode != 0:
            (corpus / f"{name}.log").write_text(done.stderr)
            print(f"{name:16} {used:7.0f} s {tried:12,} inputs {covered:7,} edges  FOUND: {corpus}/{name}.log", flush=True)
            return False
    print(f"{name:16} {used:7.0f} s {tried:12,} inputs {covered:7,} edges  nothing found", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=Path)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    corpus = options.corpus or options.binaries.resolve().parent / "found"
    there = sorted(path.name.removeprefix("fuzz_") for path in options.binaries.glob("fuzz_*") if os.access(path, os.X_OK))
    unknown = set(options.targets) - set(there)
    if unknown or not there:
        sys.exit(f"no target {', '.join(sorted(unknown)) or 'at all'} in {options.binaries}; there are: {', '.join(there) or 'none'}")
    good = [run(options.binaries / f"fuzz_{name}", name, options.seconds, corpus) for name in options.targets or there]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
