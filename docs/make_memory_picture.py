#!/usr/bin/env python3
"""Draws docs/images/memory-llama-7b.svg: what `galleon plan` says of a 7B model at full rank and under GaLore, beside a card of 24 GB.

    make_memory_picture.py BIN [--check]     BIN: folder of the built programs; --check: says whether the picture is out of date

Each bar is the plan's own JSON for deploy/examples/llama-7b-24gb.yaml, and for the same job without `galore`.
"""

import difflib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "deploy/examples/llama-7b-24gb.yaml"
PICTURE = ROOT / "docs/images/memory-llama-7b.svg"
CARD = 24e9
PARTS = [("weights", "weights", "#4c78a8"), ("gradients", "gradients", "#e45756"), ("optimizer_states", "optimizer states", "#f58518"),
         ("subspaces", "subspaces", "#72b7b2"), ("activations", "activations", "#54a24b"), ("workspace", "workspace", "#b279a2"),
         ("process", "process with CUDA", "#9d9d9d")]


def without(text, *changes):
    """The job with lines changed; every change must find its place."""
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count != 1:
            sys.exit(f"{EXAMPLE}: {pattern} is there {count} times")
    return text


def plan(binaries, text):
    with tempfile.TemporaryDirectory() as folder:
        job = pathlib.Path(folder) / "job.yaml"
        job.write_text(text)
        answer = subprocess.run([binaries / "galleon", "plan", job, "-o", "json"], capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    memory = {name: int(value) for name, value in found["ranks"][0]["memory"].items()}
    memory["process"] = int(found["process_base_bytes"])
    return memory


def bars(binaries):
    job = EXAMPLE.read_text()
    full = without(job, (r"^  galore: .*\n", ""), (r"memory_per_rank: \w+", "memory_per_rank: null"))
    adamw = without(full, ("rule: adam8bit", "rule: adamw"), ("update: per_layer", "update: per_step"))
    return [("Full rank, AdamW", plan(binaries, adamw)), ("Full rank, 8-bit Adam, layer by layer", plan(binaries, full)),
            ("GaLore of rank 1024, 8-bit Adam, layer by layer", plan(binaries, job))]


def draw(rows):
    left, top, width, height, gap = 24, 64, 812, 30, 34
    largest = max(sum(memory.values()) for _, memory in rows)
    scale = width / (1.02 * largest)
    bottom = top + len(rows) * (height + gap)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {bottom + 58}" font-family="sans-serif" font-size="14">',
           f'<rect width="860" height="{bottom + 58}" rx="8" fill="#ffffff"/>',
           f'<text x="{left}" y="28" font-size="17" font-weight="bold" fill="#222">llama-7b in bf16, 4,096 tokens a step: bytes by galleon plan</text>']
    for at, (_, memory) in enumerate(rows):
        y = top + at * (height + gap) + 18
        x = float(left)
        for name, _, colour in PARTS:
            w = memory[name] * scale
            out.append(f'<rect x="{x:.2f}" y="{y}" width="{w:.2f}" height="{height}" fill="{colour}"/>')
            x += w
    card = left + CARD * scale
    out += [f'<line x1="{card:.2f}" y1="{top - 16}" x2="{card:.2f}" y2="{bottom + 4}" stroke="#222" stroke-width="2" stroke-dasharray="6 4"/>',
            f'<text x="{card + 8:.2f}" y="{top - 8}" fill="#222">a card of 24 GB</text>']
    # Over the line, with an edge of the background's colour.
    for at, (title, memory) in enumerate(rows):
        y = top + at * (height + gap) + 12
        total = sum(memory.values())
        out.append(f'<text x="{left}" y="{y}" fill="#222" stroke="#fff" stroke-width="5" paint-order="stroke">{escape(title)}: '
                   f'<tspan font-weight="bold">{total / 1e9:.1f} GB</tspan></text>')
    x = float(left)
    for _, title, colour in PARTS:
        out += [f'<rect x="{x:.0f}" y="{bottom + 22}" width="12" height="12" fill="{colour}"/>',
                f'<text x="{x + 17:.0f}" y="{bottom + 33}" fill="#222">{title}</text>']
        x += 36 + 7.2 * len(title)
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    text = draw(bars(pathlib.Path(arguments[0]).resolve()))
    if "--check" not in sys.argv:
        PICTURE.write_text(text)
        return
    before = PICTURE.read_text() if PICTURE.exists() else ""
    if before != text:
        print("\n".join(difflib.unified_diff(before.splitlines(), text.splitlines(), str(PICTURE), "drawn", lineterm="")))
        sys.exit("the picture is out of date; draw it again: docs/make_memory_picture.py build/bin")


if __name__ == "__main__":
    main()
