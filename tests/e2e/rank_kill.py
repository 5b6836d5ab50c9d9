#!/usr/bin/env python3
"""kill -9 of any rank at random points of a run on two "machines": everything ends in time, goes on, and ends as if nothing had been.

    rank_kill.py FOLDER_OF_PROGRAMS [--kills N] [--seed S]

Three ranks, started by two `galleon train` that know each other by a folder alone. After each kill both must end within 10 seconds, no
trainer may be left (who waits for a rank that was killed before it came is told after 8), and the next start must find a sound checkpoint. The losses of the whole run are those of an undisturbed one.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

RANKS = 3
STEPS = 800
LIMIT = 10.0

JOB = """name: killed
task: pretrain
model: {source: "preset:tiny"}
tokenizer: bytes
data: {train: ["text.txt"], sequence_length: 32}
optimizer: {learning_rate: 0.01, galore: {rank: 8, refresh_interval: 40}}
training: {steps: %d, global_batch: 6, micro_batch: 2, log_every: 1}
parallel: {ranks: %d, zero: %d}
checkpoint: {every: 20, keep: 2}
"""


class Run:
    """Both machines of one attempt."""

    def __init__(self, programs, job, output, attempt):
        self.output = output
        self.meeting = output.parent / f"{output.name}-meeting"
        self.parts = []
        self.logs = []
        for here in ("0", "1-2"):
            log = output.parent / f"{output.name}-{attempt}-{here}.log"
            self.logs.append(log)
            with open(log, "w") as file:
                self.parts.append(subprocess.Popen(
                    [programs / "galleon", "train", job, "--output", output, "--here", here, "--meet", self.meeting, "--interface", "lo",
                     "--meet-within", "8", "--threads", "1"], stdout=file, stderr=file))

    def trainers(self):
        """Process ids by rank, of this very run."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state != "Z" and words[0].endswith(b"galleon-trainer") and str(self.output).encode() in words and b"--rank" in words:
                found[int(words[words.index(b"--rank") + 1])] = int(entry.name)
        return found

    def said(self):
        return "\n".join(log.read_text() for log in self.logs)

    def ended(self, limit):
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if all(part.poll() is not None for part in self.parts):
                return True
            time.sleep(0.01)
        return False

    def end(self):
        for part in self.parts:
            if part.poll() is None:
                part.kill()
            part.wait()


def losses(output):
    return [(line["step"], line["loss"]) for line in map(json.loads, (output / "metrics.jsonl").read_text().splitlines())]


def newest_step(output):
    try:
        return json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    except (OSError, IndexError, ValueError):
        return 0


def complete(programs, job, output, attempt):
    run = Run(programs, job, output, attempt)
    try:
        assert run.ended(240), f"it does not end: {run.said()}"
        assert all(part.returncode == 0 for part in run.parts), run.said()
        assert "set aside" not in run.said(), f"a partial checkpoint: {run.said()}"
    finally:
        run.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    programs = arguments.programs.resolve()
    print(f"seed {arguments.seed}")
    draw = random.Random(arguments.seed)
    slowest = 0.0
    by_rank = [0] * RANKS
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "text.txt").write_text("the sea was calm and the ship went on; night came. " * 300)
        kills = jobs = attempts = 0
        right = {}
        while kills < arguments.kills:
            # ZeRO stages in turn; each job has at most ten kills, and then runs to its end.
            zero = jobs % 3 + 1
            jobs += 1
            job = folder / f"job-{zero}.yaml"
            job.write_text(JOB % (STEPS, RANKS, zero))
            if zero not in right:
                complete(programs, job, folder / f"right-{zero}", 0)
                right[zero] = losses(folder / f"right-{zero}")
            output = folder / f"run-{jobs}"
            for _ in range(min(10, arguments.kills - kills)):
                run = Run(programs, job, output, attempts)
                attempts += 1
                try:
                    before = newest_step(output)
                    # At any moment: while ranks start and meet, in a step, in a checkpoint.
                    until = before + draw.randint(-10, 70)
                    patience = time.monotonic() + 30
                    while newest_step(output) < until and time.monotonic() < patience and all(p.poll() is None for p in run.parts):
                        time.sleep(0.005)
                    time.sleep(draw.random() * (0.02 if until > before else 0.4))
                    victim = draw.randrange(RANKS)
                    process = run.trainers().get(victim)
                    if process is None:
                        if run.ended(LIMIT) and newest_step(output) == STEPS:
                            break
                        continue
                    os.kill(process, signal.SIGKILL)
                    start = time.monotonic()
                    assert run.ended(LIMIT), f"rank {victim} was killed, and after {LIMIT} s not all has ended: {run.said()}"
                    slowest = max(slowest, time.monotonic() - start)
                    left = run.trainers()
                    assert not left, f"left running: {left}"
                    assert all(part.returncode != 0 for part in run.parts) or newest_step(output) == STEPS, run.said()
                    assert "set aside" not in run.said(), f"a partial checkpoint: {run.said()}"
                    kills += 1
                    by_rank[victim] += 1
                finally:
                    run.end()
            complete(programs, job, output, "last")
            assert losses(output) == right[zero], f"other losses than undisturbed, job {jobs}, ZeRO {zero}"
    print(f"{kills} kills (by rank {by_rank}) in {jobs} jobs; the slowest end took {slowest:.2f} s; losses equal bit for bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
