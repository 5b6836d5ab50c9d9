#!/usr/bin/env python3
"""Writes Galleon's Grafana dashboards: each is a list of panels, a panel is a title, what it tells, a unit and queries.

    helm/galleon/dashboards/make_dashboards.py [--check]     --check: exit 1 if a file here is not what would be written

Each figure is known by cluster, namespace and what it is of (a job's id, a worker's name, a scheduler's instance): `max by` of
these makes one series of what several scrapes of the same target say. Nothing is joined that such a doubling could break.
Standard library only.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

WHERE = 'cluster=~"$cluster", namespace=~"$namespace"'
PLACE = "cluster, namespace"


def of_jobs(series, more="", by="", offset=""):
    """A series of the chosen jobs, one for each job, and for each value of the labels `by`."""
    matched = f'{series}{{{WHERE}, job_id=~"$job"{", " + more if more else ""}}}{offset}'
    return f"max by ({PLACE}, job_id{', ' + by if by else ''}) ({matched})"


def job_rate(series, more="", by=""):
    matched = f'{series}{{{WHERE}, job_id=~"$job"{", " + more if more else ""}}}'
    return f"max by ({PLACE}, job_id{', ' + by if by else ''}) (rate({matched}[$__rate_interval]))"


def of_schedulers(series, by="", more=""):
    return f"max by ({PLACE}, instance{', ' + by if by else ''}) ({series}{{{WHERE}{', ' + more if more else ''}}})"


def of_workers(series, by="", more=""):
    return f"max by ({PLACE}, worker{', ' + by if by else ''}) ({series}{{{WHERE}{', ' + more if more else ''}}})"


def scheduler_rate(series, by="", more="", window="$__rate_interval", function="rate"):
    return f"max by ({PLACE}, instance{', ' + by if by else ''}) ({function}({series}{{{WHERE}{', ' + more if more else ''}}}[{window}]))"


def quantile(q, series, by="", more="", window="$__rate_interval"):
    inner = scheduler_rate(f"{series}_bucket", "le" + (", " + by if by else ""), more, window)
    return f"histogram_quantile({q}, sum by (le{', ' + by if by else ''}) ({inner}))"


def beside_the_stack(name):
    """A dashed line that is not stacked on the others."""
    return {"matcher": {"id": "byName", "options": name}, "properties": [
        {"id": "custom.stacking", "value": {"mode": "none"}}, {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}}]}


class Panel:
    """One panel. `queries`: (PromQL, legend) pairs. `kind`: timeseries, stat, table, bargauge or heatmap."""

    def __init__(self, title, description, unit, queries, kind="timeseries", width=12, stacked=False, **options):
        self.title, self.description, self.unit, self.queries = title, description, unit, queries
        self.kind, self.width, self.stacked, self.options = kind, width, stacked, options

    def json(self, number, x, y, height):
        custom = {}
        if self.kind == "timeseries":
            custom = {"lineWidth": 2, "fillOpacity": 30 if self.stacked else 0, "showPoints": "never", "spanNulls": 60000,
                      "stacking": {"mode": "normal" if self.stacked else "none"}}
            if self.options.get("logarithmic"):
                custom["scaleDistribution"] = {"type": "log", "log": 2}
        defaults = {"unit": self.unit, "custom": custom}
        if "thresholds" in self.options:
            defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in self.options["thresholds"]]}
            if self.kind == "timeseries":
                custom["thresholdsStyle"] = {"mode": "line"}
            else:
                defaults["color"] = {"mode": "thresholds"}
        for key in ("min", "max", "decimals"):
            if key in self.options:
                defaults[key] = self.options[key]
        targets = [{"datasource": SOURCE, "refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend,
                    "instant": self.kind == "table", "format": {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series"),
                    "range": self.kind != "table"}
                   for i, (expr, legend) in enumerate(self.queries)]
        for target in targets:
            # The window of a rate is then four minutes at least, whatever the data source says of its scrapes.
            if "$__rate_interval" in target["expr"]:
                target["interval"] = "1m"
        shown = {"timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
                 "stat": {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}},
                 "bargauge": {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": {"calcs": ["lastNotNull"]}},
                 "table": {"showHeader": True, "cellHeight": "sm"},
                 "heatmap": {"calculate": False, "yAxis": {"unit": self.unit}, "color": {"scheme": "Oranges"}}}[self.kind]
        panel = {"id": number, "type": self.kind, "title": self.title, "description": self.description, "datasource": SOURCE,
                 "gridPos": {"x": x, "y": y, "w": self.width, "h": height},
                 "fieldConfig": {"defaults": defaults, "overrides": [beside_the_stack(name) for name in self.options.get("beside", ())]}, "options": shown, "targets": targets}
        if "repeat" in self.options:
            panel.update({"repeat": self.options["repeat"], "repeatDirection": "h", "maxPerRow": 3})
        if self.kind == "table":
            panel["transformations"] = [{"id": "organize", "options": {"excludeByName": {
                "Time": True, "Value": True, "__name__": True, "instance": True, "job": True, "namespace": True, "pod": True,
                "container": True, "endpoint": True, "service": True}}}]
        return panel


def variable(name, label, query, every=".*"):
    """`every`: what All stands for; None: for all that the query finds."""
    made = {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
            "definition": query, "refresh": 2, "multi": True, "includeAll": True, "sort": 1, "current": {"text": ["All"], "value": ["$__all"]}}
    return {**made, "allValue": every} if every else made


def annotation(name, color, expr, title, text):
    return {"name": name, "datasource": SOURCE, "enable": True, "iconColor": color, "expr": expr, "step": "60s", "titleFormat": title,
            "textFormat": text, "useValueForTime": False}


def new(series):
    """Where a figure is there that was not a minute ago, or was another."""
    return f'{of_jobs(series, by="attempt")} unless {of_jobs(series, by="attempt")} == {of_jobs(series, by="attempt", offset=" offset 1m")}'


ANNOTATIONS = [
    annotation("Restarts", "orange", f'({new("galleon_job_attempt")}) > 1', "attempt {{attempt}}", "{{job_id}} has started again"),
    annotation("Checkpoints", "green", new("galleon_job_checkpoint_step"), "checkpoint", "{{job_id}}"),
    annotation("Preemptions", "red",
               f'sum by (reason) ({scheduler_rate("galleon_evictions_total", by="reason", window="2m", function="increase")}) > 0',
               "told to make room", "{{reason}}"),
]


def dashboard(uid, title, description, panels, jobs=True):
    variables = [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
                  "current": {}},
                 variable("cluster", "Cluster", "label_values(galleon_build_info, cluster)"),
                 variable("namespace", "Namespace", 'label_values(galleon_build_info{cluster=~"$cluster"}, namespace)')]
    queues = "galleon_job_info" if jobs else "galleon_jobs"
    variables.append(variable("queue", "Queue", f"label_values({queues}{{{WHERE}}}, queue)"))
    if jobs:
        variables.append(variable("job", "Job", f'label_values(galleon_job_info{{{WHERE}, queue=~"$queue"}}, job_id)', every=None))
    placed, x, y = [], 0, 0
    for number, panel in enumerate(panels, 1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > 24:
            x, y = 0, y + placed[-1]["gridPos"]["h"]
        placed.append(panel.json(number, x, y, height))
        x += panel.width
    return {"uid": uid, "title": title, "description": description, "tags": ["galleon"], "schemaVersion": 39, "version": 2,
            "editable": True, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "",
            "templating": {"list": variables}, "annotations": {"list": ANNOTATIONS if jobs else ANNOTATIONS[2:]}, "panels": placed,
            "links": [{"type": "dashboards", "title": "Galleon", "tags": ["galleon"], "asDropdown": True, "keepTime": True}]}


MEMORY = of_jobs("galleon_job_memory_bytes", by="rank, category")
LIMIT = of_jobs("galleon_job_memory_limit_bytes", by="rank")
CARDS = of_jobs("galleon_job_memory_limit_bytes", more='device="cuda"', by="rank")
SAVED = f'max by ({PLACE}, job_id) (galleon_job_optimizer_full_rank_bytes{{{WHERE}, job_id=~"$job"}} * galleon_job_optimizer_saved_ratio)'
ON_CPU = 'device="cpu"'
TIGHT = [(None, "green"), (0.9, "orange"), (0.98, "red")]

OPTIMIZER_MEMORY = dashboard(
    "galleon-optimizer-memory", "Galleon / Optimizer memory",
    "What low-rank training saves: the ledger's own bytes, against full rank and against the card.", [
        Panel("Optimizer memory saved", "1 − (moments + subspaces) / moments of the same rule at full rank, as the ledger counts both.",
              "percentunit", [(of_jobs("galleon_job_optimizer_saved_ratio"), "{{job_id}}")], "stat", 8, min=0, max=1),
        Panel("Peak of a rank", "The largest sum over all categories so far, of the rank that has the most.", "bytes",
              [(of_jobs("galleon_job_memory_peak_bytes"), "{{job_id}}")], "stat", 8),
        Panel("Of the slot", "What the ledger counts now over what the slot has, the memory of its GPU or a share of the machine's, of the fullest rank.",
              "percentunit", [(f"max by ({PLACE}, job_id) (sum by ({PLACE}, job_id, rank) ({MEMORY}) / {LIMIT})", "{{job_id}}")], "stat", 8,
              min=0, max=1, thresholds=TIGHT),
        Panel("$job", "Every allocation of a trainer has a category; the plan shows the same figures before the job starts. Of all ranks together, beside the "
              "same with the optimizer's state of full rank, and beside the memory of their cards.",
              "bytes", [(f"sum by (category) ({MEMORY})", "{{category}}"), (f"sum({MEMORY}) + sum({SAVED})", "at full rank"),
                        (f"sum({CARDS})", "cards")], stacked=True, repeat="job", beside=("at full rank", "cards"), width=24),
        Panel("Memory by rank", "Each rank's own ledger.", "bytes", [(f"sum by ({PLACE}, job_id, rank) ({MEMORY})", "{{job_id}} rank {{rank}}")], min=0),
        Panel("Optimizer state against full rank", "Moments and subspaces of all ranks, beside the moments that the same rule would hold at full rank.",
              "bytes", [(f'{of_jobs("galleon_job_optimizer_full_rank_bytes")} - {SAVED}', "{{job_id}}"),
                        (of_jobs("galleon_job_optimizer_full_rank_bytes"), "{{job_id}}, full rank")], min=0),
        Panel("Of a slot that is a share of the machine", "What a rank's processes hold of the machine's memory, over what their slot offers.", "percentunit",
              [(f'{of_jobs("galleon_job_memory_resident_bytes", by="rank")} / {of_jobs("galleon_job_memory_limit_bytes", more=ON_CPU, by="rank")}',
                "{{job_id}} rank {{rank}}")], min=0, thresholds=TIGHT),
        Panel("By job", "Bytes of rank 0 that belong to the optimizer.", "bytes",
              [(of_jobs("galleon_job_memory_bytes", more='rank="0", category=~"optimizer_states|subspaces|gradients"', by="category"),
                "{{job_id}} {{category}}")], "bargauge"),
    ])

MEAN_STEP = f'max by ({PLACE}, job_id) (galleon_job_step_seconds_total{{{WHERE}, job_id=~"$job"}} / (galleon_job_steps_total > 0))'
STEP_RATE = f'({job_rate("galleon_job_step_seconds_total")} > 0)'
ON_GPU = f'max by ({PLACE}, worker, slot, job_id, rank) (galleon_rank_info{{{WHERE}, job_id=~"$job", device="cuda"}})'


def of_gpus(series, more=""):
    """A figure of the GPU on which a rank runs. A slot has one rank, whose side may be more where scrapes differ."""
    return f'{of_workers(series, by="slot", more=more)} * on ({PLACE}, worker, slot) group_right () {ON_GPU}'


TRAINING = dashboard(
    "galleon-training", "Galleon / Training", "Losses, rates, throughput, waits, subspaces and the wire, by job.", [
        Panel("Training loss", "Before the newest logged update, in nats per target token.", "none",
              [(of_jobs("galleon_job_loss"), "{{job_id}}")], decimals=3),
        Panel("Validation loss", "Of the newest evaluation, in nats per target token.", "none",
              [(of_jobs("galleon_job_validation_loss"), "{{job_id}}")], decimals=3),
        Panel("Throughput", "Tokens a second of all ranks.", "short", [(of_jobs("galleon_job_tokens_per_second"), "{{job_id}}")], min=0),
        Panel("Progress", "Steps that are made, of those that are planned.", "percentunit",
              [(f'{of_jobs("galleon_job_step")} / {of_jobs("galleon_job_planned_steps")}', "{{job_id}}")], min=0, max=1),
        Panel("Time of a step", "Refreshes and waits included. Where nothing was logged within the window: the mean of the attempt.", "s",
              [(f'{STEP_RATE} / ({job_rate("galleon_job_steps_total")} > 0) or {MEAN_STEP}', "{{job_id}}")], min=0),
        Panel("Time left", "Planned steps that are not made, each as long as those of this attempt were on average. Evaluations and checkpoints come on top.", "s",
              [(f'({of_jobs("galleon_job_planned_steps")} - {of_jobs("galleon_job_step")}) * {MEAN_STEP}', "{{job_id}}")], min=0),
        Panel("Since the last step", "Logged or not; evaluations and checkpoints begin it anew.", "s",
              [(f'min by ({PLACE}, job_id) (galleon_job_progress_age_seconds{{{WHERE}, job_id=~"$job"}})', "{{job_id}}")], min=0,
              thresholds=[(None, "green"), (1800, "red")]),
        Panel("Waiting for data", "Part of the steps' time in which rank 0 waited for data.", "percentunit",
              [(f'{job_rate("galleon_job_data_wait_seconds_total")} / {STEP_RATE}', "{{job_id}}")], min=0, thresholds=[(None, "green"), (0.1, "orange")]),
        Panel("Waiting for other ranks", "Part of the time in which a rank waited for others. The one with the least is whom the others wait for.", "percentunit",
              [(job_rate("galleon_job_rank_waited_seconds_total", by="rank"), "{{job_id}} rank {{rank}}")], min=0),
        Panel("Slowest rank", "The one that the others waited for most since the last logged step.", "none",
              [(of_jobs("galleon_job_slowest_rank"), "{{job_id}}")], min=0, decimals=0),
        Panel("Learning rate", "As the newest logged update used it.", "sci", [(of_jobs("galleon_job_learning_rate"), "{{job_id}}")]),
        Panel("Gradient norm", "In the space that clipping looks at. The axis is logarithmic.", "none",
              [(of_jobs("galleon_job_gradient_norm"), "{{job_id}}")], logarithmic=True),
        Panel("Overlap of successive subspaces", "‖P_oldᵀ·P_new‖²/r: 1 is the same subspace. Above `lazy_threshold` refreshes become rarer. Jobs at full rank have none.",
              "percentunit", [(of_jobs("galleon_job_subspace_overlap_ratio"), "{{job_id}}")], min=0, max=1),
        Panel("Energy kept by subspaces", "‖G·P‖²/‖G‖² of matrices that were refreshed: a low rank that keeps little learns little.",
              "percentunit", [(of_jobs("galleon_job_subspace_energy_ratio"), "{{job_id}}")], min=0, max=1),
        Panel("Time in refreshes", "Part of the steps' time that went into new subspaces.", "percentunit",
              [(f'{job_rate("galleon_job_subspace_refresh_seconds_total")} / {STEP_RATE}', "{{job_id}}")], min=0),
        Panel("Bytes on the wire", "Sent by rank 0, by operation, beside what dense gradients would have cost.", "Bps",
              [(job_rate("galleon_job_communication_bytes_total", by="operation"), "{{job_id}} {{operation}}"),
               (job_rate("galleon_job_communication_dense_bytes_total"), "{{job_id}}, dense gradients")], min=0),
        Panel("GPU in use", "Part of the last moments in which a kernel ran, on the GPU of each rank.", "percentunit",
              [(of_gpus("galleon_worker_gpu_utilisation_ratio"), "{{job_id}} rank {{rank}}")], min=0, max=1),
        Panel("Memory of the GPU", "What its driver calls used, by whomever, on the GPU of each rank.", "bytes",
              [(of_gpus("galleon_worker_gpu_memory_bytes", more='state="used"'), "{{job_id}} rank {{rank}}")], min=0),
    ])

LEFT = [(None, "red"), (0.1, "green")]
QUEUE = 'queue=~"$queue"'
ENDED = f'{QUEUE}, state=~"succeeded|failed|cancelled"'
LIVE = ENDED.replace("=~\"succ", "!~\"succ")
USED = 'state="used"'
FLEET = dashboard(
    "galleon-fleet", "Galleon / Fleet", "Queues, slots, GPUs and workers, and how the scheduler itself is.", [
        Panel("Slots", "Of registered workers: free, leased, or unavailable.", "short",
              [(f'sum by (state) ({of_schedulers("galleon_slots", by="state")})', "{{state}}")], stacked=True, min=0),
        Panel("Slots that are waited for", "What jobs would take at once if it were there, by device and the labels that a worker must have.", "short",
              [(f'sum by (queue, device, labels) ({of_schedulers("galleon_slots_pending", by="queue, device, labels", more=QUEUE)})',
                "{{queue}} {{device}} {{labels}}")], stacked=True, min=0),
        Panel("Workers", "By state.", "short", [(f'sum by (state) ({of_schedulers("galleon_workers", by="state")})', "{{state}}")], stacked=True, min=0),
        Panel("Jobs waiting and running", "By queue.", "short",
              [(f'sum by (queue, state) ({of_schedulers("galleon_jobs", by="queue, state", more=LIVE)})',
                "{{queue}} {{state}}")], stacked=True, min=0),
        Panel("Wait before the first slot", "From being queued to slots being reserved: half of the jobs, and 95 of 100.", "s",
              [(quantile(0.5, "galleon_queue_wait_seconds", by="queue", more=QUEUE, window="10m"), "{{queue}} 50 %"),
               (quantile(0.95, "galleon_queue_wait_seconds", by="queue", more=QUEUE, window="10m"), "{{queue}} 95 %")], min=0),
        Panel("Jobs ended", "In the last hour, by queue and outcome.", "short",
              [(f'sum by (queue, state) ({scheduler_rate("galleon_jobs", by="queue, state", more=ENDED, window="1h", function="delta")})',
                "{{queue}} {{state}}")]),
        Panel("Attempts ended", "In the last hour, by outcome.", "short",
              [(f'sum by (outcome) ({scheduler_rate("galleon_attempt_duration_seconds_count", by="outcome", window="1h", function="increase")})', "{{outcome}}")]),
        Panel("Evictions and losses", "In the last hour: attempts told to stop with a checkpoint, and attempts that were lost, by reason.", "short",
              [(f'sum by (reason) ({scheduler_rate("galleon_evictions_total", by="reason", window="1h", function="increase")})', "{{reason}}"),
               (f'sum by (reason) ({scheduler_rate("galleon_attempts_lost_total", by="reason", window="1h", function="increase")})', "lost: {{reason}}")]),
        Panel("GPUs in use", "Part of the last moments in which a kernel ran.", "percentunit",
              [(of_workers("galleon_worker_gpu_utilisation_ratio", by="slot"), "{{worker}} slot {{slot}}")], min=0, max=1),
        Panel("GPU memory in use", "By whomever, as the driver counts it.", "percentunit",
              [(f'{of_workers("galleon_worker_gpu_memory_bytes", by="slot", more=USED)} / sum by ({PLACE}, worker, slot) '
                f'({of_workers("galleon_worker_gpu_memory_bytes", by="slot, state")})', "{{worker}} slot {{slot}}")], min=0, max=1, thresholds=TIGHT),
        Panel("GPU temperature", "", "celsius", [(of_workers("galleon_worker_gpu_temperature_celsius", by="slot"), "{{worker}} slot {{slot}}")]),
        Panel("GPUs that take no ranks", "Those whose driver reports a fault, or under which a rank failed.", "short",
              [(f'sum by ({PLACE}, worker) (1 - {of_workers("galleon_worker_gpu_healthy", by="slot")})', "{{worker}}")], min=0, decimals=0,
              thresholds=[(None, "green"), (1, "red")]),
        Panel("Lease left", "Of each worker, as a part of what it was given. At 0 its jobs are taken from it.", "percentunit",
              [(f'{of_workers("galleon_worker_lease_seconds")} / ({of_workers("galleon_worker_lease_length_seconds")} > 0)', "{{worker}}")], min=0, max=1,
              thresholds=[(None, "red"), (0.5, "green")]),
        Panel("Decision pass", "One look over all deadlines and queues.", "s",
              [(quantile(0.5, "galleon_decision_pass_seconds"), "50 %"), (quantile(0.99, "galleon_decision_pass_seconds"), "99 %")], min=0,
              thresholds=[(None, "green"), (0.25, "red")]),
        Panel("Journal commits", "Time until a batch of events is durable. Nothing is acknowledged before.", "s",
              [(quantile(0.5, "galleon_journal_commit_seconds"), "50 %"), (quantile(0.99, "galleon_journal_commit_seconds"), "99 %")], min=0,
              thresholds=[(None, "green"), (0.5, "red")]),
        Panel("Calls", "Answered gRPC calls by method and code.", "reqps",
              [(f'sum by (method, code) ({scheduler_rate("galleon_grpc_requests_total", by="method, code")})', "{{method}} {{code}}")], min=0),
        Panel("Disk left", "Where the scheduler keeps its journal and workers their spool, and of jobs' folders.", "percentunit",
              [(f'max by ({PLACE}, instance, worker) (galleon_disk_free_bytes{{{WHERE}}}) / max by ({PLACE}, instance, worker) (galleon_disk_size_bytes{{{WHERE}}})',
                "{{worker}} {{instance}}"),
               (f"min by ({PLACE}) (galleon_jobs_disk_free_bytes{{{WHERE}}} / galleon_jobs_disk_size_bytes)", "jobs' folders {{namespace}}")], min=0, max=1,
              thresholds=LEFT),
        Panel("Memory of the daemons", "", "bytes",
              [(f'max by ({PLACE}, instance, worker) (process_resident_memory_bytes{{{WHERE}}} and on (instance, job) galleon_build_info)', "{{worker}} {{instance}}")], min=0),
        Panel("Processors of the daemons", "Seconds of processor time in a second.", "short",
              [(f'max by ({PLACE}, instance, worker) (rate(process_cpu_seconds_total{{{WHERE}}}[$__rate_interval]) and on (instance, job) galleon_build_info)', "{{worker}} {{instance}}")],
              min=0),
        Panel("Versions", "What runs where.", "none", [(f"max by ({PLACE}, program, version, worker) (galleon_build_info{{{WHERE}}})", "")], "table"),
        Panel("Running jobs", "As the workers see them.", "none",
              [(f'max by ({PLACE}, job_id, name, queue, model, ranks, optimizer, galore_rank, attempt, worker) (galleon_job_info{{{WHERE}, queue=~"$queue"}})', "")], "table", 24),
    ], jobs=False)

FILES = {"optimizer-memory.json": OPTIMIZER_MEMORY, "training.json": TRAINING, "fleet.json": FLEET}


def main():
    wrong = []
    for name, content in FILES.items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        path = HERE / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(name)
    if wrong:
        sys.exit(f"not what make_dashboards.py writes: {', '.join(wrong)}; run it and commit the result")


if __name__ == "__main__":
    main()
