#!/usr/bin/env python3
"""Writes Galleon's Grafana dashboards: each is a list of panels, a panel is a title, what it tells, a unit and queries.

    helm/galleon/dashboards/make_dashboards.py [--check]     --check: exit 1 if a file here is not what would be written

Job series are joined with galleon_job_info, which carries the job's name, queue, model and optimizer. Standard library
only.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Names of the jobs that are chosen above, joined to a series that has job_id and attempt.
NAMED = ' * on (job_id, attempt, instance) group_left (name, queue) galleon_job_info{queue=~"$queue", name=~"$job"}'
CHOSEN = ' and on (job_id, attempt, instance) galleon_job_info{queue=~"$queue", name=~"$job"}'


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
        for key in ("min", "max", "decimals"):
            if key in self.options:
                defaults[key] = self.options[key]
        targets = [{"datasource": SOURCE, "refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend,
                    "instant": self.kind == "table", "format": {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series"),
                    "range": self.kind != "table"}
                   for i, (expr, legend) in enumerate(self.queries)]
        shown = {"timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
                 "stat": {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}},
                 "bargauge": {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": {"calcs": ["lastNotNull"]}},
                 "table": {"showHeader": True, "cellHeight": "sm"},
                 "heatmap": {"calculate": False, "yAxis": {"unit": self.unit}, "color": {"scheme": "Oranges"}}}[self.kind]
        panel = {"id": number, "type": self.kind, "title": self.title, "description": self.description, "datasource": SOURCE,
                 "gridPos": {"x": x, "y": y, "w": self.width, "h": height},
                 "fieldConfig": {"defaults": defaults, "overrides": []}, "options": shown, "targets": targets}
        if self.kind == "table":
            panel["transformations"] = [{"id": "organize", "options": {"excludeByName": {
                "Time": True, "Value": True, "__name__": True, "instance": True, "job": True, "namespace": True, "pod": True,
                "container": True, "endpoint": True, "service": True}}}]
        return panel


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
            "definition": query, "refresh": 2, "multi": True, "includeAll": True, "allValue": ".*", "sort": 1,
            "current": {"text": ["All"], "value": ["$__all"]}}


def dashboard(uid, title, description, panels, jobs=True):
    variables = [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
                  "current": {}}]
    queues = "galleon_job_info" if jobs else "galleon_jobs"
    variables.append(variable("queue", "Queue", f"label_values({queues}, queue)"))
    if jobs:
        variables.append(variable("job", "Job", 'label_values(galleon_job_info{queue=~"$queue"}, name)'))
    placed, x, y = [], 0, 0
    for number, panel in enumerate(panels, 1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > 24:
            x, y = 0, y + placed[-1]["gridPos"]["h"]
        placed.append(panel.json(number, x, y, height))
        x += panel.width
    return {"uid": uid, "title": title, "description": description, "tags": ["galleon"], "schemaVersion": 39, "version": 1,
            "editable": True, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "",
            "templating": {"list": variables}, "annotations": {"list": []}, "panels": placed,
            "links": [{"type": "dashboards", "title": "Galleon", "tags": ["galleon"], "asDropdown": True, "keepTime": True}]}


OPTIMIZER_MEMORY = dashboard(
    "galleon-optimizer-memory", "Galleon / Optimizer memory",
    "What low-rank training saves: the ledger's own bytes, against full rank and against what a slot has.", [
        Panel("Optimizer memory saved", "1 − (moments + subspaces) / moments of the same rule at full rank, as the ledger counts both.",
              "percentunit", [("galleon_job_optimizer_saved_ratio" + NAMED, "{{name}}")], "stat", 8, min=0, max=1),
        Panel("Peak of rank 0", "The largest sum over all categories so far.", "bytes",
              [("galleon_job_memory_peak_bytes" + NAMED, "{{name}}")], "stat", 8),
        Panel("Of a slot's memory", "What rank 0's processes hold, over the memory that their worker offers for each slot. Admission keeps the plan of it below 1.",
              "percentunit", [("(galleon_job_memory_resident_bytes / on (instance) group_left galleon_worker_slot_memory_bytes)" + NAMED,
                               "{{name}}")], "stat", 8, min=0, max=1),
        Panel("Memory of rank 0 by category", "Every allocation of a trainer has a category; the plan shows the same figures before the job starts.",
              "bytes", [('sum by (category) (galleon_job_memory_bytes' + CHOSEN + ")", "{{category}}")], stacked=True),
        Panel("Optimizer state against full rank", "Moments and subspaces of all ranks, beside the moments that the same rule would hold at full rank.",
              "bytes", [("sum by (name) (galleon_job_optimizer_full_rank_bytes * (1 - galleon_job_optimizer_saved_ratio)" + NAMED + ")", "{{name}}"),
               ("sum by (name) (galleon_job_optimizer_full_rank_bytes" + NAMED + ")", "{{name}}, full rank")]),
        Panel("By job", "Bytes of rank 0 that belong to the optimizer.", "bytes",
              [('sum by (name, category) (galleon_job_memory_bytes{category=~"optimizer_states|subspaces|gradients"}' + NAMED + ")",
                "{{name}} {{category}}")], "bargauge", 24),
    ])

TRAINING = dashboard(
    "galleon-training", "Galleon / Training", "Losses, rates, throughput, subspaces and the wire, by job.", [
        Panel("Training loss", "Before the newest logged update, in nats per target token.", "none",
              [("galleon_job_loss" + NAMED, "{{name}}")], decimals=3),
        Panel("Validation loss", "Of the newest evaluation, in nats per target token.", "none",
              [("galleon_job_validation_loss" + NAMED, "{{name}}")], decimals=3),
        Panel("Throughput", "Tokens a second of all ranks.", "short", [("galleon_job_tokens_per_second" + NAMED, "{{name}}")]),
        Panel("Progress", "Tokens trained on.", "short", [("galleon_job_tokens_total" + NAMED, "{{name}}")]),
        Panel("Learning rate", "As the newest logged update used it.", "sci", [("galleon_job_learning_rate" + NAMED, "{{name}}")]),
        Panel("Gradient norm", "In the space that clipping looks at.", "none",
              [("galleon_job_gradient_norm" + NAMED, "{{name}}")], logarithmic=True),
        Panel("Overlap of successive subspaces", "‖P_oldᵀ·P_new‖²/r: 1 is the same subspace. Above `lazy_threshold` refreshes become rarer.",
              "percentunit", [("galleon_job_subspace_overlap_ratio" + NAMED, "{{name}}")], min=0, max=1),
        Panel("Energy kept by subspaces", "‖G·P‖²/‖G‖² of matrices that were refreshed: a low rank that keeps little learns little.",
              "percentunit", [("galleon_job_subspace_energy_ratio" + NAMED, "{{name}}")], min=0, max=1),
        Panel("Time in refreshes", "Part of the time that went into new subspaces.", "percentunit",
              [("rate(galleon_job_subspace_refresh_seconds[1m])" + NAMED, "{{name}}")], min=0),
        Panel("Bytes on the wire", "Sent by rank 0, by operation, beside what dense gradients would have cost.", "Bps",
              [("sum by (operation) (rate(galleon_job_communication_bytes_total[1m])" + CHOSEN + ")", "{{operation}}"),
               ("sum (rate(galleon_job_communication_dense_bytes_total[1m])" + CHOSEN + ")", "dense gradients")]),
    ])

FLEET = dashboard(
    "galleon-fleet", "Galleon / Fleet", "Queues, slots and workers, and how the scheduler itself is.", [
        Panel("Slots", "Of registered workers: free, leased, or unavailable.", "short", [("galleon_slots", "{{state}}")], stacked=True, min=0),
        Panel("Workers", "By state.", "short", [("galleon_workers", "{{state}}")], stacked=True, min=0),
        Panel("Jobs waiting and running", "By queue.", "short",
              [('sum by (queue, state) (galleon_jobs{queue=~"$queue", state!~"succeeded|failed|cancelled"})', "{{queue}} {{state}}")],
              stacked=True, min=0),
        Panel("Wait before the first slot", "From being queued to slots being reserved: half of the jobs, and 95 of 100.", "s",
              [('histogram_quantile(0.5, sum by (le, queue) (rate(galleon_queue_wait_seconds_bucket{queue=~"$queue"}[10m])))', "{{queue}} 50 %"),
               ('histogram_quantile(0.95, sum by (le, queue) (rate(galleon_queue_wait_seconds_bucket{queue=~"$queue"}[10m])))', "{{queue}} 95 %")]),
        Panel("Jobs ended", "In the last hour, by queue and outcome.", "short",
              [('sum by (queue, state) (delta(galleon_jobs{queue=~"$queue", state=~"succeeded|failed|cancelled"}[1h]))', "{{queue}} {{state}}")]),
        Panel("Attempts ended", "In the last hour, by outcome.", "short",
              [("sum by (outcome) (increase(galleon_attempt_duration_seconds_count[1h]))", "{{outcome}}")]),
        Panel("Evictions and losses", "In the last hour: attempts told to stop with a checkpoint, and attempts that were lost, by reason.", "short",
              [("sum by (reason) (increase(galleon_evictions_total[1h])) or vector(0)", "{{reason}}"),
               ("sum by (reason) (increase(galleon_attempts_lost_total[1h])) or vector(0)", "lost: {{reason}}")]),
        Panel("Lease left", "Of each worker. At 0 its jobs are taken from it.", "s", [("galleon_worker_lease_seconds", "{{instance}}")], min=0),
        Panel("Decision pass", "One look over all deadlines and queues.", "s",
              [("histogram_quantile(0.5, sum by (le) (rate(galleon_decision_pass_seconds_bucket[5m])))", "50 %"),
               ("histogram_quantile(0.99, sum by (le) (rate(galleon_decision_pass_seconds_bucket[5m])))", "99 %")]),
        Panel("Journal commits", "Time until a batch of events is durable. Nothing is acknowledged before.", "s",
              [("histogram_quantile(0.5, sum by (le) (rate(galleon_journal_commit_seconds_bucket[5m])))", "50 %"),
               ("histogram_quantile(0.99, sum by (le) (rate(galleon_journal_commit_seconds_bucket[5m])))", "99 %")]),
        Panel("Calls", "Answered gRPC calls by method and code.", "reqps",
              [("sum by (method, code) (rate(galleon_grpc_requests_total[1m]))", "{{method}} {{code}}")]),
        Panel("Disk left", "Where the scheduler keeps its journal and workers their spool.", "bytes",
              [("galleon_disk_free_bytes", "{{instance}}")], min=0),
        Panel("Running jobs", "As the workers see them.", "none", [('galleon_job_info{queue=~"$queue"}', "")], "table", 24),
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
