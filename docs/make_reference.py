#!/usr/bin/env python3
"""Writes docs/reference/ from what is described: the programs' own help, the .proto files, the help texts of the series, the job file.

    make_reference.py BIN [--check]      BIN: folder of the built programs; --check: says what is out of date, and writes nothing
"""

import difflib
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto/galleon/v1"


def help_of(binaries, *command):
    path = binaries / command[0]
    text = subprocess.run([path, *command[1:], "--help"], capture_output=True, text=True, check=True).stdout
    # Where it was built is nobody's default.
    text = text.replace(str(path), command[0]).replace(str(binaries), "/usr/bin")
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def subcommands(text):
    part = text.split("Subcommands:", 1)
    return re.findall(r"^  ([a-z][a-z-]*)(?: |$)", part[1], re.MULTILINE) if len(part) > 1 else []


def cli(binaries):
    out = ["# Command line", "", "What each program says with `--help`. `galleon COMMAND --help` shows the same in the terminal; the Debian package installs",
           "manual pages and completion."]

    def add(level, *command):
        text = help_of(binaries, *command)
        out.extend(["", f"{'#' * level} `{' '.join(command)}`", "", "```", text, "```"])
        for name in subcommands(text):
            if name != "help":
                add(min(level + 1, 4), *command, name)

    for program in ("galleon", "galleon-scheduler", "galleon-worker"):
        add(2, program)
    return "\n".join(out) + "\n"


STRING = r'"((?:[^"\\]|\\.)*)"'


def metrics(_):
    """Each series' name, kind and help stand together in the sources."""
    out = ["# Metrics", "", "The series of `--metrics HOST:PORT`, Prometheus' text format. Durations are in seconds, sizes in bytes. Job series exist only while a worker",
           "holds the job, and carry `job_id` and `attempt`; `galleon_job_info` adds what the job is, to join with."]
    kinds = {"Gauge": "gauge", "Counter": "counter", "Histogram": "histogram", "kGauge": "gauge", "kCounter": "counter"}
    for title, files in (("Scheduler", ["server/api/metrics.cc"]), ("Worker", ["worker/daemon/job_metrics.cc"]),
                         ("Both", ["common/net/disk_space.cc", "common/net/certificate_expiry.cc"])):
        rows = {}
        for file in files:
            text = re.sub(r"\s*\n\s*", " ", (ROOT / file).read_text())
            text = re.sub(r'" "', "", text)
            for found in re.finditer(rf'(?:Build(\w+)\(\)[^;"]*)?"(galleon_\w+)",? {STRING}(?:, (k\w+))?', text):
                builder, name, described, kind = found.groups()
                rows[name] = (kinds.get(builder or kind, "gauge"), described.rstrip("."))
        out += ["", f"## {title}", "", "| series | kind | |", "|---|---|---|"]
        out += [f"| `{name}` | {kind} | {described} |" for name, (kind, described) in rows.items()]
    return "\n".join(out) + "\n"


def comment_above(lines, at):
    """The comment that ends on the line before `at`."""
    begin = at
    while begin > 0 and lines[begin - 1].strip().startswith("//"):
        begin -= 1
    return " ".join(line.strip().lstrip("/").strip() for line in lines[begin:at])


def reasons():
    """The words of ErrorInfo, each with the code that its comment begins with."""
    text = re.search(r"enum Reason \{(.*?)\n  \}", (PROTO / "error.proto").read_text(), re.DOTALL).group(1)
    rows = []
    for word, comment in re.findall(r"^ +([A-Z_]+) = [1-9]\d*; *// (.*)$", text, re.MULTILINE):
        found = re.match(r"([A-Z_]+): (.*)", comment)
        code, meaning = found.groups() if found else ("any", comment)
        rows.append(f"| `{word}` | {code} | {meaning} |")
    return rows


def api(_):
    out = ["# API", "", "gRPC, package `galleon.v1`, with the standard health and reflection services. Beyond loopback a call needs a client's certificate or a token",
           "(`authorization: Bearer …`), see [operate.md](../operate.md). Errors are `google.rpc.Status` with `ErrorInfo` (domain `galleon`) and, for bad fields,",
           "`BadRequest`. Fields of messages are described in the `.proto` files named here."]
    for path in sorted(PROTO.glob("*.proto")):
        lines = path.read_text().splitlines()
        service = None
        for at, line in enumerate(lines):
            if found := re.match(r"service (\w+) \{", line):
                service = found.group(1)
                out += ["", f"## {service}", "", f"`proto/galleon/v1/{path.name}`. {comment_above(lines, at)}".rstrip(), "", "| method | takes | answers | |", "|---|---|---|---|"]
            elif found := re.match(r"\s+rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\)", line):
                name, _, request, stream, response = found.groups()
                out.append(f"| `{name}` | `{request}` | {'a stream of ' if stream else ''}`{response}` | {comment_above(lines, at)} |")
    out += ["", "## Reasons", "", "The `reason` of an error's `ErrorInfo`, stable across versions; where none of these words fits, it is the code's name.", "",
            "| reason | code | |", "|---|---|---|", *reasons()]
    return "\n".join(out) + "\n"


def job_file(binaries):
    return ("# Job file\n\nYAML; relative paths count from the file's folder. What `galleon job-file` prints.\n\n"
            + subprocess.run([binaries / "galleon", "job-file"], capture_output=True, text=True, check=True).stdout
            + "\n## `model.overrides`\n\nFields of a Hugging Face `config.json`, with its meaning and its defaults, for example "
            + "`overrides: {num_hidden_layers: 6, rope_scaling: {rope_type: linear, factor: 2}}`. Accepted:\n\n"
            + ", ".join(f"`{name}`" for name in override_fields()) + ".\n")


def override_fields():
    text = (ROOT / "worker/engine/model/model_config_json.cc").read_text()
    return re.findall(STRING, re.search(r"kKnown\[\] = \{(.*?)\};", text, re.DOTALL).group(1))


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    binaries = pathlib.Path(arguments[0]).resolve()
    stale = False
    for name, make in (("cli", cli), ("metrics", metrics), ("api", api), ("job-file", job_file)):
        path = ROOT / "docs/reference" / f"{name}.md"
        text = make(binaries)
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale = True
            before = path.read_text().splitlines() if path.exists() else []
            print("\n".join(list(difflib.unified_diff(before, text.splitlines(), str(path), "generated", lineterm=""))[:40]))
    if stale:
        sys.exit("docs/reference is out of date; write it again: docs/make_reference.py build/bin")


if __name__ == "__main__":
    main()
