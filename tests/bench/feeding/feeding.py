#!/usr/bin/env python3
"""How long training waits for data: llama-9m on text that is tokenized while it trains.

feeding.py --bin build/bin [--form gzip|parquet|s3] [--shared ../shared/data] [--steps 60] [--json FILE]

Trains on C4-format shards (gzip, JSON lines) through a SentencePiece tokenizer from an empty output folder, and adds up
`data_wait_seconds` of metrics.jsonl. The same rows as Parquet (zstd), on the disk or behind an S3 server on loopback,
with the Python of tests/tools.sh. Ends with 77, as skipped tests do, where the shards are not there.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]

JOB = """name: feeding
task: pretrain
model: {{source: "preset:{preset}"}}
tokenizer: {tokenizer}
data: {{train: ["{data}"], sequence_length: 256}}
optimizer: {{learning_rate: 0.001, galore: {{rank: 32}}}}
training: {{steps: {steps}, global_batch: 16, micro_batch: 16, log_every: 1, evaluate_every: 0}}
checkpoint: {{every: 1000000, resume: never}}
"""


def parquet_shards(shards, folder):
    import gzip

    import pyarrow
    import pyarrow.parquet

    for shard in shards:
        with gzip.open(shard, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / (shard.name.split(".json")[0] + ".parquet"), compression="zstd")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--shared", type=pathlib.Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--form", choices=("gzip", "parquet", "s3"), default="gzip")
    parser.add_argument("--preset", default="llama-9m")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    shards = sorted((options.shared / "lm").glob("books-pd-train.*.json.gz"))
    tokenizer = options.shared / "tokenizers/openllama"
    if not shards or not tokenizer.exists():
        print("skipped: no shards or tokenizer in", options.shared)
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        data = shards[0].parent / "books-pd-train.*.json.gz"
        environment = dict(os.environ)
        server = None
        if options.form != "gzip":
            parquet_shards(shards, pathlib.Path(folder))
            data = pathlib.Path(folder) / "*.parquet"
        if options.form == "s3":
            sys.argv = [sys.argv[0], str(options.bin)]
            sys.path.insert(0, str(ROOT / "tests/storage"))
            from runs import SECRET
            from store_server import StoreServer

            server = StoreServer()
            server.client.create_bucket(Bucket="team")
            for shard in pathlib.Path(folder).glob("*.parquet"):
                server.put("team", f"corpus/{shard.name}", shard.read_bytes())
            environment.update(AWS_ENDPOINT_URL=server.address, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY=SECRET)
            data = "s3://team/corpus/*.parquet"
        job = pathlib.Path(folder) / "job.yaml"
        job.write_text(JOB.format(preset=options.preset, tokenizer=tokenizer, steps=options.steps, data=data))
        output = pathlib.Path(folder) / "run"
        start = time.time()
        done = subprocess.run([options.bin / "galleon-trainer", "--job", job, "--output", output], capture_output=True,
                              text=True, env=environment)
        wall = time.time() - start
        if server:
            server.close()
        if done.returncode != 0:
            sys.exit(f"the run failed: {done.stderr[-2000:]}")
        lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if "loss" in line]
        index = json.loads(next((output / "data").glob("train-*.json")).read_text())
    waited = sum(line["data_wait_seconds"] for line in steps)
    seconds = steps[-1]["seconds"]
    report = {"date": time.strftime("%Y-%m-%d"), "form": options.form, "preset": options.preset, "steps": len(steps), "tokens": steps[-1]["tokens"],
              "step_seconds": seconds, "data_wait_seconds": waited, "waited_ratio": waited / seconds,
              "tokens_per_second": steps[-1]["tokens"] / seconds, "tokenized": index["tokens"],
              "tokenized_all": index["complete"], "seconds_before_the_first_step": wall - seconds,
              "cores": os.cpu_count(), "load": os.getloadavg()}
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


main()
