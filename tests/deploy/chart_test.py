#!/usr/bin/env python3
"""The chart as helm renders it: valid for three versions of Kubernetes, strict about values, careful with rights."""

import json
import re
import unittest

import chart

chart.need_tools()
import kubernetes_validate  # noqa: E402

VERSIONS = ("1.28", "1.33", "1.37")
# Of operators, whose schemas are not Kubernetes' own.
FOREIGN = ("cert-manager.io/", "monitoring.coreos.com/")
ARRANGEMENTS = [()] + [("-f", path) for path in chart.VALUES]

# What is set, and a part of what helm has to say.
WRONG = [
    ("scheduler.replicas=2", "one scheduler owns the journal"),
    ("scheduler.replica=1", "replica"),
    ("scheduler.lease=soon", "lease"),
    ("scheduler.maxRequests=0", "maxRequests"),
    ("scheduler.persistence.size=lots", "size"),
    ("scheduler.service.type=Public", "type"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("image.registry=registry.example.org", "registry"),
    ("tls.mode=none", "mode"),
    ("tls.mode=existing", "tls.secrets.admin"),
    ("tls.certManager.issuer.kind=Authority", "kind"),
    ("tls.selfSigned.days=0", "days"),
    ("storage.jobs.accessMode=ReadOnlyMany", "accessMode"),
    ("storage.jobs.mountPath=jobs", "mountPath"),
    ("storage.inputs[0].name=data,storage.inputs[0].mountPath=/data", "needs existingClaim or hostPath"),
    ("storage.inputs[0].name=data,storage.inputs[0].mountPath=/data,storage.inputs[0].hostPath=/a,storage.inputs[0].existingClaim=b",
     "give one"),
    ("storage.inputs[0].name=data,storage.inputs[0].mountPath=/srv/galleon/jobs,storage.inputs[0].hostPath=/a", "mounted twice"),
    ("workers.cpu.slots=0", "slots"),
    ("workers.cpu.gpu=1", "gpu"),
    ("workers.Big_Group.slots=1", "Big_Group"),
    ("workers.cpu.slots=2,workers.cpu.memoryPerSlot=8Gi", "a job that was admitted would be killed"),
    ("workers.cpu.memoryPerSlot=8 gigabytes", "memoryPerSlot"),
    ("workers.cpu.stopGraceSeconds=-1", "stopGraceSeconds"),
    ("queues.default.weigth=2", "weigth"),
    ("queues.default.weight=0", "weight"),
    ("access.principals.ann.roles.lab=owner", "lab"),
    ("access.principals.ann.certificate=ann", "roles"),
    ("podSecurity.runAsUser=0", "runAsUser"),
    ("metrics.serviceMonitor.interval=often", "interval"),
    ("networkPolicies.enabled=false", "networkPolicies"),
]


class ChartTest(unittest.TestCase):
    def test_lint_is_strict_for_every_values_file(self):
        for values in ARRANGEMENTS:
            done = chart.helm("lint", "--strict", chart.CHART, *values)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_object_is_valid_for_three_versions_of_kubernetes(self):
        checked = 0
        for values in ARRANGEMENTS:
            for each in chart.render(*values):
                if each["apiVersion"].startswith(FOREIGN):
                    continue
                for version in VERSIONS:
                    with self.subTest(values=values, kind=each["kind"], name=each["metadata"]["name"], version=version):
                        kubernetes_validate.validate(each, version, strict=True)
                        checked += 1
        self.assertGreater(checked, 150)

    def test_a_misspelt_field_is_not_valid(self):
        each = chart.of_kind(chart.render(), "StatefulSet")[0]
        each["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(each, VERSIONS[0], strict=True)

    def test_wrong_values_are_refused_with_the_value_named(self):
        self.assertGreaterEqual(len(WRONG), 20)
        for setting, named in WRONG:
            with self.subTest(setting=setting):
                done = chart.helm("template", "r", chart.CHART, "--set", setting)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(named, done.stderr)

    def test_objects_of_one_release_have_names_of_their_own(self):
        for values in ARRANGEMENTS:
            names = [(each["kind"], each["metadata"]["name"]) for each in chart.render(*values)]
            self.assertEqual(len(names), len(set(names)))

    def test_the_defaults_of_the_values_file_are_what_the_schema_describes(self):
        schema = json.loads((chart.CHART / "values.schema.json").read_text())
        values = chart.yaml.safe_load((chart.CHART / "values.yaml").read_text())

        def compare(described, given, path):
            if described.get("additionalProperties") is not False:
                return
            self.assertEqual(set(described["properties"]) - {"global"}, set(given), f"keys of {path or 'values.yaml'}")
            for key, value in given.items():
                if isinstance(value, dict):
                    compare(described["properties"][key], value, f"{path}.{key}" if path else key)

        # A key that has no default in values.yaml is not documented there.
        described = dict(schema)
        described["properties"] = {k: v for k, v in schema["properties"].items() if k != "workerDefaults"}
        compare(described, {k: v for k, v in values.items() if k != "workerDefaults"}, "")
        compare(schema["properties"]["workerDefaults"], values["workerDefaults"], "workerDefaults")


class PolicyTest(unittest.TestCase):
    def each_container(self):
        for values in ARRANGEMENTS:
            for name, metadata, spec in chart.pod_specs(chart.render(*values)):
                for container in spec["containers"] + spec.get("initContainers", []):
                    with self.subTest(values=values, name=name, container=container["name"]):
                        yield metadata, spec, container

    def test_nothing_runs_as_root_or_may_become_it(self):
        for _, spec, container in self.each_container():
            pod, own = spec["securityContext"], container["securityContext"]
            self.assertTrue(pod["runAsNonRoot"])
            self.assertGreater(pod["runAsUser"], 0)
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
            self.assertNotRegex(" ".join(container.get("args", [])), re.compile("token|password", re.I))

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
        for metadata, spec, container in self.each_container():
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
        peers = [peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component") or "dns"
                 for rule in workers["egress"] for peer in rule["to"]]
        self.assertEqual(peers, ["worker", "scheduler", "dns"])
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
        service = chart.of_kind(objects, "Service", "r-galleon-scheduler")[0]
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
