#!/usr/bin/env python3
"""Bytes that a rank sends in a step, by `galleon plan`, for the shapes of the GaLore paper; as Markdown.

    wire_table.py FOLDER_OF_PROGRAMS [--ranks N] [--measure]

bf16 on the wire, embeddings dense, vocabulary 32,000, rank of the paper. --measure also trains two steps of the smallest on so many ranks
of this machine and compares what they counted in the second with its plan (exits 1 if a byte differs).
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

SIZES = [("llama-60m", 128), ("llama-130m", 256), ("llama-350m", 256), ("llama-1b", 512), ("llama-7b", 1024)]


def job_text(model, rank, ranks, steps):
    return f"""name: {model}
task: pretrain
model: {{source: "preset:{model}", overrides: {{vocab_size: 32000}}}}
tokenizer: bytes
data: {{train: [text.txt], sequence_length: 256}}
optimizer: {{rule: adamw, galore: {{rank: {rank}}}}}
training: {{steps: {steps}, global_batch: {ranks}, micro_batch: 1, log_every: 1}}
parallel: {{ranks: {ranks}, wire_type: bf16}}
checkpoint: {{every: 1000000}}
"""


def sent(wire):
    operations = ("reduce_scatter", "all_gather", "all_reduce", "reduce", "broadcast")
    return sum(int(wire.get(operation, 0)) for operation in operations)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    galleon = arguments.programs.resolve() / "galleon"
    print("| | rank | dense data parallelism | AdamW, ZeRO 3 | GaLore, a step | with refreshes | dense / GaLore |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "text.txt").write_text("the grey ship sails north over slow water. " * 400)
        for model, rank in SIZES:
            job = folder / f"{model}.yaml"
            job.write_text(job_text(model, rank, arguments.ranks, 2))
            plan = json.loads(subprocess.run([galleon, "plan", job, "-o", "json"], check=True, capture_output=True, text=True).stdout)
            ways = {way["name"]: sent(way["wire_step"]) for way in plan["other_ways"]}
            step, mean = sent(plan["wire_step"]), sent(plan["wire_mean"])
            dense = ways["AdamW, dense data parallelism"]
            print(f"| {model} | {rank} | {dense / 1e6:,.1f} MB | {ways['AdamW, ZeRO 3'] / 1e6:,.1f} MB | {step / 1e6:,.1f} MB | {mean / 1e6:,.1f} MB | {dense / mean:.2f} |", flush=True)
            if arguments.measure and model == SIZES[0][0]:
                subprocess.run([galleon, "train", job, "--output", folder / "run"], check=True, capture_output=True)
                counted = json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])["communication_bytes"]
                print(f"{model}: counted {counted:,} bytes in step 2, planned {step:,}", file=sys.stderr)
                if counted != step:
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
