#!/usr/bin/env python3
"""Draws validation loss against the bytes of the optimizer's state, of the methods of two_rates.py, from its recorded runs.

    tests/bench/study/frontier.py [--study two-rates] [--results FILE] [--output docs/images/frontier.svg] [--check]

A point is a method at the rates that its search found, with the standard error over seeds. The line joins those that no
other method beats in both: the fewest bytes for a loss. --check: says whether the picture is out of date. Standard library only.
"""

import argparse
import math
import pathlib
import sys
from xml.sax.saxutils import escape

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import study  # noqa: E402
import two_rates  # noqa: E402

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 460, 80, 40, 56, 64


def frontier(points):
    """Of (bytes, loss), those that no other has both at most, by bytes."""
    best, kept = math.inf, []
    for size, loss in sorted(points):
        if loss < best:
            best = loss
            kept.append((size, loss))
    return kept


def places(low, high, count=5):
    """Round numbers between two, about so many."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def draw(methods, title):
    sizes = [m["bytes"] for m in methods]
    errors = [0.0 if math.isnan(m["error"]) else m["error"] for m in methods]
    lowest = min(m["mean"] - e for m, e in zip(methods, errors))
    highest = max(m["mean"] + e for m, e in zip(methods, errors))
    margin = 0.1 * (highest - lowest) or 0.1
    lowest, highest = lowest - margin, highest + margin
    least, most = math.log2(min(sizes)) - 0.3, math.log2(max(sizes)) + 0.5

    def x(size):
        return LEFT + (math.log2(size) - least) / (most - least) * (WIDTH - LEFT - RIGHT)

    def y(loss):
        return TOP + (highest - loss) / (highest - lowest) * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>',
           f'<text x="24" y="28" font-size="16" font-weight="bold" fill="#222">{escape(title)}</text>']
    for loss in places(lowest, highest):
        out += [f'<line x1="{LEFT}" y1="{y(loss):.1f}" x2="{WIDTH - RIGHT}" y2="{y(loss):.1f}" stroke="#ddd"/>',
                f'<text x="{LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end" fill="#555">{loss:.4g}</text>']
    powers = [2.0 ** power for power in range(math.floor(least), math.ceil(most))]
    for size in [part * power for power in powers for part in ((1, 1.25, 1.5, 1.75) if len(powers) < 4 else (1,))]:
        if not least <= math.log2(size) <= most:
            continue
        out += [f'<line x1="{x(size):.1f}" y1="{TOP}" x2="{x(size):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>',
                f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#555">{size / 2**20:g}</text>']
    out += [f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 18}" text-anchor="middle" fill="#222">moments and bases, MiB</text>',
            f'<text x="22" y="{(TOP + HEIGHT - BOTTOM) / 2:.0f}" text-anchor="middle" fill="#222" '
            f'transform="rotate(-90 22 {(TOP + HEIGHT - BOTTOM) / 2:.0f})">validation loss</text>']
    line = " ".join(f"{x(size):.1f},{y(loss):.1f}" for size, loss in frontier([(m["bytes"], m["mean"]) for m in methods]))
    out.append(f'<polyline points="{line}" fill="none" stroke="#f58518" stroke-width="2"/>')
    labels = []  # a name beside its point, or below the name of another that would lie there
    for m, error in sorted(zip(methods, errors), key=lambda one: y(one[0]["mean"])):
        across, at = x(m["bytes"]), y(m["mean"])
        if error > 0:
            out.append(f'<line x1="{across:.1f}" y1="{y(m["mean"] - error):.1f}" x2="{across:.1f}" y2="{y(m["mean"] + error):.1f}" stroke="#4c78a8"/>')
        row = at + 4
        for other, of_other in labels:
            if abs(other - across) < 200 and row < of_other + 15:
                row = of_other + 15
        labels.append((across, row))
        right = across > (LEFT + WIDTH - RIGHT) * 0.75
        out += [f'<circle cx="{across:.1f}" cy="{at:.1f}" r="4" fill="#4c78a8"/>',
                f'<text x="{across + (-8 if right else 8):.1f}" y="{row:.1f}" text-anchor="{"end" if right else "start"}" fill="#222">'
                f'{escape(m["title"])}</text>']
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--study", default=two_rates.NAME, choices=list(two_rates.STUDIES))
    parser.add_argument("--results", default=str(study.ROOT / "tests/bench/results/two_rates.jsonl"))
    parser.add_argument("--output", default=str(study.ROOT / "docs/images/frontier.svg"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    lines = study.read_lines(pathlib.Path(options.results))
    methods = list(two_rates.summaries(lines, options.study).values())
    if not methods:
        sys.exit(f"{options.results} has no finished search of {options.study}")
    steps = two_rates.STUDIES[options.study]["steps"]
    text = draw(methods, f"{two_rates.STUDIES[options.study]['model']}, {steps} steps, each method at its own two rates")
    output = pathlib.Path(options.output)
    if not options.check:
        output.write_text(text)
    elif not output.exists() or output.read_text() != text:
        sys.exit(f"{output} is out of date; draw it again: tests/bench/study/frontier.py")


if __name__ == "__main__":
    main()
