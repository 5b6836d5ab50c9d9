#!/usr/bin/env python3
"""Galleon beside PyTorch, transformers and galore-torch on this machine's processor, in one run: GaLore-AdamW on random
tokens, the sides taking their steps in turn, same shape, batch, tokens and threads.

    tests/bench/yardstick/yardstick.py [--precision fp32 bf16] [--rounds 5] [--scaling] [--json FILE]

It measures tokens/s without refreshes; the seconds of a refresh of every basis (their SVD, our subspace iteration) and
what a refreshing step takes beyond another, in which ours also forms dense gradients; and the peak resident memory of each
process. --scaling also measures our cost per token from llama-9m to llama-350m against the model's FLOPs and draws it.
Their packages come from the Python registry into a virtual environment below the build folder; where that cannot be set up
the program says so and ends with 77. Standard library only.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
PACKAGES = ["torch", "transformers", "galore-torch", "safetensors", "numpy"]
# hidden, intermediate, layers, heads, rank of the paper (a quarter of the width where it names none)
PRESETS = {
    "tiny": (64, 172, 2, 4, 16),
    "llama-9m": (128, 352, 4, 4, 32),
    "llama-20m": (256, 688, 4, 4, 64),
    "llama-60m": (512, 1376, 8, 8, 128),
    "llama-130m": (768, 2048, 12, 12, 256),
    "llama-350m": (1024, 2736, 24, 16, 256),
}
AIMS = {"fp32": 1.3, "bf16": 1.5, "refresh": 10.0, "memory": 0.6}


class Side:
    """One process under the protocol of ours.cc."""

    def __init__(self, name, command, options):
        self.name = name
        self.options = options
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        env=self.environment())
        self.ready = self.read()
        print(f"{name}: the first step took {self.ready['first_step_seconds']:.2f} s", file=sys.stderr)
        self.steps, self.optimizer, self.refreshes, self.bases = [], [], [], []

    def environment(self):
        # Where the processor's time counts, threads must not spin while they wait.
        return {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"} if self.options.clock == "cpu" else None

    def seconds(self, answer):
        if self.options.clock == "cpu":
            return answer["processor_seconds"] / self.options.threads
        return answer["seconds"]

    def read(self):
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):  # libraries print
            line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines()
            raise RuntimeError(f"{self.name} ended: {said[-1] if said else status}")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.read()
        if "seconds" in answer:
            print(f"{self.name}: {command} {answer['seconds']:.2f} s, of the processor {answer['processor_seconds']:.2f}", file=sys.stderr)
        return answer

    def step(self):
        answer = self.ask("step")
        if not math.isfinite(answer["loss"]):
            raise RuntimeError(f"{self.name}: the loss is {answer['loss']}")
        self.steps.append(self.seconds(answer))
        self.optimizer.append(answer["optimizer_seconds"])
        return answer

    def refresh(self):
        answer = self.ask("refresh")
        if answer["refreshed"] == 0:
            raise RuntimeError(f"{self.name} refreshed nothing")
        self.refreshes.append(self.seconds(answer))
        self.bases.append(answer["refresh_seconds"])

    def end(self):
        answer = self.ask("end")
        self.process.wait()
        return answer

    def figures(self, end):
        step = statistics.median(self.steps)
        return {"tokens_per_second": self.ready["tokens"] / step, "seconds_per_step": step,
                "optimizer_seconds": statistics.median(self.optimizer),
                "refresh_seconds": statistics.median(self.bases) if self.bases else None,
                "refreshing_step_seconds": statistics.median(self.refreshes) - step if self.refreshes else None,
                "first_step_seconds": self.ready["first_step_seconds"], "peak_bytes": end["peak_bytes"],
                "imported_bytes": self.ready.get("imported_bytes"), "parameters": self.ready["parameters"],
                "versions": self.ready.get("versions"), "steps": self.steps, "refreshes": self.refreshes}


def environment(options):
    """The Python of a virtual environment with their packages."""
    folder = pathlib.Path(options.environment)
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"setting up {folder} with {', '.join(PACKAGES)}", file=sys.stderr)
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            made = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            skip(f"the packages {', '.join(PACKAGES)} cannot be installed here: " + (made.stderr.strip().splitlines() or ["?"])[-1])
    check = subprocess.run([str(python), "-c", "import torch, transformers, galore_torch"], capture_output=True, text=True, check=False)
    if check.returncode != 0:
        skip("PyTorch, transformers and galore-torch do not load here: " + (check.stderr.strip().splitlines() or ["?"])[-1])
    return str(python)


def skip(reason):
    print(f"skipped: {reason}", file=sys.stderr)
    sys.exit(SKIPPED)


def our_side(options, preset, precision, batch, rank):
    return Side("Galleon", [options.bin + "/yardstick_ours", "--preset", preset, "--precision", precision, "--rank", str(rank),
                            "--sequence", str(options.sequence), "--batch", str(batch), "--threads", str(options.threads)], options)


def their_side(options, python, preset, precision, batch, compiled):
    hidden, intermediate, layers, heads, rank = PRESETS[preset]
    command = [python, str(HERE / "theirs.py"), "--hidden", str(hidden), "--intermediate", str(intermediate), "--layers",
               str(layers), "--heads", str(heads), "--rank", str(rank), "--precision", precision, "--sequence",
               str(options.sequence), "--batch", str(batch), "--threads", str(options.threads)]
    return Side("PyTorch compiled" if compiled else "PyTorch", command + (["--compile"] if compiled else []), options)


def compare(options, python, precision):
    """All sides on one precision, in turn. The order within a round turns about."""
    sides, skipped = [], {}
    starts = {"Galleon": lambda: our_side(options, options.preset, precision, options.batch, PRESETS[options.preset][4]),
              "PyTorch": lambda: their_side(options, python, options.preset, precision, options.batch, False)}
    if options.compile:
        starts["PyTorch compiled"] = lambda: their_side(options, python, options.preset, precision, options.batch, True)
    for name, start in starts.items():
        try:
            sides.append(start())
        except RuntimeError as error:
            skipped[name] = str(error)
    for side in sides:  # warm caches and compilers
        side.step()
        side.steps, side.optimizer = [], []
    for number in range(options.rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            side.step()
    for _ in range(options.refreshes):
        for side in sides:
            side.refresh()
    figures = {side.name: side.figures(side.end()) for side in sides}
    result = {"precision": precision, "sides": figures, "skipped": skipped}
    theirs = [figures[name] for name in figures if name != "Galleon"]
    if "Galleon" in figures and theirs:
        ours = figures["Galleon"]
        best = max(theirs, key=lambda f: f["tokens_per_second"])
        result["ratios"] = {
            "tokens_per_second": ours["tokens_per_second"] / best["tokens_per_second"],
            "refresh": min(f["refresh_seconds"] for f in theirs) / ours["refresh_seconds"] if ours["refresh_seconds"] else math.nan,
            "memory": ours["peak_bytes"] / min(f["peak_bytes"] for f in theirs),
        }
    return result


def scaling(options, precision):
    """Our seconds and FLOPs per token by size."""
    points = []
    for preset in options.sizes:
        side = our_side(options, preset, precision, options.scaling_batch, PRESETS[preset][4])
        side.step()
        side.steps = []
        executed = [side.step()["flops"] for _ in range(options.scaling_rounds)]
        end = side.end()
        tokens = side.ready["tokens"]
        points.append({"preset": preset, "parameters": side.ready["parameters"],
                       "seconds_per_token": statistics.median(side.steps) / tokens,
                       "model_flops_per_token": side.ready["model_flops_per_token"],
                       "executed_flops_per_token": statistics.median(executed) / tokens, "peak_bytes": end["peak_bytes"]})
    return points


def draw(points, precision, path):
    """Seconds per token over FLOPs per token, both logarithmic, beside a line of equal growth through the first point."""
    width, height, left, bottom = 640, 420, 80, 60
    xs = [math.log10(p["model_flops_per_token"]) for p in points]
    ys = [math.log10(p["seconds_per_token"]) for p in points]
    growth = [ys[0] + x - xs[0] for x in xs]
    x_low, x_high = math.floor(min(xs) * 2) / 2, math.ceil(max(xs) * 2) / 2
    y_low, y_high = math.floor(min(ys + growth) * 2) / 2, math.ceil(max(ys + growth) * 2) / 2

    def place(x, y):
        return (left + (x - x_low) / (x_high - x_low) * (width - left - 30),
                height - bottom - (y - y_low) / (y_high - y_low) * (height - bottom - 40))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="22" font-size="14">Seconds per token against FLOPs per token, GaLore-AdamW in {precision}</text>']
    for k in range(int((x_high - x_low) * 2) + 1):
        x = x_low + k / 2
        (px, py), (_, top) = place(x, y_low), place(x, y_high)
        out.append(f'<line x1="{px:.1f}" y1="{py:.1f}" x2="{px:.1f}" y2="{top:.1f}" stroke="#ddd"/>'
                   f'<text x="{px:.1f}" y="{py + 18:.1f}" text-anchor="middle">{10 ** x:.1e}</text>')
    for k in range(int((y_high - y_low) * 2) + 1):
        y = y_low + k / 2
        (px, py), (right, _) = place(x_low, y), place(x_high, y)
        out.append(f'<line x1="{px:.1f}" y1="{py:.1f}" x2="{right:.1f}" y2="{py:.1f}" stroke="#ddd"/>'
                   f'<text x="{px - 6:.1f}" y="{py + 4:.1f}" text-anchor="end">{10 ** y:.1e}</text>')
    for values, style in ((growth, 'stroke="#999" stroke-dasharray="5 4"'), (ys, 'stroke="#1f6feb" stroke-width="2"')):
        line = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in zip(xs, values))
        out.append(f'<polyline points="{line}" fill="none" {style}/>')
    for p, x, y in zip(points, xs, ys):
        px, py = place(x, y)
        out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="#1f6feb"/>'
                   f'<text x="{px + 8:.1f}" y="{py + 14:.1f}">{p["preset"].removeprefix("llama-")}</text>')
    out.append(f'<text x="{width / 2}" y="{height - 14}" text-anchor="middle">model FLOPs per token (dashed: equal growth)</text></svg>')
    pathlib.Path(path).write_text("\n".join(out) + "\n")


def table(run):
    lines = []
    for result in run["results"]:
        sides = result["sides"]
        lines += [f"{run['preset']} in {result['precision']}, rank {run['rank']}, {run['batch']} x {run['sequence']} tokens a step, "
                  f"{run['threads']} threads, {run['clock']} clock", "", "| | " + " | ".join(sides) + " |", "|---|" + "---|" * len(sides)]
        rows = (("tokens/s, refreshes excluded", lambda f: f"{f['tokens_per_second']:.0f}"),
                ("seconds of a step", lambda f: f"{f['seconds_per_step']:.3f}"),
                ("of them the optimizer's (wall clock)", lambda f: f"{f['optimizer_seconds']:.3f}"),
                ("seconds of a refresh of all bases (wall clock)", lambda f: f"{f['refresh_seconds'] or math.nan:.3f}"),
                ("seconds that a refreshing step takes beyond another", lambda f: f"{f['refreshing_step_seconds'] or math.nan:.3f}"),
                ("peak resident memory, MiB", lambda f: f"{f['peak_bytes'] / 2**20:.0f}"))
        for title, value in rows:
            lines.append(f"| {title} | " + " | ".join(value(f) for f in sides.values()) + " |")
        lines.append("")
        for name, reason in result["skipped"].items():
            lines.append(f"skipped: {name} in {result['precision']}: {reason}")
        if ratios := result.get("ratios"):
            aims = (("tokens/s over the better of theirs", ratios["tokens_per_second"], AIMS[result["precision"]], True),
                    ("their refresh over ours", ratios["refresh"], AIMS["refresh"], True),
                    ("our memory over the smaller of theirs", ratios["memory"], AIMS["memory"], False))
            lines += ["| ratio | measured | aim | met |", "|---|---|---|---|"]
            for title, value, aim, more in aims:
                met = value >= aim if more else value <= aim
                lines.append(f"| {title} | {value:.2f} | {'at least' if more else 'at most'} {aim:g} | {'yes' if met else 'no'} |")
            lines.append("")
    for precision, points in run["scaling"].items():
        lines += [f"cost per token in {precision}", "", "| size | model FLOPs/token | executed | µs/token | model GFLOP/s |", "|---|---|---|---|---|"]
        for p in points:
            lines.append(f"| {p['preset']} | {p['model_flops_per_token']:.3g} | {p['executed_flops_per_token']:.3g} | "
                         f"{1e6 * p['seconds_per_token']:.1f} | {1e-9 * p['model_flops_per_token'] / p['seconds_per_token']:.0f} |")
        lines.append("")
    return "\n".join(lines)


def machine():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--preset", default="llama-60m", choices=list(PRESETS))
    parser.add_argument("--precision", nargs="*", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--sequence", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16, help="sequences a step, in one pass")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--refreshes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"],
                        help="cpu: the processor's time over threads, for a machine with other load")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="also torch.compile")
    parser.add_argument("--scaling", action="store_true", help="cost per token by size")
    parser.add_argument("--sizes", nargs="*", default=["llama-9m", "llama-20m", "llama-60m", "llama-130m", "llama-350m"])
    parser.add_argument("--scaling-batch", type=int, default=8)
    parser.add_argument("--scaling-rounds", type=int, default=3)
    parser.add_argument("--ours-alone", action="store_true", help="without the other side and its packages")
    parser.add_argument("--bin", default=str(ROOT / "build/bin"), help="folder of yardstick_ours")
    parser.add_argument("--environment", default=str(ROOT / "build/yardstick/venv"))
    parser.add_argument("--json", default=None, help="the figures; by default in tests/bench/results by date")
    options = parser.parse_args()
    if not pathlib.Path(options.bin, "yardstick_ours").exists():
        skip(f"{options.bin}/yardstick_ours is not built")
    python = None if options.ours_alone else environment(options)
    run = {"machine": machine(), "date": datetime.date.today().isoformat(), "load_before": os.getloadavg()[0],
           "preset": options.preset, "rank": PRESETS[options.preset][4], "batch": options.batch, "sequence": options.sequence,
           "threads": options.threads, "clock": options.clock, "rounds": options.rounds, "results": [], "scaling": {}}
    path = pathlib.Path(options.json or ROOT / f"tests/bench/results/{run['date']}-yardstick-{options.preset}.json")
    if python:
        run["results"] = [compare(options, python, precision) for precision in options.precision]
    if options.scaling:
        for precision in options.precision:
            run["scaling"][precision] = scaling(options, precision)
            draw(run["scaling"][precision], precision, path.with_name(f"{path.stem}-cost-{precision}.svg"))
    run["load_after"] = os.getloadavg()[0]
    path.write_text(json.dumps(run, indent=1) + "\n")
    print(table(run))
    print(f"{run['machine']}, {run['date']}; load {run['load_before']:.1f} before, {run['load_after']:.1f} after; {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
