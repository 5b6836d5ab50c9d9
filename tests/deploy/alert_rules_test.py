#!/usr/bin/env python3
"""Every alert rule as it is in the chart, by promtool: it fires on its cause and not beside it, at a scrape of 15 s and of
60 s, and with one and with two scrapers of the same target.

    alert_rules_test.py
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

RULES = pathlib.Path(__file__).resolve().parents[2] / "helm" / "galleon" / "rules" / "alerts.yaml"
SKIPPED = 77
INTERVALS = (15, 60)
# Seconds; no scrape interval, so that a window seldom begins and ends with a sample.
EVALUATION = 25
# What two scrapers of one target add: the pod's annotations, and a monitor of Prometheus' operator.
SCRAPERS = ('job="kubernetes-pods"', 'job="ns/r-galleon-workers", pod="r-galleon-gpu-0", container="galleon", endpoint="metrics"')


def flat(value):
    """One value for all the time."""
    return [(0, value, 0)]


def since(minute, before, after):
    return [(0, before, 0), (minute, after, 0)]


def growing(per_minute, begin=0):
    return [(0, begin, per_minute)]


class Scenario:
    """Series by time: each is a list of (minute from which, value there, growth in a minute); a value None: it is not scraped.
    `quiet`: minutes in which the alert does not fire. `fires`: (minute, [(labels, summary)])."""

    def __init__(self, title, alert, minutes, series, fires, quiet=()):
        self.title, self.alert, self.minutes, self.series, self.fires, self.quiet = title, alert, minutes, series, fires, quiet


def histogram(name, labels, bad):
    """Ten events a minute; all of them longer than a tenth of a second, or none."""
    return {f'{name}_bucket{{{labels}, le="0.1"}}': growing(0 if bad else 10), f'{name}_bucket{{{labels}, le="1"}}': growing(10),
            f'{name}_bucket{{{labels}, le="+Inf"}}': growing(10)}


SCHEDULER = 'program="galleon-scheduler", version="1"'
# Of five minutes, minute by minute.
RUNS_OUT = [(0, 298, 0)] + [(5 + i, max(0, 298 - 60 * i), 0) for i in range(6)]
SCENARIOS = [
    Scenario("the only scheduler goes", "GalleonSchedulerAbsent", 20,
             {f'galleon_build_info{{instance="s", {SCHEDULER}}}': since(5, 1, None),
              # A worker's version says nothing of a scheduler.
              'galleon_build_info{instance="w", worker="w", program="galleon-worker", version="1"}': flat(1)},
             [(10, [({"program": "galleon-scheduler"}, "No scheduler is being scraped.")])], quiet=[4]),
    Scenario("three schedulers stand by, and beside them one takes over from another", "GalleonNobodyServes", 40,
             {f'galleon_scheduler_serving{{namespace="a", instance="{i}"}}': since(10, 1 if i == 1 else 0, 0) for i in (1, 2, 3)}
             | {'galleon_scheduler_serving{namespace="b", instance="1"}': since(10, 1, 0), 'galleon_scheduler_serving{namespace="b", instance="2"}': since(11, 0, 1)},
             [(20, [({"namespace": "a"}, "Schedulers of a run, and none of them serves.")])], quiet=[9, 11]),
    Scenario("three schedulers are replaced one by one", "GalleonSchedulerGone", 60,
             {f'galleon_build_info{{namespace="a", instance="{i}", {SCHEDULER}}}': since(20 + 2 * i, 1, None) for i in (1, 2, 3)}
             | {f'galleon_build_info{{namespace="a", instance="new {i}", {SCHEDULER}}}': since(21 + 2 * i, None, 1) for i in (1, 2, 3)}, [], quiet=[19, 23, 25, 27, 30, 50]),
    Scenario("one of two schedulers goes, in another namespace", "GalleonSchedulerGone", 420,
             {f'galleon_build_info{{namespace="a", instance="1", {SCHEDULER}}}': since(30, 1, None),
              f'galleon_build_info{{namespace="b", instance="2", {SCHEDULER}}}': flat(1)},
             [(35, [({"namespace": "a"}, "1 of the schedulers of the last six hours in a are not scraped any more.")])],
             quiet=[25, 400]),
    Scenario("one of two schedulers goes, where nobody adds a namespace", "GalleonSchedulerGone", 60,
             {f'galleon_build_info{{instance="1", {SCHEDULER}}}': since(30, 1, None),
              f'galleon_build_info{{instance="2", {SCHEDULER}}}': flat(1)},
             [(35, [({}, "1 of the schedulers of the last six hours are not scraped any more.")])], quiet=[25]),
    Scenario("a scheduler starts again at another address", "GalleonSchedulerGone", 60,
             {f'galleon_build_info{{namespace="a", instance="1", {SCHEDULER}}}': since(30, 1, None),
              f'galleon_build_info{{namespace="a", instance="2", {SCHEDULER}}}': since(31, None, 1)}, [], quiet=[29, 33, 36, 50]),
    Scenario("commits of a second beside commits of a millisecond", "GalleonJournalSlow", 30,
             {**histogram("galleon_journal_commit_seconds", 'instance="slow"', True),
              **histogram("galleon_journal_commit_seconds", 'instance="fast"', False)},
             [(25, [({"instance": "slow"}, "One journal commit in a hundred takes 991ms at slow.")])], quiet=[5]),
    Scenario("passes of a second beside passes of a millisecond", "GalleonDecisionSlow", 30,
             {**histogram("galleon_decision_pass_seconds", 'instance="slow"', True),
              **histogram("galleon_decision_pass_seconds", 'instance="fast"', False)},
             [(25, [({"instance": "slow"}, "One decision pass in a hundred takes 991ms at slow.")])], quiet=[5]),
    Scenario("a certificate that ends in six days beside one that ends in a month", "GalleonCertificateEnds", 30,
             {'galleon_certificate_expiry_timestamp_seconds{instance="s"}': flat(518400),
              'galleon_certificate_expiry_timestamp_seconds{instance="1", worker="w"}': flat(518400),
              'galleon_certificate_expiry_timestamp_seconds{instance="later"}': flat(2592000)},
             [(10, [({"instance": "s"}, "The certificate of s ends in 5d 23h 50m 0s."),
                    ({"instance": "1", "worker": "w"}, "The certificate of w ends in 5d 23h 50m 0s.")])], quiet=[3]),
    Scenario("a renewal that stays half written beside one that is whole a moment later", "GalleonCertificateRefused", 30,
             {'galleon_certificate_refused{instance="half"}': flat(1), 'galleon_certificate_refused{instance="whole"}': since(3, 1, 0)},
             [(10, [({"instance": "half"}, "The renewed certificate of half cannot be used.")])], quiet=[2]),
    Scenario("a reload that was refused, and one that was taken later", "GalleonReloadFailed", 40,
             {'galleon_config_last_reload_successful{instance="s"}': [(0, 1, 0), (2, 0, 0), (15, 1, 0)]},
             [(10, [({"instance": "s"}, "The last reload of s was refused.")])], quiet=[1, 20]),
    Scenario("a receiver that takes nothing beside one that is a little behind", "GalleonNotificationsBehind", 40,
             {'galleon_notifications_behind_seconds{instance="s", receiver="gone"}': growing(60),
              'galleon_notifications_behind_seconds{instance="s", receiver="slow"}': flat(300)},
             [(30, [({"instance": "s", "receiver": "gone"}, "The receiver gone of s is 30m 0s behind.")])], quiet=[15]),
    Scenario("a disk with five per cent left beside one with half", "GalleonDiskFillsUp", 30,
             {'galleon_disk_free_bytes{instance="full"}': flat(5), 'galleon_disk_size_bytes{instance="full"}': flat(100),
              'galleon_disk_free_bytes{instance="1", worker="w"}': flat(5), 'galleon_disk_size_bytes{instance="1", worker="w"}': flat(100),
              'galleon_disk_free_bytes{instance="half"}': flat(50), 'galleon_disk_size_bytes{instance="half"}': flat(100)},
             [(10, [({"instance": "full"}, "The disk of full has 5% left."), ({"instance": "1", "worker": "w"}, "The disk of w has 5% left.")])],
             quiet=[3]),
    Scenario("the jobs' disk of two workers fills up: one alert", "GalleonJobsDiskFillsUp", 60,
             {f'galleon_jobs_disk_{what}_bytes{{namespace="ns", instance="{w}", worker="{w}"}}': values
              for w in ("1", "2") for what, values in (("free", since(30, 8, 50)), ("size", flat(100)))},
             [(10, [({"namespace": "ns"}, "The jobs' disk of ns has 8% left.")])], quiet=[3, 40]),
    Scenario("two of three workers find too little on the jobs' disk", "GalleonJobsDiskShort", 60,
             {'galleon_jobs_disk_short{instance="1", worker="1"}': [(0, 0, 0), (10, 1, 0), (30, 0, 0)],
              'galleon_jobs_disk_short{instance="2", worker="2"}': [(0, 0, 0), (10, 1, 0), (30, 0, 0)],
              'galleon_jobs_disk_short{instance="3", worker="3"}': flat(0)},
             [(15, [({}, "2 workers take no new jobs: the jobs' disk is nearly full.")])], quiet=[8, 40]),
    Scenario("the scheduler's disk is short", "GalleonLogsWait", 60,
             {'galleon_disk_short{instance="s"}': since(30, 1, 0), 'galleon_disk_short{instance="other"}': flat(0)},
             [(10, [({"instance": "s"}, "s takes no logs: its disk is nearly full.")])], quiet=[1, 40]),
    Scenario("errors of the scheduler's own beside refusals", "GalleonCallsFail", 30,
             {'galleon_grpc_requests_total{instance="s", method="Submit", code="INTERNAL"}': growing(2),
              'galleon_grpc_requests_total{instance="s", method="Submit", code="INVALID_ARGUMENT"}': growing(18)},
             [(20, [({"instance": "s", "code": "INTERNAL"}, "s answers calls with INTERNAL.")])], quiet=[1]),
    Scenario("all workers gone with a queue that waits; a queue that is empty; workers that are busy", "GalleonWorkersAbsent", 60,
             {f'galleon_slots_pending{{instance="{s}", queue="{q}", device="auto", labels=""}}': flat(n)
              for s, q, n in (("gone", "a", 2), ("gone", "b", 1), ("idle", "a", 0), ("busy", "a", 4))}
             | {f'galleon_workers{{instance="{s}", state="{state}"}}': values
                for s, ready in (("gone", 0), ("idle", 0), ("busy", 2)) for state, values in (("ready", since(5, 1, ready)), ("gone", flat(1)))},
             [(20, [({"instance": "gone"}, "Jobs wait for 3 slots, and no worker of gone takes work.")])], quiet=[10]),
    Scenario("a worker that does not answer", "GalleonWorkerUnreachable", 30,
             {'galleon_workers{instance="s", state="unreachable"}': since(5, 0, 2), 'galleon_workers{instance="s", state="ready"}': flat(3)},
             [(15, [({"instance": "s"}, "2 workers do not answer.")])], quiet=[8]),
    Scenario("workers at which jobs cannot run", "GalleonWorkerUnfit", 30, {'galleon_workers_unfit{instance="s"}': since(4, 0, 1)},
             [(10, [({"instance": "s"}, "1 workers take no new work, because jobs cannot run there.")])], quiet=[3, 5]),
    Scenario("a GPU that its driver calls lost beside a sound one", "GalleonGpuUnhealthy", 30,
             {'galleon_worker_gpu_healthy{instance="1", worker="w", slot="0", uuid="GPU-1"}': since(5, 1, 0),
              'galleon_worker_gpu_healthy{instance="1", worker="w", slot="1", uuid="GPU-2"}': flat(1)},
             [(12, [({"worker": "w", "slot": "0", "uuid": "GPU-1"}, "GPU-1, slot 0 of w, takes no ranks.")])], quiet=[4, 6]),
    # The default lease is five minutes, and begins to run out at minute 5; the rule has to speak while there is time.
    Scenario("a lease that nobody renews, where something runs and where nothing does", "GalleonLeaseRunsOut", 12,
             {f'galleon_worker_{name}{{instance="{w}", worker="{w}"{more}}}': values
              for w, used, lease in (("busy", 1, RUNS_OUT), ("idle", 0, RUNS_OUT), ("renewed", 1, flat(290)))
              for name, more, values in (("lease_seconds", "", lease), ("lease_length_seconds", "", flat(300)),
                                         ("slots", ', state="used"', flat(used)))},
             [(9.5, [({"worker": "busy"}, "The lease of busy has 58s left.")])], quiet=[5, 7]),
    Scenario("a queue that stands beside free slots, one that moves, and one of which no job wants a slot", "GalleonQueueStands", 90,
             {f'{name}{{instance="{s}", {labels}}}': values
              for s, n, moved in (("stands", 2, flat(7)), ("moves", 2, growing(1)), ("held", 0, flat(7)))
              for name, labels, values in (("galleon_slots_pending", 'queue="default", device="auto", labels=""', flat(n)),
                                           ("galleon_slots", 'state="free"', flat(1)), ("galleon_queue_wait_seconds_count", 'queue="default"', moved))},
             [(75, [({"instance": "stands"}, "Jobs wait although slots are free, and nothing has started for an hour.")])], quiet=[25]),
    # One more than the threshold, so that a figure that is counted twice fires where it must not.
    Scenario("losses within an hour: six of a kind, and two of another", "GalleonAttemptsLost", 70,
             {'galleon_attempts_lost_total{instance="s", reason="worker_lost"}': [(0, 0, 0.1)],
              'galleon_attempts_lost_total{instance="s", reason="signal"}': [(0, 0, 1 / 30)]},
             [(60, [({"reason": "worker_lost"}, "6 attempts were lost within an hour: worker_lost.")])], quiet=[10]),
    Scenario("many failures within an hour", "GalleonAttemptsFail", 70,
             {'galleon_attempt_duration_seconds_count{instance="s", outcome="failed"}': [(0, 0, 0.2)],
              'galleon_attempt_duration_seconds_count{instance="s", outcome="succeeded"}': growing(9)},
             [(60, [({}, "12 attempts failed within an hour.")])], quiet=[5]),
    Scenario("four failures within an hour", "GalleonAttemptsFail", 70,
             {'galleon_attempt_duration_seconds_count{instance="s", outcome="failed"}': [(0, 0, 1 / 15)]}, [], quiet=[10, 60]),
    Scenario("many evictions within an hour, those of sweeps aside", "GalleonEvictionStorm", 70,
             {'galleon_evictions_total{instance="s", reason="preempted"}': growing(1),
              'galleon_evictions_total{instance="s", reason="halved"}': growing(5)},
             [(60, [({}, "60 attempts were told to make room within an hour.")])], quiet=[5]),
    Scenario("twenty evictions within an hour", "GalleonEvictionStorm", 70,
             {'galleon_evictions_total{instance="s", reason="preempted"}': [(0, 0, 1 / 3)]}, [], quiet=[60]),
    # The last word of an attempt is scraped for two and a half minutes.
    Scenario("a job that diverges beside one that ends well", "GalleonJobDiverged", 60,
             {f'galleon_job_diverged{{instance="w", worker="w", job_id="{job}", attempt="1"}}': [(0, 0, 0), (10, last, 0), (12.5, None, 0)]
              for job, last in (("bad-1", 1), ("good-2", 0))},
             [(12, [({"job_id": "bad-1"}, "Job bad-1 has ended, as a number was not finite any more.")])], quiet=[9, 40]),
    Scenario("a job that stands, one that trains, one whose steps take long, and one that has not logged yet", "GalleonJobStands", 120,
             {f'galleon_job_progress_age_seconds{{instance="w", worker="w", job_id="{job}", attempt="1"}}': values
              for job, values in (("stands-1", growing(60)), ("trains-2", flat(20)), ("slow-3", growing(60)), ("new-4", growing(60)))}
             | {f'galleon_job_{name}_total{{instance="w", worker="w", job_id="{job}", attempt="1"}}': flat(value)
                for job, steps, seconds in (("stands-1", 10, 20), ("trains-2", 10, 20), ("slow-3", 10, 12000), ("new-4", 0, 0))
                for name, value in (("steps", steps), ("step_seconds", seconds))},
             [(60, [({"job_id": job}, f"Job {job} has made no step for 1h 0m 0s.") for job in ("new-4", "stands-1")])], quiet=[29]),
    # A line of the log once in two hours, and a beat in between: nothing stands.
    Scenario("a job that logs rarely", "GalleonJobStands", 240,
             {'galleon_job_progress_age_seconds{instance="w", worker="w", job_id="a-1", attempt="1"}': flat(18),
              'galleon_job_tokens_total{instance="w", worker="w", job_id="a-1", attempt="1"}': since(120, 10, 20)}, [], quiet=[60, 119, 200]),
    Scenario("a rank that fills its slot, one that does not, and one on a GPU", "GalleonMemoryNearLimit", 30,
             {f'galleon_job_memory_{name}_bytes{{instance="w", worker="w", job_id="a-1", attempt="1", rank="{rank}"{more}}}': flat(value)
              for rank, device, resident, limit in (("0", "cpu", 99, 100), ("1", "cpu", 50, 100), ("2", "cuda", 99, 80))
              for name, more, value in (("resident", "", resident), ("limit", f', device="{device}"', limit))},
             [(15, [({"worker": "w", "job_id": "a-1", "rank": "0"}, "Rank 0 of job a-1 uses 99% of its slot at w.")])], quiet=[3]),
    # As a worker said it whose slots were all GPUs: no part of nothing.
    Scenario("a slot that offers nothing", "GalleonMemoryNearLimit", 30,
             {'galleon_job_memory_resident_bytes{instance="w", worker="w", job_id="a-1", attempt="1", rank="0"}': flat(99),
              'galleon_job_memory_limit_bytes{instance="w", worker="w", job_id="a-1", attempt="1", rank="0", device="cpu"}': flat(0)}, [], quiet=[20]),
]


def rule_texts():
    """Each rule as it stands in the file, with what comes behind it up to the next."""
    parts = re.split(r"\n(?=      - alert: |  - name: )", RULES.read_text())
    return {re.match(r" +- alert: (\w+)", part).group(1): part for part in parts if part.startswith("      - alert: ")}


def rules():
    """alert: (severity, description), as the file has them."""
    found = {}
    for name, part in rule_texts().items():
        severity = re.search(r"severity: (\w+)", part).group(1)
        description = re.search(r"          description: (.*)", part).group(1).strip()
        found[name] = (severity, json.loads(description) if description.startswith('"') else description)
    return found


def samples(pieces, interval, minutes):
    """promtool's words for the values at each scrape."""
    words = []
    for i in range(int(minutes * 60 / interval) + 1):
        minute = i * interval / 60
        begin, value, growth = [piece for piece in pieces if piece[0] <= minute][-1]
        if value is None:
            words.append("stale" if words and words[-1] not in ("stale", "_") else "_")
        else:
            words.append(f"{value + growth * (minute - begin):g}")
    return " ".join(words)


def promtool_tests(interval, scrapers):
    """By alert, since each is evaluated alone: all of them in every scenario would take minutes."""
    known = rules()
    tests = {alert: [] for alert in known}
    for scenario in SCENARIOS:
        severity, description = known[scenario.alert]
        series = []
        for name, pieces in scenario.series.items():
            for more in SCRAPERS[:scrapers]:
                series.append({"series": name[:-1] + ", " + more + "}", "values": samples(pieces, interval, scenario.minutes)})
        checks = [{"eval_time": f"{int(minute * 60)}s", "alertname": scenario.alert, "exp_alerts": []} for minute in scenario.quiet]
        checks += [{"eval_time": f"{int(minute * 60)}s", "alertname": scenario.alert,
                    "exp_alerts": [{"exp_labels": {"severity": severity, **labels}, "exp_annotations": {"summary": summary, "description": description}}
                                   for labels, summary in alerts]} for minute, alerts in scenario.fires]
        tests[scenario.alert].append({"name": scenario.title, "interval": f"{interval}s", "input_series": series, "alert_rule_test": checks})
    return {alert: {"rule_files": [f"{alert}.rules.yaml"], "evaluation_interval": f"{EVALUATION}s", "tests": of_alert} for alert, of_alert in tests.items()}


class AlertRulesTest(unittest.TestCase):
    def run_promtool(self, tests):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for alert, text in rule_texts().items():
                (pathlib.Path(folder) / f"{alert}.rules.yaml").write_text("groups:\n  - name: one\n    rules:\n" + text + "\n")
                paths.append(pathlib.Path(folder) / f"{alert}.yaml")
                paths[-1].write_text(json.dumps(tests[alert]))
            return subprocess.run(["promtool", "test", "rules", *paths], capture_output=True, text=True, check=False)

    def test_every_alert_fires_by_its_cause_and_not_beside_it_however_it_is_scraped(self):
        for interval in INTERVALS:
            for scrapers in (1, 2):
                with self.subTest(interval=interval, scrapers=scrapers):
                    done = self.run_promtool(promtool_tests(interval, scrapers))
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_alert_is_fired_by_a_scenario_and_stays_quiet_in_one(self):
        self.assertEqual({s.alert for s in SCENARIOS if s.fires}, set(rules()))
        self.assertEqual({s.alert for s in SCENARIOS if s.quiet}, set(rules()))

    def test_that_each_scenario_that_fires_can_fail(self):
        tests = promtool_tests(60, 1)
        for check in [check for of_alert in tests.values() for test in of_alert["tests"] for check in test["alert_rule_test"]]:
            for alert in check["exp_alerts"]:
                alert["exp_labels"]["never"] = "so"
        said = self.run_promtool(tests)
        said = said.stdout + said.stderr
        for scenario in SCENARIOS:
            self.assertEqual(f"name: {scenario.title}," in said, bool(scenario.fires), scenario.title)

    def test_the_file_as_a_whole_is_one_of_rules(self):
        done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
        self.assertIn(f"{len(rules())} rules found", done.stdout, done.stderr)


if __name__ == "__main__":
    if not shutil.which("promtool"):
        print("skipped: promtool is not here; deploy/packages.sh test installs it")
        sys.exit(SKIPPED)
    unittest.main()
