#!/usr/bin/env python3
"""Writes docs/reference/ from what is described: the programs' own help, the .proto files, the help texts of the series, the job file.

    make_reference.py BIN [--check]      BIN: folder of the built programs; --check: says what is out of date, and writes nothing
"""

import difflib
import json
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


# The labels of each series, beside those that Prometheus adds; tests/deploy/monitoring_test.py holds them against real scrapes.
JOB = "job_id attempt"
RANK = "job_id attempt rank"
LABELS = {
    "galleon_jobs": "queue state", "galleon_jobs_held": "queue", "galleon_slots": "state", "galleon_slots_pending": "queue device labels",
    "galleon_workers": "state", "galleon_queue_wait_seconds": "queue", "galleon_attempt_duration_seconds": "outcome",
    "galleon_attempts_lost_total": "reason", "galleon_evictions_total": "reason", "galleon_jobs_forgotten_total": "queue reason",
    "galleon_project_queued_jobs": "project", "galleon_project_folder_bytes": "project", "galleon_project_log_bytes": "project",
    "galleon_project_quota": "project resource", "galleon_quota_refusals_total": "project resource",
    "galleon_notifications_sent_total": "receiver", "galleon_notifications_failed_total": "receiver",
    "galleon_notifications_given_up_total": "receiver", "galleon_notifications_behind_seconds": "receiver",
    "galleon_grpc_requests_total": "method code", "galleon_connections": "state", "galleon_connections_refused_total": "reason",
    "galleon_worker_processor_info": "model architecture features instruction_set", "galleon_worker_library_fits": "library version kernels",
    "galleon_worker_gpu_info": "slot uuid name", "galleon_worker_gpu_healthy": "slot uuid", "galleon_worker_gpu_memory_bytes": "slot uuid state",
    "galleon_worker_gpu_temperature_celsius": "slot uuid", "galleon_worker_gpu_utilisation_ratio": "slot uuid", "galleon_worker_slots": "state",
    "galleon_job_memory_bytes": f"{RANK} category", "galleon_job_memory_peak_bytes": RANK, "galleon_job_memory_resident_bytes": RANK,
    "galleon_job_memory_limit_bytes": f"{RANK} device", "galleon_rank_info": f"{RANK} device slot gpu_uuid",
    "galleon_job_rank_waited_seconds_total": RANK, "galleon_job_communication_bytes_total": f"{JOB} operation",
    "galleon_job_communication_content_bytes_total": f"{JOB} content",
    "galleon_job_info": f"{JOB} name queue model ranks optimizer galore_rank", "galleon_build_info": "program version",
}


def labels_of(series):
    return LABELS.get(series, JOB if series.startswith("galleon_job_") else "").split()


def described_series():
    """By title: each series' name, kind and help, which stand together in the sources."""
    kinds = {"Gauge": "gauge", "Counter": "counter", "Histogram": "histogram", "kGauge": "gauge", "kCounter": "counter"}
    found_in = {}
    for title, files in (("Scheduler", ["server/api/metrics.cc", "server/api/serving_metrics.cc", "common/net/connection_metrics.cc"]), ("Worker", ["worker/daemon/job_metrics.cc"]),
                         ("Both", ["common/net/disk_space.cc", "common/net/certificate_expiry.cc", "common/net/own_metrics.cc"])):
        rows = found_in[title] = {}
        for file in files:
            text = re.sub(r"\s*\n\s*", " ", (ROOT / file).read_text())
            text = re.sub(r'" "', "", text)
            for found in re.finditer(rf'(?:Build(\w+)\(\)[^;"]*)?"((?:galleon|process)_\w+)",? {STRING}(?:, (k\w+))?', text):
                builder, name, described, kind = found.groups()
                rows[name] = (kinds.get(builder or kind, "counter" if name.endswith("_total") else "gauge"), described.rstrip("."))
    return found_in


def metrics(_):
    out = ["# Metrics", "", "The series of `--metrics HOST:PORT`, Prometheus' text format. Durations are in seconds, sizes in bytes.", "",
           "Every series of a worker has the label `worker`, its `--name`, beside the labels that stand below. A scheduler's have none of their own, and of several",
           "that share a store only the one that serves has more than `galleon_scheduler_serving`, what is the process' own and its certificate's. Where one Prometheus",
           "reads several, `cluster` or `namespace` from its targets tell them apart, and dashboards and alerts go by these. A label whose value is empty is absent.", "",
           "Series of a job exist only while a worker holds it, and until the fourth scrape after its end, or two and a half minutes; `galleon_rank_info`, and what the",
           "processes hold, end at once. A queue, a project or a receiver that is gone takes its gauges along. Label sets of `galleon_slots_pending` are 50 at most: `labels=\"other\"` is the rest."]
    for title, rows in described_series().items():
        out += ["", f"## {title}", "", "| series | kind | labels | |", "|---|---|---|---|"]
        out += [f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels_of(name))} | {described} |" for name, (kind, described) in rows.items()]
    out += ["", """## What labels mean

| label | |
|---|---|
| `worker` | a worker's name |
| `job_id`, `attempt`, `rank` | which job (not its name, which several may share), which attempt of it, which of its ranks |
| `name`, `queue`, `model`, `ranks`, `optimizer`, `galore_rank` | of `galleon_job_info`: what the job file says; `galore_rank` 0: full rank |
| `slot`, `device`, `gpu_uuid`, `uuid` | of a worker: its slot, from 0; whether it is a GPU (`cuda`) or a share of the processors (`cpu`); the UUID of the GPU as its driver knows it |
| `device`, `labels` of `galleon_slots_pending` | `resources.device` of the jobs; the labels that they ask workers for, such as `pool=a,zone=b` |
| `category` | what memory is for: weights, gradients, optimizer_states, subspaces, activations, workspace |
| `state`, `outcome`, `reason`, `code`, `method`, `operation`, `content`, `resource` | words of the service, as in the [API](api.md): a fixed number of them |

## Joins

What a job is, beside one of its figures. `max by` makes one series of several scrapes of the same worker, without which Prometheus refuses a join:

```
max by (namespace, job_id) (galleon_job_loss)
  * on (namespace, job_id) group_left (name, queue, model) max by (namespace, job_id, name, queue, model) (galleon_job_info)
```

The GPU of a rank in the series of NVIDIA's DCGM exporter, which calls it `UUID`, and whose own `pod` and `namespace` are not those of the worker where labels are not honoured:

```
max by (UUID) (DCGM_FI_DEV_GPU_UTIL)
  * on (UUID) group_right () label_replace(max by (gpu_uuid, worker, job_id, rank) (galleon_rank_info{gpu_uuid!=""}), "UUID", "$1", "gpu_uuid", "(.*)")
```

Workers that come with the queue (KEDA's `prometheus` trigger, or an adapter's external metric), for a group of workers with the label `pool: a`:

```
sum(max by (queue, device, labels) (galleon_slots_pending{namespace="galleon", device=~"auto|cuda", labels=~"(.*,)?pool=a(,.*)?"}))
  + sum(max by (worker) (galleon_worker_slots{namespace="galleon", worker=~"r-galleon-gpu-.*", state="used"}))
```"""]
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


def openapi(binaries):
    return subprocess.run([binaries / "galleon-scheduler", "--openapi"], capture_output=True, text=True, check=True).stdout


def http(binaries):
    description = json.loads(openapi(binaries))
    out = ["# HTTP and JSON", "", "What `galleon-scheduler --http HOST:PORT` serves, from the description that it serves itself, [`/openapi.json`](openapi.json). Messages are those of the",
           "[gRPC API](api.md), with its names and the words of the job file; 64-bit numbers are strings. See [page.md](../page.md) for tokens, streams and bounds.", "",
           "| | parameters | answers | |", "|---|---|---|---|"]
    for path, operations in description["paths"].items():
        for verb, operation in operations.items():
            names = [f"`{p['name']}`" for p in operation["parameters"] if p["in"] == "query"]
            body = operation.get("requestBody")
            if body:
                schema = body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
                names += [f"`{name}` in the body" for name in description["components"]["schemas"][schema]["properties"]]
            kind, content = next(iter(operation["responses"]["200"]["content"].items()))
            answer = "events" if kind == "text/event-stream" else f"`{content['schema']['$ref'].rsplit('/', 1)[1]}`"
            out.append(f"| `{verb.upper()} {path}` | {', '.join(names)} | {answer} | {operation['summary']} |")
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
    for name, make in (("cli.md", cli), ("metrics.md", metrics), ("api.md", api), ("job-file.md", job_file), ("http.md", http), ("openapi.json", openapi)):
        path = ROOT / "docs/reference" / name
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
