#!/usr/bin/env python3
"""Which room may include which, held against the includes of the tree; and the drawing of it.

  rooms.py --check SOURCE    exits 1 and names each include that the order forbids
  rooms.py --draw SOURCE     the picture of docs/images/rooms.svg, from the includes that are there
"""
import argparse
import os
import re
import sys

# A room is a folder with all below it, unless that is a room of its own. It may include itself and what stands here.
ROOMS = {
    "common/base": [],
    "common/net": ["common/base"],
    "proto/jobfile": ["galleon/v1", "common/base"],
    "kernels": ["common/base"],
    "worker/engine/ground": ["kernels", "common/base"],
    "worker/engine/storage": ["common/base"],
    "worker/engine/tracking": ["common/base"],
    "worker/engine/data": ["worker/engine/storage", "worker/engine/ground", "kernels", "common/base"],
    "worker/engine/model": ["worker/engine/ground", "kernels", "common/base"],
    "worker/engine/ranks": ["worker/engine/ground", "kernels", "common/base"],
    "worker/engine/optim": ["worker/engine/ranks", "worker/engine/ground", "kernels", "common/base"],
    "worker/engine/checkpoint": ["worker/engine/optim", "worker/engine/ranks", "worker/engine/model", "worker/engine/storage",
                                 "worker/engine/ground", "kernels", "common/base"],
    "worker/engine/run": ["worker/engine/checkpoint", "worker/engine/data", "worker/engine/storage", "worker/engine/tracking", "worker/engine/optim",
                          "worker/engine/ranks", "worker/engine/model", "worker/engine/ground", "kernels", "galleon/v1", "common/base"],
    "worker/trainer": ["worker/engine/run", "worker/engine/checkpoint", "worker/engine/data", "worker/engine/storage", "worker/engine/optim",
                       "worker/engine/ranks", "worker/engine/model", "worker/engine/ground", "kernels", "proto/jobfile",
                       "galleon/v1", "common/base"],
    "worker/daemon": ["proto/jobfile", "galleon/v1", "common/net", "common/base"],
    "server/core": ["galleon/v1", "common/base"],
    "server/store": ["server/core", "galleon/v1", "common/base"],
    "server/notify": ["server/core", "galleon/v1", "common/base"],
    "server/page": ["common/base"],
    "server/http": ["server/page", "proto/jobfile", "galleon/v1", "common/net", "common/base"],
    "server/api": ["server/http", "server/store", "server/notify", "server/core", "proto/jobfile", "galleon/v1", "common/net", "common/base"],
    "client": ["proto/jobfile", "galleon/v1", "common/net", "common/base"],
}
# galleon/v1 are the messages and services that the build makes from proto/galleon/v1.
GENERATED = "galleon/v1"

# Where a room is drawn, from the left; how high follows from what it includes.
COLUMNS = {"worker/engine/storage": 0, "worker/engine/data": 0, "worker/engine/tracking": 2, "kernels": 1, "worker/engine/ground": 1, "worker/engine/model": 1, "worker/engine/ranks": 2,
           "worker/engine/optim": 2, "worker/engine/checkpoint": 1.5, "worker/engine/run": 1, "worker/trainer": 2, "common/base": 2.5,
           "proto/jobfile": 3, "common/net": 4.5, "worker/daemon": 4, "client": 5, "server/core": 6, "server/store": 6, "server/notify": 5, "server/page": 3.5, "server/http": 4, "server/api": 6}

# Libraries and headers that a room (and those below it) must not know.
SERVICE = ["grpc*", "prometheus/"]
FORBIDDEN = {
    "kernels": SERVICE,
    "worker/engine": SERVICE,
    "worker/trainer": SERVICE,
    # Decisions are pure: no disk, no network, no clock, no thread.
    "server/core": SERVICE + ["sqlite3.h", "thread", "mutex", "chrono", "fstream", "filesystem", "absl/synchronization/"],
    "server/store": SERVICE,
    "server/notify": SERVICE + ["sqlite3.h"],
    "common/base": SERVICE + ["galleon/"],
    "worker/daemon": ["sqlite3.h"],
    "client": ["sqlite3.h"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)
SOURCES = (".h", ".cc", ".cu", ".cuh")


def room_of(path):
    """The room that a path lies in, or None."""
    inside = [room for room in [*ROOMS, GENERATED] if path.startswith(room + "/")]
    return max(inside, key=len, default=None)


def sources(root):
    for top in sorted({room.split("/")[0] for room in ROOMS}):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith(SOURCES):
                    yield os.path.relpath(os.path.join(folder, name), root)


def includes(root):
    """(file, header) for each include of each source."""
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            for quoted, angled in INCLUDE.findall(file.read()):
                yield path, quoted or angled


def names(forbidden, header):
    """Whether a header is the forbidden one; "grpc*" and "absl/synchronization/" stand for all that begin so."""
    if forbidden.endswith(("*", "/")):
        return header.startswith(forbidden.rstrip("*"))
    return header == forbidden


def faults(root):
    found = []
    for path, header in includes(root):
        room = room_of(path)
        if room is None:
            found.append(f"{path}: lies in no room that tests/structure/rooms.py knows")
            continue
        other = room_of(header)
        if other is not None and other != room and other not in ROOMS[room]:
            found.append(f"{path}: {room} must not include {header}")
        for below, headers in FORBIDDEN.items():
            if not path.startswith(below + "/"):
                continue
            found += [f"{path}: {below} must not know {header}" for name in headers if names(name, header)]
    # The order itself has no circle: each room lists rooms that stand before it.
    seen = {GENERATED}
    for room, below in ROOMS.items():
        found += [f"{room}: {other} stands behind it" for other in below if other not in seen]
        seen.add(room)
    return sorted(set(found))


def arrows(root):
    """Arrows that are there, without those that a longer way says too."""
    direct = {room: set() for room in ROOMS}
    for path, header in includes(root):
        room, other = room_of(path), room_of(header)
        if room and other and other != room and other != GENERATED:
            direct[room].add(other)

    def reach(room):
        below = set()
        for other in direct[room]:
            below |= {other} | reach(other)
        return below

    return {room: {other for other in below if not any(other in reach(third) for third in below if third != other)}
            for room, below in direct.items()}


def draw(root):
    drawn = arrows(root)
    floor = {}
    for room in ROOMS:  # those below come first
        floor[room] = 1 + max((floor[other] for other in drawn[room]), default=-1)
    width, height, gap_x, gap_y, left, top = 178, 34, 18, 52, 20, 20
    floors = [[room for room in ROOMS if floor[room] == n] for n in range(max(floor.values()) + 1)]
    whole = left * 2 + (max(COLUMNS.values()) + 1) * (width + gap_x) - gap_x
    tall = top * 2 + len(floors) * (height + gap_y) - gap_y
    place = {}
    for n, rooms in enumerate(floors):
        for room in rooms:
            place[room] = (left + COLUMNS[room] * (width + gap_x), tall - top - height - n * (height + gap_y))
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:.0f}" height="{tall:.0f}" viewBox="0 0 {whole:.0f} {tall:.0f}" '
             'font-family="sans-serif" font-size="13">',
             '<title>The rooms of the code; arrows point to what a room includes</title>',
             '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
             '<path d="M0 0 8 4 0 8z" fill="#667"/></marker></defs>',
             f'<rect width="{whole:.0f}" height="{tall:.0f}" fill="#fff"/>']
    for room, below in drawn.items():
        for other in sorted(below):
            x1, y1 = place[room][0] + width / 2, place[room][1] + height
            x2, y2 = place[other][0] + width / 2, place[other][1] - 1
            bend = (y2 - y1) * 0.45
            lines.append(f'<path d="M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}" '
                         'fill="none" stroke="#667" marker-end="url(#tip)"/>')
    for room, (x, y) in place.items():
        engine = room.startswith("worker/engine")
        lines.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{width}" height="{height}" rx="5" '
                     f'fill="{"#e4effa" if engine else "#f3f1ea"}" stroke="#667"/>')
        lines.append(f'<text x="{x + width / 2:.0f}" y="{y + height / 2 + 5:.0f}" text-anchor="middle" fill="#223">{room}</text>')
    return "\n".join(lines + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="SOURCE")
    parser.add_argument("--draw", metavar="SOURCE")
    arguments = parser.parse_args()
    if arguments.draw:
        sys.stdout.write(draw(arguments.draw))
        return 0
    found = faults(arguments.check)
    picture = os.path.join(arguments.check, "docs/images/rooms.svg")
    if not os.path.exists(picture) or open(picture, encoding="utf-8").read() != draw(arguments.check):
        found.append("docs/images/rooms.svg is not what the includes are: tests/structure/rooms.py --draw . > docs/images/rooms.svg")
    for fault in found:
        print(fault)
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
