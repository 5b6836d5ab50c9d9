#!/usr/bin/env python3
"""GaLore beside dense data parallelism of the same engine over a slow link: two ranks in network namespaces of this program's own.

    slow_link.py FOLDER_OF_PROGRAMS [--steps N] [--json FILE] [--short]

The link (link_emulator) carries 100 Mbit/s each way with 20 ms one way. Needs root, `ip` and /dev/net/tun; ends with 77 without.
The step time is the median over steps 2 to N; the first, which finds the first bases, is reported apart. --short: a tiny model at
1,000 Mbit/s with 1 ms, and no claim about times; what the interface carried is compared with what ranks counted all the same, and a link that
is cut in the middle of a run has to be noticed.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SKIP = 77
# The counted bytes leave out message headings, losses, hashes and the meeting; resent packets count for the interface.
PAYLOAD_TOLERANCE = 0.02
# A machine that does not answer is given up after eight seconds; then the ranks say so and end.
CUT_LIMIT = 12


def allowed():
    if os.geteuid() != 0 or shutil.which("ip") is None or not os.path.exists("/dev/net/tun"):
        return "it needs root, ip and /dev/net/tun"
    name = f"galleon-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespace can be made: {made.stderr.strip()}"
    tun = subprocess.run(["ip", "netns", "exec", name, "ip", "tuntap", "add", "link0", "mode", "tun"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None if tun.returncode == 0 else f"no TUN interface can be made: {tun.stderr.strip()}"


class Link:
    def __init__(self, programs, megabits, milliseconds):
        self.names = [f"galleon-{os.getpid()}-{side}" for side in "ab"]
        for name in self.names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        self.emulator = subprocess.Popen(
            [programs / "link_emulator", self.names[0], "10.71.0.1/24", self.names[1], "10.71.0.2/24", str(megabits), str(milliseconds)],
            stdout=subprocess.PIPE, text=True)
        if self.emulator.stdout.readline() != "ready\n":
            raise RuntimeError("the link did not come up")

    def end(self):
        self.emulator.terminate()
        said = self.emulator.stdout.read()
        self.emulator.wait()
        self.remove()
        return json.loads(said)

    def remove(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def start(programs, folder, link):
    ranks = []
    for rank, name in enumerate(link.names):
        command = ["ip", "netns", "exec", name, programs / "galleon", "train", folder / "job.yaml", "--output", folder / "run", "--here",
                   str(rank), "--meet", folder / "meeting", "--interface", "link0", "--threads", "1"]
        with open(folder / f"{rank}.log", "w") as log:
            ranks.append(subprocess.Popen(command, stdout=log, stderr=log))
    return ranks


def train(programs, folder, job, megabits, milliseconds, limit):
    """Runs `job` (its text) on two ranks with a link between them; returns metrics lines and what the link carried."""
    folder.mkdir()
    (folder / "job.yaml").write_text(job)
    link = Link(programs, megabits, milliseconds)
    ranks = []
    try:
        ranks = start(programs, folder, link)
        for rank, process in enumerate(ranks):
            if process.wait(timeout=limit) != 0:
                raise RuntimeError(f"rank {rank}: {(folder / f'{rank}.log').read_text()}")
        carried = link.end()
    except BaseException:
        for process in ranks:
            process.kill()
        link.emulator.kill()
        link.remove()
        raise
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()], carried


def job_text(name, data, model, vocabulary, rank, sequence, steps):
    galore = f"{{rank: {rank}}}" if rank else "null"
    return f"""name: {name}
task: pretrain
model: {{source: "preset:{model}", overrides: {{vocab_size: {vocabulary}}}}}
tokenizer: bytes
data: {{train: ["{data}"], sequence_length: {sequence}}}
optimizer: {{rule: adamw, galore: {galore}}}
training: {{steps: {steps}, global_batch: 2, micro_batch: 1, log_every: 1}}
parallel: {{ranks: 2, wire_type: bf16}}
checkpoint: {{every: 1000000}}
"""


def measure(programs, folder, name, short, **model):
    lines, carried = train(programs, folder / name, job_text(name, folder / "corpus.txt", **model), 1000 if short else 100,
                           1 if short else 20, 1200)
    ends = [line["seconds"] for line in lines]
    steps = [after - before for before, after in zip(ends, ends[1:])]
    counted = sum(line["communication_bytes"] for line in lines)
    # Rank 0 is on side a. The last checkpoint's texts and the meeting travel too.
    payload = carried["a_to_b"]["payload"]
    return {"name": name, **model, "step_seconds": statistics.median(steps), "slowest_step_seconds": max(steps),
            "first_step_seconds": ends[0], "counted_bytes": counted, "interface_payload_bytes": payload,
            "payload_over_counted": payload / counted, "counted_bytes_last_step": lines[-1]["communication_bytes"]}


def cut(programs, folder):
    """The link stops carrying in the middle of a run: both ranks end in time, and say why."""
    job = job_text("cut", folder / "corpus.txt", model="tiny", vocabulary=4096, rank=8, sequence=64, steps=100000)
    metrics = folder / "cut" / "run" / "metrics.jsonl"

    def stop_link(link):
        while not metrics.exists() or len(metrics.read_text().splitlines()) < 20:
            time.sleep(0.05)
        link.emulator.send_signal(signal.SIGSTOP)
        return time.monotonic()

    (folder / "cut").mkdir()
    (folder / "cut" / "job.yaml").write_text(job)
    link = Link(programs, 100, 5)
    ranks = start(programs, folder / "cut", link)
    try:
        since = stop_link(link)
        ends = []
        for process in ranks:
            process.wait(timeout=60)
            ends.append(time.monotonic() - since)
        said = [(folder / "cut" / f"{rank}.log").read_text() for rank in range(2)]
    finally:
        for process in ranks:
            process.kill()
        link.emulator.kill()
        link.emulator.wait()
        link.remove()
    print(f"a cut link: both ranks ended within {max(ends):.1f} s")
    bad = [] if max(ends) <= CUT_LIMIT else [f"after a cut it took {max(ends):.1f} s until both ranks had ended"]
    return bad + [f"a rank does not say what happened: {text}" for text in said if "cannot be reached any more" not in text]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    reason = allowed()
    if reason is not None:
        print(f"skipped: {reason}")
        return SKIP
    programs = arguments.programs.resolve()
    bad = []
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "corpus.txt").write_text("the grey ship sails north over slow water. " * 400)
        shape = {"model": "tiny" if arguments.short else "llama-60m", "sequence": 256, "steps": arguments.steps}
        cases = [(4096, 8, 0)] if arguments.short else [(4096, 64, 2.0), (32000, 64, 1.3)]
        if arguments.short:
            bad += cut(programs, folder)
        for vocabulary, rank, aim in cases:
            pair = [measure(programs, folder, f"{kind}-{vocabulary}", arguments.short, vocabulary=vocabulary, rank=r, **shape)
                    for kind, r in (("galore", rank), ("dense", 0))]
            faster = pair[1]["step_seconds"] / pair[0]["step_seconds"]
            for one in pair:
                print(f"{one['name']}: {one['step_seconds']:.2f} s a step (first {one['first_step_seconds']:.1f} s), "
                      f"{one['counted_bytes_last_step'] / 1e6:.1f} MB sent by a rank, interface / counted {one['payload_over_counted']:.4f}")
                if abs(one["payload_over_counted"] - 1) > PAYLOAD_TOLERANCE:
                    bad.append(f"{one['name']}: the interface carried {one['payload_over_counted']:.4f} of the counted bytes")
            print(f"vocabulary {vocabulary}: {faster:.2f} times as fast (aim {aim})")
            if faster < aim:
                bad.append(f"vocabulary {vocabulary}: {faster:.2f} times as fast instead of {aim}")
            results.append({"vocabulary": vocabulary, "times_as_fast": faster, "aim": aim, "runs": pair})
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "command": "tests/bench/link/slow_link.py build/bin", "megabits_each_way": 100, "milliseconds_one_way": 20,
            "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg(),
            "results": results}, indent=1) + "\n")
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
