#!/usr/bin/env python3
"""The chart as helm renders it: valid for every version of Kubernetes that it names, strict about values, careful with rights."""

import json
import re
import unittest

import chart

chart.need_tools()
import kubernetes_validate  # noqa: E402

# All that the schemas are there for, from the chart's kubeVersion on.
VERSIONS = tuple(f"1.{minor}" for minor in range(25, int(kubernetes_validate.latest_version().split(".")[1]) + 1))
# Of operators, whose schemas are not Kubernetes' own.
FOREIGN = ("cert-manager.io/", "monitoring.coreos.com/")
ARRANGEMENTS = [()] + [("-f", path) for path in chart.VALUES]

class ChartTest(unittest.TestCase):
    def test_lint_is_strict_for_every_values_file(self):
        for values in ARRANGEMENTS:
            done = chart.helm("lint", "--strict", chart.CHART, *values)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_object_is_valid_for_every_version_of_kubernetes(self):
        checked = 0
        for version in VERSIONS:
            seen = []
            for values in ARRANGEMENTS:
                # Refused where their form is not known.
                if "dra" in str(values) and int(version.split(".")[1]) < 31:
                    continue
                for each in chart.render(*values, *(("--kube-version", f"{version}.0") if version < "1.31" else ())):
                    if each["apiVersion"].startswith(FOREIGN) or each in seen:
                        continue
                    seen.append(each)
                    with self.subTest(values=values, kind=each["kind"], name=each["metadata"]["name"], version=version):
                        chart.validate(each, version)
                        checked += 1
        self.assertGreater(checked, 700)

    def test_a_misspelt_field_is_not_valid(self):
        each = chart.of_kind(chart.render(), "StatefulSet")[0]
        each["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            chart.validate(each, VERSIONS[0])

    def test_objects_of_one_release_have_names_of_their_own(self):
        for values in ARRANGEMENTS:
            names = [(each["kind"], each["metadata"]["name"]) for each in chart.render(*values)]
            self.assertEqual(len(names), len(set(names)))


class PolicyTest(unittest.TestCase):
    def each_container(self):
        for values in ARRANGEMENTS:
            for name, metadata, spec in chart.pod_specs(chart.render(*values)):
                for container in spec["containers"] + spec.get("initContainers", []):
                    with self.subTest(values=values, name=name, container=container["name"]):
                        yield values, spec, container

    def test_nothing_runs_as_root_or_may_become_it(self):
        for values, spec, container in self.each_container():
            pod, own = spec["securityContext"], container["securityContext"]
            self.assertTrue(pod["runAsNonRoot"])
            if "runAsUser" not in pod:
                self.assertIn("openshift", str(values))
            self.assertGreater(pod.get("runAsUser", 1), 0)
            self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertFalse(own["allowPrivilegeEscalation"])
            self.assertTrue(own["readOnlyRootFilesystem"])
            self.assertNotIn("privileged", own)
            self.assertFalse(spec.get("hostPID", False) or spec.get("hostIPC", False))

    def test_all_capabilities_are_dropped_and_ipc_lock_comes_back_for_rdma_alone(self):
        added = 0
        for _, _, container in self.each_container():
            capabilities = container["securityContext"]["capabilities"]
            self.assertEqual(capabilities["drop"], ["ALL"])
            if "add" in capabilities:
                self.assertEqual(capabilities["add"], ["IPC_LOCK"])
                self.assertTrue(any(key.startswith("rdma/") for key in container["resources"]["limits"]))
                added += 1
        self.assertEqual(added, 1)

    def test_everything_has_requests_and_a_limit_of_memory(self):
        for _, _, container in self.each_container():
            self.assertIn("memory", container["resources"]["limits"])
            self.assertIn("memory", container["resources"]["requests"])
            self.assertIn("cpu", container["resources"]["requests"])

    def test_no_secret_is_in_an_environment_or_an_argument(self):
        for _, _, container in self.each_container():
            for variable in container.get("env", []):
                self.assertNotIn("secretKeyRef", variable.get("valueFrom", {}))
                self.assertNotRegex(variable.get("value", ""), re.compile("BEGIN|PRIVATE"))
            self.assertFalse(container.get("envFrom"))
            for argument in container.get("args", []):
                if argument != "--metrics-token=/etc/galleon/metrics/token" and not argument.startswith("--token-cache-size="):
                    self.assertNotRegex(argument, re.compile("token|password|secret", re.I))

    def test_probes_ask_ports_that_exist_and_daemons_have_all_three(self):
        daemons = 0
        for _, _, container in self.each_container():
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            probes = [container[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe") if kind in container]
            if container["command"][0] in ("galleon-scheduler", "galleon-worker"):
                self.assertEqual(len(probes), 3)
                daemons += 1
            for probe in probes:
                self.assertIn(probe["httpGet"]["port"], ports)
                self.assertIn(f"--metrics=0.0.0.0:{ports[probe['httpGet']['port']]}", container["args"])
        self.assertGreaterEqual(daemons, 10)

    def test_what_is_mounted_is_a_volume_and_what_is_a_volume_is_mounted(self):
        for values in ARRANGEMENTS:
            for each in chart.render(*values):
                for name, _, spec in chart.pod_specs([each]):
                    claims = [claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])]
                    volumes = {volume["name"] for volume in spec.get("volumes", [])} | set(claims)
                    mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
                    self.assertEqual(volumes, mounted, name)

    def test_a_pod_restarts_when_its_configuration_changes(self):
        def checksum(*arguments):
            return chart.of_kind(chart.render(*arguments), "StatefulSet", "r-galleon-scheduler")[0]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        self.assertEqual(checksum(), checksum("--set", "workers.cpu.replicas=3"))
        self.assertNotEqual(checksum(), checksum("--set", "queues.default.weight=3"))

    def test_the_kubelet_waits_longer_than_trainers_may_write_their_last_checkpoint(self):
        for _, spec, container in self.each_container():
            if container["command"][0] != "galleon-worker":
                continue
            grace = next(int(a.split("=")[1]) for a in container["args"] if a.startswith("--stop-grace="))
            self.assertGreater(spec["terminationGracePeriodSeconds"], grace)

    def test_service_accounts_bring_no_token_but_to_the_job_that_makes_secrets(self):
        for values in ARRANGEMENTS:
            objects = chart.render(*values)
            for account in chart.of_kind(objects, "ServiceAccount"):
                self.assertFalse(account["automountServiceAccountToken"])
            for name, _, spec in chart.pod_specs(objects):
                self.assertEqual(spec["automountServiceAccountToken"], name.endswith("make-secrets"), name)
            for role in [each for each in objects if each["kind"] in ("Role", "ClusterRole")]:
                self.assertEqual(role["kind"], "Role")
                for rule in role["rules"]:
                    self.assertEqual(rule["resources"], ["secrets"])
                    self.assertTrue(rule["verbs"] == ["create"] or rule["resourceNames"])

    def test_the_network_lets_workers_reach_each_other_and_the_scheduler_and_nothing_else(self):
        objects = chart.render()
        workers = chart.of_kind(objects, "NetworkPolicy", "r-galleon-workers")[0]["spec"]
        self.assertEqual(workers["policyTypes"], ["Ingress", "Egress"])
        peers = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for rule in workers["egress"] for peer in rule.get("to", [])]
        self.assertEqual(peers, ["worker", "scheduler"])
        self.assertEqual([port["port"] for rule in workers["egress"] if "to" not in rule for port in rule["ports"]], [53, 53, 5353, 5353])
        self.assertEqual(chart.of_kind(objects, "NetworkPolicy", "r-galleon-scheduler")[0]["spec"]["egress"], [])


class ContentTest(unittest.TestCase):
    def test_slots_memory_and_threads_follow_from_the_pod(self):
        def arguments(*settings):
            flags = [flag for setting in settings for flag in ("--set", setting)]
            workers = chart.of_kind(chart.render(*flags), "StatefulSet", "r-galleon-cpu")[0]
            return workers["spec"]["template"]["spec"]["containers"][0]["args"]

        self.assertIn(f"--memory-per-slot={int(8 * 2**30 * 0.95)}", arguments())
        self.assertIn("--threads=2", arguments())
        two = arguments("workers.cpu.slots=2", "workers.cpu.resources.requests.cpu=8")
        self.assertIn(f"--memory-per-slot={int(8 * 2**30 * 0.95 / 2)}", two)
        self.assertIn("--threads=4", two)
        self.assertIn("--threads=1", arguments("workers.cpu.resources.requests.cpu=500m"))
        self.assertIn(f"--memory-per-slot={3 * 2**30}", arguments("workers.cpu.memoryPerSlot=3Gi"))

    def test_inputs_are_mounted_read_only_and_allowed(self):
        for values in chart.VALUES:
            given = chart.yaml.safe_load(values.read_text())["storage"].get("inputs", [])
            for name, _, spec in chart.pod_specs(chart.render("-f", values)):
                container = spec["containers"][0]
                if container["command"] != ["galleon-worker"]:
                    continue
                for each in given:
                    self.assertIn(f"--allow={each['mountPath']}", container["args"], name)
                    mount = next(m for m in container["volumeMounts"] if m["name"] == each["name"])
                    self.assertTrue(mount["readOnly"])

    def test_dashboards_and_rules_reach_the_cluster_unchanged(self):
        objects = chart.render("-f", chart.ROOT / "helm/values/gpu-nodes-rdma.yaml")
        rules = chart.of_kind(objects, "PrometheusRule")[0]["spec"]
        self.assertEqual(rules, chart.yaml.safe_load((chart.CHART / "rules/alerts.yaml").read_text()))
        shown = {}
        for each in chart.of_kind(objects, "ConfigMap"):
            if each["metadata"]["labels"].get("grafana_dashboard") == "1":
                shown.update(each["data"])
        for path in (chart.CHART / "dashboards").glob("*.json"):
            self.assertEqual(json.loads(shown.pop(path.name)), json.loads(path.read_text()))
        self.assertFalse(shown)

    def test_monitors_select_the_ports_that_are_there(self):
        objects = chart.render("-f", chart.ROOT / "helm/values/gpu-nodes-rdma.yaml")
        service = chart.of_kind(objects, "Service", "r-galleon-scheduler-metrics")[0]
        monitor = chart.of_kind(objects, "ServiceMonitor")[0]["spec"]
        self.assertLessEqual(monitor["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
        self.assertIn(monitor["endpoints"][0]["port"], [port["name"] for port in service["spec"]["ports"]])
        pods = chart.of_kind(objects, "PodMonitor")[0]["spec"]
        groups = 0
        for _, metadata, spec in chart.pod_specs(objects):
            if pods["selector"]["matchLabels"].items() <= metadata["labels"].items():
                self.assertIn(pods["podMetricsEndpoints"][0]["port"], [port["name"] for port in spec["containers"][0]["ports"]])
                groups += 1
        self.assertEqual(groups, 2)

    def test_notes_end_with_three_commands(self):
        done = chart.helm("install", "r", chart.CHART, "--namespace", "ns", "--dry-run=client")
        notes = done.stdout.split("NOTES:")[1]
        for step in ("1. Fetch", "2. Reach", "3. See"):
            self.assertIn(step, notes)
        self.assertIn('{{index .data \\"${f%%:*}\\" | base64decode}}', notes)

    def test_certificates_name_the_service(self):
        for certificate in chart.of_kind(chart.render("--set", "tls.mode=certManager"), "Certificate"):
            if certificate["spec"]["commonName"] == "scheduler":
                self.assertIn("r-galleon-scheduler.ns.svc", certificate["spec"]["dnsNames"])
                self.assertEqual(certificate["spec"]["secretName"], "r-galleon-scheduler-tls")


if __name__ == "__main__":
    unittest.main()
