#!/usr/bin/env python3
"""Training goes on while a checkpoint is on its way to a slow disk, and nothing is published before it is there.

    slow_disk.py FOLDER_OF_PROGRAMS

Every fsync takes a second and a half, by a library of this test's own (a C compiler is needed; ends with 77 without).
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

SLOW = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  usleep(1500000);
  return real(fd);
}
"""
STEPS, EVERY = 4000, 1000


def last_step(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def main():
    programs = pathlib.Path(sys.argv[1]).resolve()
    compiler = shutil.which("cc")
    if compiler is None:
        print("left out: there is no C compiler")
        return 77
    folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-slow-disk-"))
    try:
        (folder / "slow.c").write_text(SLOW)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "slow.so", folder / "slow.c", "-ldl"], check=True)
        (folder / "text.txt").write_text("the sea was calm, and the ship went on. " * 400)
        (folder / "job.yaml").write_text(f"""name: slow
task: pretrain
model: {{source: 'preset:tiny'}}
tokenizer: bytes
data: {{train: [text.txt], sequence_length: 16}}
optimizer: {{learning_rate: 0.01, galore: {{rank: 8, refresh_interval: 500}}}}
training: {{steps: {STEPS}, global_batch: 2, micro_batch: 1, log_every: 1}}
parallel: {{ranks: 2}}
checkpoint: {{every: {EVERY}, keep: 10}}
""")
        run = folder / "run"
        with (folder / "log").open("w") as log:
            trainer = subprocess.Popen([programs / "galleon", "train", folder / "job.yaml", "--output", run, "--threads", "1"], stdout=log, stderr=log,
                                       env={**os.environ, "LD_PRELOAD": str(folder / "slow.so")})
        seen = {}
        try:
            end = time.monotonic() + 200
            while trainer.poll() is None:
                assert time.monotonic() < end, (folder / "log").read_text()[-2000:]
                for step in range(EVERY, STEPS, EVERY):
                    place = run / "checkpoints" / f"step-{step:08d}"
                    if step not in seen and place.exists():
                        seen[step] = last_step(run / "metrics.jsonl")
                        assert (place / "manifest.json").exists(), "published without its manifest"
                time.sleep(0.01)
        finally:
            if trainer.poll() is None:
                trainer.kill()
                trainer.wait()
        assert trainer.returncode == 0, (folder / "log").read_text()[-2000:]
        print("published at step, while training was at step:", seen)
        # At least the first found the disk idle; a later one may have waited for the one before it.
        ahead = [now - step for step, now in seen.items()]
        assert ahead and max(ahead) > 50, "training stood still until the checkpoint was on the disk"
        checked = sorted(p.name for p in (run / "checkpoints").iterdir())
        assert checked == [f"step-{step:08d}" for step in range(EVERY, STEPS + 1, EVERY)], checked
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
