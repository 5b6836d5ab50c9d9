#!/usr/bin/env python3
"""Workers that come and go, and runs that other queues start: the examples in deploy/kubernetes and helm/values hold together, and their queries
answer what their comments say, by Prometheus' own tool."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import chart
import crds

chart.need_tools()
import jsonschema  # noqa: E402
import kubernetes_validate  # noqa: E402

EXAMPLES = chart.ROOT / "deploy/kubernetes"
NEWEST = int(kubernetes_validate.latest_version().split(".")[1])


def objects(name):
    return list(chart.yaml.safe_load_all((EXAMPLES / name).read_text()))


def galleon(**values):
    """As scale-keda.yaml's comment has it."""
    return chart.render_with({"workers": {"gpu": {"gpus": 8, "labels": {"pool": "a"}, "autoscaled": True, **values}}}, name="galleon", namespace="galleon")


class FormTest(unittest.TestCase):
    def test_objects_of_other_projects_are_as_those_define_them(self):
        checked = set()
        for path in sorted(EXAMPLES.glob("*.yaml")):
            for each in chart.yaml.safe_load_all(path.read_text()):
                if each["kind"] in crds.SCHEMAS:
                    with self.subTest(path=path.name, kind=each["kind"]):
                        jsonschema.validate(each, crds.SCHEMAS[each["kind"]])
                        checked.add(each["kind"])
                else:
                    for minor in range(25, NEWEST + 1):
                        chart.validate(each, f"1.{minor}")
        self.assertEqual(checked, set(crds.SCHEMAS))

    def test_a_misspelt_key_is_refused(self):
        each = objects("scale-keda.yaml")[0]
        each["spec"]["minReplicas"] = each["spec"].pop("minReplicaCount")
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(each, crds.SCHEMAS["ScaledObject"])

    def test_a_job_sets_template_is_a_job_for_every_version_of_kubernetes(self):
        spec = chart.of_kind(objects("jobset.yaml"), "JobSet")[0]["spec"]["replicatedJobs"][0]["template"]["spec"]
        for minor in range(25, NEWEST + 1):
            chart.validate({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": spec}, f"1.{minor}")

    def test_a_job_sets_pods_are_those_of_the_indexed_job_whose_commands_are_run(self):
        indexed, job_set = objects("indexed-job.yaml"), objects("jobset.yaml")
        job = chart.of_kind(indexed, "Job")[0]["spec"]
        spec = chart.of_kind(job_set, "JobSet")[0]["spec"]["replicatedJobs"][0]["template"]["spec"]
        for key in ("template", "completions", "parallelism", "completionMode"):
            self.assertEqual(job[key], spec[key], key)
        self.assertEqual(chart.of_kind(indexed, "ConfigMap"), chart.of_kind(job_set, "ConfigMap"))

    def test_the_queue_that_runs_ask_for_is_there_with_all_that_their_pods_ask_for(self):
        kueue = {each["kind"]: each for each in objects("kueue.yaml")}
        self.assertEqual(kueue["LocalQueue"]["spec"]["clusterQueue"], kueue["ClusterQueue"]["metadata"]["name"])
        group = kueue["ClusterQueue"]["spec"]["resourceGroups"][0]
        self.assertEqual({flavor["name"] for flavor in group["flavors"]}, {kueue["ResourceFlavor"]["metadata"]["name"]})
        self.assertEqual({each["name"] for each in group["flavors"][0]["resources"]}, set(group["coveredResources"]))
        for name in ("indexed-job.yaml", "jobset.yaml"):
            run = next(each for each in objects(name) if each["kind"] in ("Job", "JobSet"))
            self.assertEqual(run["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], kueue["LocalQueue"]["metadata"]["name"])
            resources = re.findall(r"limits: \{(.*?)\}|requests: \{(.*?)\}", (EXAMPLES / name).read_text())
            asked = {key.split(":")[0].strip() for pair in resources for text in pair if text for key in text.split(",")}
            self.assertLessEqual(asked, set(group["coveredResources"]))


class ScaleTest(unittest.TestCase):
    def setUp(self):
        self.scaled = objects("scale-keda.yaml")[0]["spec"]
        self.queries = {each["name"]: each["metadata"]["query"] for each in self.scaled["triggers"]}

    def test_the_set_that_is_scaled_is_the_charts_and_the_chart_names_no_number(self):
        rendered = galleon()
        target = self.scaled["scaleTargetRef"]
        found = chart.of_kind(rendered, target["kind"], target["name"])[0]
        self.assertNotIn("replicas", found["spec"])
        self.assertEqual(chart.of_kind(galleon(autoscaled=False), "StatefulSet", target["name"])[0]["spec"]["replicas"], 1)
        slots = next(a for a in chart.container_of(rendered, target["name"])["args"] if a.startswith("--slots=")).split("=")[1]
        by_name = {each["name"]: each["metadata"]["threshold"] for each in self.scaled["triggers"]}
        self.assertEqual(by_name, {"wanted": slots, "held": "1"})
        self.assertIn("--label=pool=a", chart.container_of(rendered, target["name"])["args"])

    def test_kubernetes_own_autoscaler_is_told_the_same(self):
        spec = objects("scale-hpa.yaml")[0]["spec"]
        self.assertEqual(spec["scaleTargetRef"], self.scaled["scaleTargetRef"])
        self.assertEqual(spec["maxReplicas"], self.scaled["maxReplicaCount"])
        self.assertEqual([each["external"]["target"]["averageValue"] for each in spec["metrics"]], [each["metadata"]["threshold"] for each in self.scaled["triggers"]])
        self.assertEqual(spec["behavior"], self.scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"])

    def test_no_answer_is_not_taken_for_none(self):
        self.assertEqual([each["metadata"]["ignoreNullValues"] for each in self.scaled["triggers"]], ["false"] * 2)
        self.assertNotIn("vector(", str(self.queries))

    def test_a_worker_of_each_number_can_be_held(self):
        named = re.findall(r'worker="galleon-gpu-(\d+)", state="used"\}\) > 0\) \+ (\d+)', self.queries["held"])
        self.assertEqual(named, [(str(i), str(i + 1)) for i in range(self.scaled["maxReplicaCount"])])

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not here; deploy/packages.sh test installs it")
    def test_queries_answer_what_is_wanted_and_what_must_stay(self):
        pending = 'galleon_slots_pending{namespace="galleon", queue="default", device="%s", labels="%s"%s}'
        used = 'galleon_worker_slots{namespace="%s", worker="%s", state="used"%s}'
        heard = 'galleon_slots{namespace="galleon", state="free"}'
        # Series, then slots wanted and workers held.
        scenes = [
            ({heard: 1}, 0, 0),
            # Nothing is heard of the scheduler, and of its workers something or nothing: nobody is sent away.
            ({}, None, None),
            ({used % ("galleon", "galleon-gpu-1", ""): 8}, None, 2),
            # A gang of 16 waits; twice scraped is the same.
            ({pending % ("cuda", "pool=a", ', job="x"'): 16, pending % ("cuda", "pool=a", ', job="y"'): 16}, 16, 0),
            # Of other labels, and of processors.
            ({pending % ("cuda", "pool=b", ""): 8, pending % ("cpu", "pool=a", ""): 8, pending % ("auto", "pool=a,zone=b", ""): 3}, 3, 0),
            # The second of three is busy: the third may go, the first not.
            ({used % ("galleon", f"galleon-gpu-{i}", ""): slots for i, slots in enumerate([0, 8, 0])}, 8, 2),
            # A gang on the first and the fourth: all stay.
            ({used % ("galleon", f"galleon-gpu-{i}", ""): slots for i, slots in enumerate([8, 0, 0, 8])}, 16, 4),
            # Workers of another release, group or namespace are not these.
            ({used % ("other", "galleon-gpu-2", ""): 8, used % ("galleon", "galleon-cpu-2", ""): 8, used % ("galleon", "x-galleon-gpu-2", ""): 8}, 0, 0),
        ]
        tests = []
        for series, wanted, held in scenes:
            if held is not None and wanted is not None:
                series = {heard: 3, **series}
            tests.append({"interval": "1m", "input_series": [{"series": name, "values": f"{value}x5"} for name, value in series.items()],
                          "promql_expr_test": [{"expr": self.queries[name], "eval_time": "3m", "exp_samples": [] if value is None else [{"labels": "{}", "value": value}]}
                                               for name, value in (("wanted", wanted), ("held", held))]})
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "test.yaml"
            file.write_text(chart.yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}))
            done = subprocess.run(["promtool", "test", "rules", file.name], cwd=folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_spot_workers_stop_within_the_notice_and_leave_no_claim(self):
        rendered = chart.render("-f", chart.ROOT / "helm/values/spot-nodes.yaml")
        spot = chart.of_kind(rendered, "StatefulSet", "r-galleon-spot")[0]["spec"]
        grace = next(int(a.split("=")[1]) for a in spot["template"]["spec"]["containers"][0]["args"] if a.startswith("--stop-grace="))
        self.assertLess(grace, 30)
        self.assertNotIn("volumeClaimTemplates", spot)
        labels = {group: next(a for a in chart.container_of(rendered, f"r-galleon-{group}")["args"] if a.startswith("--label=")) for group in ("spot", "steady")}
        self.assertEqual(labels, {"spot": "--label=nodes=spot", "steady": "--label=nodes=steady"})


if __name__ == "__main__":
    unittest.main()
