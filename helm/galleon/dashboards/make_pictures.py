#!/usr/bin/env python3
"""Draws the dashboards for the documents, from what a real Prometheus answered to their own queries.

    tests/deploy/monitoring_test.py build/bin --keep ranges.json      (a service runs two jobs, each panel's query is kept)
    make_pictures.py ranges.json docs/images

One SVG for each dashboard, with its panels where the dashboard has them.
"""

import json
import math
import pathlib
import re
import sys
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).resolve().parent
UNIT_X, UNIT_Y, GAP = 50, 30, 6
COLOURS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffb357", "#96d98d", "#c0d8ff"]
BACK, PANEL, TEXT, FAINT = "#111217", "#181b1f", "#ccccdc", "#2c3235"


def shown(value, unit):
    if unit in ("bytes", "Bps"):
        for prefix in ("", "Ki", "Mi", "Gi", "Ti"):
            if abs(value) < 1024 or prefix == "Ti":
                return f"{value:.3g} {prefix}B" + ("/s" if unit == "Bps" else "")
            value /= 1024
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        return f"{value * 1e6:.3g} µs" if 0 < abs(value) < 1e-3 else f"{value * 1e3:.3g} ms" if 0 < abs(value) < 1 else f"{value:.3g} s"
    if unit == "sci":
        return f"{value:.2g}"
    if unit == "short" and abs(value) >= 1000:
        return f"{value / 1000:.3g} K"
    return f"{value:.3g}"


def named(legend, labels, query):
    if not legend:
        return query
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found.group(1), ""), legend)


def series_of(panel, kept, stem):
    found = []
    for answer in kept:
        if answer["dashboard"] == stem and answer["panel"] == panel["title"]:
            for one in answer["result"]:
                points = [(float(t), float(v)) for t, v in one["values"] if v not in ("NaN", "+Inf", "-Inf")]
                if points:
                    found.append((named(answer["legend"], one["metric"], panel["title"]), one["metric"], points))
    # A job that was handed on goes on in a series of another attempt.
    return sorted(found, key=lambda s: s[0])


def ticks(low, high):
    if high <= low:
        high = low + (abs(low) or 1)
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 4)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def legend(out, series, x, y, width, colour_of):
    at = x
    for name in dict.fromkeys(s[0] for s in series):
        size = 20 + 6.2 * len(name)
        if at + size > x + width:
            break
        out.append(f'<rect x="{at:.0f}" y="{y - 4:.0f}" width="12" height="3" fill="{colour_of[name]}"/>'
                   f'<text x="{at + 16:.0f}" y="{y:.0f}" fill="{TEXT}">{escape(name)}</text>')
        at += size + 10


def lines(out, panel, series, x, y, w, h):
    unit = panel["fieldConfig"]["defaults"].get("unit", "none")
    stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {}).get("mode") == "normal"
    names = list(dict.fromkeys(s[0] for s in series))
    colour_of = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    left, top, bottom = x + 62, y + 34, y + h - 40
    beside = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]} if stacked else set()
    if stacked:
        times = sorted({t for _, _, points in series for t, _ in points})
        below, drawn = dict.fromkeys(times, 0.0), []
        for name, _, points in series:
            if name in beside:
                continue
            at = dict(points)
            upper = {t: below[t] + at.get(t, 0.0) for t in times}
            drawn.append((name, [(t, below[t]) for t in times], [(t, upper[t]) for t in times]))
            below = upper
        high = max([v for _, _, points in drawn for _, v in points] + [v for name, _, points in series if name in beside for _, v in points], default=1)
        low = 0.0
    else:
        values = [v for _, _, points in series for _, v in points]
        low, high = min(values, default=0), max(values, default=1)
        if low > 0 and low < 0.6 * high or high <= low:
            low = min(0.0, low)
    high = high + (0.06 * (high - low) or 1)
    first = min((points[0][0] for _, _, points in series), default=0)
    last = max((points[-1][0] for _, _, points in series), default=1)
    if last <= first:
        last = first + 1

    def place(t, v):
        return f"{left + (x + w - 14 - left) * (t - first) / (last - first):.1f},{bottom - (bottom - top) * (v - low) / (high - low):.1f}"

    for tick in ticks(low, high):
        line_y = float(place(first, tick).split(",")[1])
        out.append(f'<path d="M{left} {line_y:.1f}H{x + w - 14}" stroke="{FAINT}"/>'
                   f'<text x="{left - 6}" y="{line_y + 4:.1f}" text-anchor="end" fill="{TEXT}" fill-opacity=".7">{escape(shown(tick, unit))}</text>')
    for i in range(5):
        t = first + (last - first) * i / 4
        anchor = "start" if i == 0 else "end" if i == 4 else "middle"
        out.append(f'<text x="{place(t, low).split(",")[0]}" y="{bottom + 14}" text-anchor="{anchor}" fill="{TEXT}" fill-opacity=".7">{t - first:.0f} s</text>')
    if stacked:
        for name, lower, upper in drawn:
            path = " ".join(place(*p) for p in upper) + " " + " ".join(place(*p) for p in reversed(lower))
            out.append(f'<polygon points="{path}" fill="{colour_of[name]}" fill-opacity=".35"/>'
                       f'<polyline points="{" ".join(place(*p) for p in upper)}" fill="none" stroke="{colour_of[name]}" stroke-width="1.5"/>')
    for name, _, points in series:
        if not stacked or name in beside:
            dash = ' stroke-dasharray="6 4"' if "full rank" in name or "dense" in name else ""
            out.append(f'<polyline points="{" ".join(place(*p) for p in points)}" fill="none" stroke="{colour_of[name]}" stroke-width="1.8"{dash}/>')
    legend(out, series, x + 14, y + h - 10, w - 20, colour_of)


def numbers(out, panel, series, x, y, w, h):
    unit = panel["fieldConfig"]["defaults"].get("unit", "none")
    latest = {name: points[-1][1] for name, _, points in series}
    for i, (name, value) in enumerate(latest.items()):
        middle = x + w * (i + 0.5) / len(latest)
        out.append(f'<text x="{middle:.0f}" y="{y + h / 2 + 16:.0f}" text-anchor="middle" font-size="26" fill="{COLOURS[0]}">{escape(shown(value, unit))}</text>'
                   f'<text x="{middle:.0f}" y="{y + h / 2 + 38:.0f}" text-anchor="middle" fill="{TEXT}">{escape(name)}</text>')


def bars(out, panel, series, x, y, w, h):
    unit = panel["fieldConfig"]["defaults"].get("unit", "none")
    latest = sorted({name: points[-1][1] for name, _, points in series}.items(), key=lambda item: -item[1])[:8]
    most = max((v for _, v in latest), default=1) or 1
    step = (h - 44) / max(1, len(latest))
    for i, (name, value) in enumerate(latest):
        top = y + 34 + step * i
        out.append(f'<text x="{x + 230}" y="{top + step / 2 + 4:.0f}" text-anchor="end" fill="{TEXT}">{escape(name)}</text>'
                   f'<rect x="{x + 240}" y="{top + 3:.0f}" width="{(w - 350) * value / most:.0f}" height="{step - 6:.0f}" fill="{COLOURS[i % len(COLOURS)]}" fill-opacity=".7"/>'
                   f'<text x="{x + 248 + (w - 350) * value / most:.0f}" y="{top + step / 2 + 4:.0f}" fill="{TEXT}">{escape(shown(value, unit))}</text>')


def table(out, _, series, x, y, w, h):
    columns = sorted({key for _, labels, _ in series for key in labels if key not in ("__name__", "endpoint", "container", "job", "cluster", "namespace", "pod")})[:8]
    rows = [labels for _, labels, _ in series][:6]
    for i, column in enumerate(columns):
        at = x + 14 + (w - 20) * i / len(columns)
        out.append(f'<text x="{at:.0f}" y="{y + 48}" fill="{COLOURS[2]}">{escape(column)}</text>')
        for j, labels in enumerate(rows):
            out.append(f'<text x="{at:.0f}" y="{y + 72 + 22 * j}" fill="{TEXT}">{escape(labels.get(column, ""))}</text>')


DRAW = {"timeseries": lines, "stat": numbers, "bargauge": bars, "table": table}


def draw(board, stem, kept):
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"]) * UNIT_Y + 44
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{24 * UNIT_X}" height="{height}" font-family="Inter, Helvetica, sans-serif" font-size="11">',
           f'<rect width="100%" height="100%" fill="{BACK}"/><text x="12" y="28" font-size="17" fill="{TEXT}">{escape(board["title"])}</text>']
    for panel in board["panels"]:
        at = panel["gridPos"]
        x, y, w, h = at["x"] * UNIT_X + GAP / 2, at["y"] * UNIT_Y + 42, at["w"] * UNIT_X - GAP, at["h"] * UNIT_Y - GAP
        title = next((one["shown"] for one in kept if (one["dashboard"], one["panel"]) == (stem, panel["title"])), panel["title"])
        out.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="2" fill="{PANEL}"/>'
                   f'<text x="{x + 10}" y="{y + 20}" font-size="13" fill="{TEXT}">{escape(title)}</text>')
        DRAW[panel["type"]](out, panel, series_of(panel, kept, stem), x, y, w, h)
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    kept = json.loads(pathlib.Path(sys.argv[1]).read_text())
    to = pathlib.Path(sys.argv[2])
    to.mkdir(parents=True, exist_ok=True)
    for path in sorted(HERE.glob("*.json")):
        (to / f"{path.stem}.svg").write_text(draw(json.loads(path.read_text()), path.stem, kept))


if __name__ == "__main__":
    main()
