#!/usr/bin/env python3
"""What the chart's values do where they are right: pods, probes, accounts, claims, services, monitors, secrets, backups."""

import json
import pathlib
import subprocess
import tempfile
import unittest

import chart

chart.need_tools()
import kubernetes_validate  # noqa: E402

NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
# Every value that all pods have.
POD = {
    "podLabels": {"team": "nlp"}, "podAnnotations": {"example.org/a": "b"}, "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "x", "operator": "Exists"}], "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}]}},
    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}],
    "priorityClassName": "high", "runtimeClassName": "kata", "schedulerName": "volcano", "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["h"]}],
    "dnsPolicy": "Default", "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    "extraEnv": [{"name": "GALLEON_LOG", "value": "debug"}], "extraEnvFrom": [{"secretRef": {"name": "s3"}}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}], "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "initContainers": [{"name": "before", "image": "i"}], "sidecars": [{"name": "beside", "image": "i"}],
    "podSecurityContext": {"runAsUser": 7, "supplementalGroups": [8]}, "securityContext": {"readOnlyRootFilesystem": False},
}


class SettingTest(unittest.TestCase):
    def assert_valid(self, objects):
        for each in objects:
            if "monitoring.coreos.com" not in each["apiVersion"]:
                chart.validate(each, NEWEST)

    def assert_pod(self, metadata, spec):
        for key in ("nodeSelector", "tolerations", "topologySpreadConstraints", "priorityClassName", "runtimeClassName", "schedulerName",
                    "hostAliases", "dnsPolicy", "dnsConfig", "initContainers"):
            self.assertEqual(spec[key], POD[key], key)
        self.assertEqual(spec["affinity"]["nodeAffinity"], POD["affinity"]["nodeAffinity"])
        container = spec["containers"][0]
        self.assertIn(POD["extraEnv"][0], container["env"])
        self.assertEqual(container["envFrom"], POD["extraEnvFrom"])
        self.assertIn(POD["extraVolumes"][0], spec["volumes"])
        self.assertIn(POD["extraVolumeMounts"][0], container["volumeMounts"])
        self.assertEqual(spec["containers"][1:], POD["sidecars"])
        self.assertEqual((spec["securityContext"]["runAsUser"], spec["securityContext"]["supplementalGroups"], spec["securityContext"]["fsGroup"]), (7, [8], 10001))
        self.assertFalse(container["securityContext"]["readOnlyRootFilesystem"])
        self.assertTrue(container["securityContext"]["capabilities"])
        self.assertEqual(metadata["labels"]["team"], "nlp")
        self.assertEqual(metadata["annotations"]["example.org/a"], "b")

    def test_what_all_pods_have_reaches_each_of_them(self):
        self.assertEqual(set(POD), set(json.loads((chart.CHART / "values.schema.json").read_text())["definitions"]["pods"]["properties"]))
        values = {"pods": POD, "backup": {"schedule": "@daily", "restore": "galleon.db"}, "scheduler": {"replicas": 0}}
        objects = chart.render_with(values)
        self.assert_valid(objects)
        seen = []
        for name, metadata, spec in chart.pod_specs(objects):
            with self.subTest(pod=name):
                self.assert_pod(metadata, spec)
                seen.append(name)
        self.assertEqual(sorted(seen), [f"r-galleon-{each}" for each in ("backup", "cpu", "make-secrets", "restore", "scheduler", "test")])

    def test_scheduler_groups_and_tasks_have_the_last_word(self):
        objects = chart.render_with({"scheduler": POD, "workers": {"a": POD, "b": {}}, "tasks": POD, "pods": {"priorityClassName": "low", "nodeSelector": {"all": "yes"}}})
        for name, metadata, spec in chart.pod_specs(objects):
            if name == "r-galleon-b":
                self.assertEqual((spec["priorityClassName"], spec["nodeSelector"]), ("low", {"all": "yes"}))
                self.assertNotIn("hostAliases", spec)
                continue
            self.assertEqual((spec["priorityClassName"], spec["nodeSelector"]), ("high", {"all": "yes", "disk": "ssd"}))
            spec["nodeSelector"] = POD["nodeSelector"]
            self.assert_pod(metadata, spec)

    def test_false_zero_and_empty_are_values(self):
        objects = chart.render_with({"workerDefaults": {"labels": {"a": "b"}, "interface": "net1"}, "workers": {"g": {"podDisruptionBudget": {"enabled": False}, "replicas": 0, "interface": ""}}})
        self.assertEqual(chart.of_kind(objects, "StatefulSet", "r-galleon-g")[0]["spec"]["replicas"], 0)
        self.assertNotIn("r-galleon-g", [each["metadata"]["name"] for each in chart.of_kind(objects, "PodDisruptionBudget")])
        arguments = chart.container_of(objects, "r-galleon-g")["args"]
        self.assertFalse([a for a in arguments if a.startswith("--interface")])
        self.assertIn("--label=a=b", arguments)

    def test_probes_take_what_is_given_and_keep_the_rest(self):
        probes = {"startup": {"failureThreshold": 900}, "liveness": {"exec": {"command": ["/usr/lib/galleon/health"]}}}
        objects = chart.render_with({"scheduler": {"probes": probes}, "workerDefaults": {"probes": probes}})
        self.assert_valid(objects)
        for name in ("r-galleon-scheduler", "r-galleon-cpu"):
            container = chart.container_of(objects, name)
            self.assertEqual(container["startupProbe"], {"failureThreshold": 900, "periodSeconds": 2, "httpGet": {"path": "/livez", "port": "metrics"}})
            self.assertNotIn("httpGet", container["livenessProbe"])
            self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/readyz")

    def test_common_labels_and_annotations_reach_objects_and_never_selectors(self):
        common = {"commonLabels": {"team": "nlp", "app.kubernetes.io/name": "mine"}, "commonAnnotations": {"example.org/owner": "ann"},
                  "metrics": {each: {"enabled": True} for each in ("serviceMonitor", "podMonitor", "rules", "dashboards")}, "backup": {"schedule": "@daily"}}
        objects = chart.render_with(common)
        self.assert_valid(objects)
        for each in objects:
            metadata = each["metadata"]
            self.assertEqual((metadata["labels"]["team"], metadata["labels"]["app.kubernetes.io/name"]), ("nlp", "galleon"), metadata["name"])
            self.assertEqual(metadata["annotations"]["example.org/owner"], "ann")
            # Never changed, by these or by a version: Kubernetes refuses it.
            if each["kind"] == "StatefulSet":
                self.assertNotIn("team", each["spec"]["selector"]["matchLabels"])
                for claim in each["spec"].get("volumeClaimTemplates", []):
                    self.assertNotIn("labels", claim["metadata"])

    def test_service_accounts_are_made_or_taken(self):
        objects = chart.render_with({"scheduler": {"serviceAccount": {"create": False, "name": "mine"}},
                                     "workers": {"a": {"serviceAccount": {"name": "reads-s3", "annotations": {"eks.amazonaws.com/role-arn": "x"}}}, "b": {}},
                                     "tasks": {"serviceAccount": {"create": False, "name": "makes-secrets"}}})
        made = {each["metadata"]["name"]: each["metadata"].get("annotations") for each in chart.of_kind(objects, "ServiceAccount")}
        self.assertEqual(made, {"reads-s3": {"eks.amazonaws.com/role-arn": "x"}, "r-galleon-worker": None})
        used = {name: spec["serviceAccountName"] for name, _, spec in chart.pod_specs(objects)}
        self.assertEqual(used, {"r-galleon-scheduler": "mine", "r-galleon-a": "reads-s3", "r-galleon-b": "r-galleon-worker",
                                "r-galleon-make-secrets": "makes-secrets", "r-galleon-test": "default"})
        self.assertFalse([each for each in objects if each["kind"] == "Role"])

    def test_claims_take_classes_annotations_and_folders(self):
        objects = chart.render_with({"storage": {"jobs": {"subPath": "galleon", "storageClass": "-", "annotations": {"a": "b"}},
                                                 "inputs": [{"name": "data", "mountPath": "/data", "existingClaim": "d", "subPath": "books"}]},
                                     "scheduler": {"persistence": {"storageClass": "fast"}}, "workerDefaults": {"spool": {"annotations": {"c": "d"}, "storageClass": "local"}},
                                     "global": {"storageClass": "all"}, "backup": {"schedule": "@daily"}})
        self.assert_valid(objects)
        claims = {each["metadata"]["name"]: each for each in chart.of_kind(objects, "PersistentVolumeClaim")}
        self.assertEqual({name: each["spec"].get("storageClassName") for name, each in claims.items()},
                         {"r-galleon-jobs": "", "r-galleon-journal": "fast", "r-galleon-backup": "all"})
        self.assertEqual(claims["r-galleon-jobs"]["metadata"]["annotations"], {"a": "b", "helm.sh/resource-policy": "keep"})
        spool = chart.of_kind(objects, "StatefulSet", "r-galleon-cpu")[0]["spec"]["volumeClaimTemplates"][0]
        self.assertEqual((spool["metadata"]["annotations"], spool["spec"]["storageClassName"]), ({"c": "d"}, "local"))
        for name in ("r-galleon-scheduler", "r-galleon-cpu"):
            mount = next(m for m in chart.container_of(objects, name)["volumeMounts"] if m["name"] == "jobs")
            self.assertEqual(mount["subPath"], "galleon")
        self.assertIn({"name": "data", "mountPath": "/data", "readOnly": True, "subPath": "books"}, chart.container_of(objects, "r-galleon-cpu")["volumeMounts"])

    def test_services_take_their_class_ranges_and_families(self):
        objects = chart.render_with({"scheduler": {"service": {"type": "LoadBalancer", "loadBalancerClass": "example.org/internal", "loadBalancerSourceRanges": ["10.0.0.0/8"],
                                                               "externalTrafficPolicy": "Local", "nodePort": 30070, "labels": {"a": "b"}, "annotations": {"c": "d"},
                                                               "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}}})
        self.assert_valid(objects)
        for each in chart.of_kind(objects, "Service"):
            self.assertEqual((each["spec"]["ipFamilyPolicy"], each["spec"]["ipFamilies"]), ("RequireDualStack", ["IPv6", "IPv4"]))
        service = chart.of_kind(objects, "Service", "r-galleon-scheduler")[0]
        self.assertEqual((service["spec"]["loadBalancerClass"], service["spec"]["ports"][0]["nodePort"], service["spec"]["externalTrafficPolicy"]), ("example.org/internal", 30070, "Local"))
        self.assertEqual((service["metadata"]["labels"]["a"], service["metadata"]["annotations"]["c"]), ("b", "d"))

    def test_monitors_take_namespace_timeout_and_relabelings(self):
        more = {"enabled": True, "namespace": "monitoring", "timeout": "10s", "honorLabels": True, "annotations": {"a": "b"},
                "relabelings": [{"targetLabel": "x"}], "metricRelabelings": [{"targetLabel": "z"}]}
        objects = chart.render_with({"metrics": {"serviceMonitor": more, "podMonitor": more, "token": {"existingSecret": "t"},
                                                 "rules": {"enabled": True, "namespace": "monitoring"},
                                                 "dashboards": {"enabled": True, "namespace": "grafana", "folder": "Training", "annotations": {"c": "d"}}}})
        for kind, where in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
            each = chart.of_kind(objects, kind)[0]
            self.assertEqual((each["metadata"]["namespace"], each["spec"]["namespaceSelector"]), ("monitoring", {"matchNames": ["ns"]}))
            endpoint = each["spec"][where][0]
            self.assertEqual(endpoint, {"port": "metrics", "path": "/metrics", "interval": "15s", "scrapeTimeout": "10s", "honorLabels": True, "relabelings": [{"targetLabel": "x"}],
                                        "metricRelabelings": [{"targetLabel": "z"}], "authorization": {"credentials": {"name": "t", "key": "token"}}})
        self.assertEqual(chart.of_kind(objects, "PrometheusRule")[0]["metadata"]["namespace"], "monitoring")
        shown = [each for each in chart.of_kind(objects, "ConfigMap") if "-dashboard-" in each["metadata"]["name"]]
        self.assertTrue(shown)
        for each in shown:
            self.assertEqual((each["metadata"]["namespace"], each["metadata"]["annotations"]), ("grafana", {"grafana_folder": "Training", "c": "d"}))

    def test_secrets_that_are_there_are_mounted_and_nothing_of_them_is_in_a_config_map(self):
        objects = chart.render("-f", chart.ROOT / "helm/values/existing-secrets.yaml")
        self.assertEqual(sorted(chart.of_kind(objects, "ConfigMap", "r-galleon-scheduler")[0]["data"]), ["queues.yaml"])
        arguments = chart.container_of(objects, "r-galleon-scheduler")["args"]
        for option in ("--access=/etc/galleon/access/access.yaml", "--notify=/etc/galleon/notify/notify.yaml", "--metrics-token=/etc/galleon/metrics/token"):
            self.assertIn(option, arguments)
        volumes = {volume["name"]: volume for volume in chart.pod_of(objects, "r-galleon-scheduler")["volumes"]}
        for name, secret in (("access", "galleon-access"), ("notify", "galleon-notify"), ("metrics-token", "galleon-metrics"), ("tls", "galleon-server-tls")):
            self.assertEqual((volumes[name]["secret"]["secretName"], volumes[name]["secret"]["defaultMode"]), (secret, 0o440))
        tls = next(volume for volume in chart.pod_of(objects, "r-galleon-cpu")["volumes"] if volume["name"] == "tls")
        self.assertEqual([source["secret"]["name"] for source in tls["projected"]["sources"]], ["galleon-worker-tls", "galleon-worker-token"])

    def test_labels_come_from_fields_of_the_pod(self):
        container = chart.container_of(chart.render_with({"workers": {"a": {"labelsFromFields": {"node": "spec.nodeName", "zone": "metadata.labels['topology.kubernetes.io/zone']"}}}}), "r-galleon-a")
        named = {each["name"]: each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for each in container["env"]}
        given = dict(argument.split("=", 2)[1:] for argument in container["args"] if argument.startswith("--label="))
        self.assertEqual({key: named[value[2:-1]] for key, value in given.items()}, {"node": "spec.nodeName", "zone": "metadata.labels['topology.kubernetes.io/zone']"})

    def test_more_objects_are_filled_in(self):
        extra = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-one"}}, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n"]
        names = [each["metadata"]["name"] for each in chart.of_kind(chart.render_with({"extraObjects": extra}), "ConfigMap")]
        self.assertIn("r-one", names)
        self.assertIn("two", names)


class BackupTest(unittest.TestCase):
    def test_a_restore_runs_while_no_scheduler_does(self):
        objects = chart.render_with({"scheduler": {"replicas": 0}, "backup": {"restore": "galleon.db"}})
        self.assertEqual(chart.of_kind(objects, "StatefulSet", "r-galleon-scheduler")[0]["spec"]["replicas"], 0)
        job = chart.of_kind(objects, "Job", "r-galleon-restore")[0]
        chart.validate(job, NEWEST)
        self.assertIn("post-upgrade", job["metadata"]["annotations"]["helm.sh/hook"])
        self.assertEqual(chart.container_of(objects, "r-galleon-restore")["command"], ["galleon-scheduler", "--data=/var/lib/galleon", "--restore=/backup/galleon.db"])
        claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in chart.pod_of(objects, "r-galleon-restore")["volumes"]]
        self.assertIn("r-galleon-journal", claims)
        self.assertIn("r-galleon-backup", claims)

    def test_backups_replace_the_oldest(self):
        objects = chart.render_with({"backup": {"schedule": "30 2 * * *", "keep": 3}})
        command = chart.container_of(objects, "r-galleon-backup")["command"]
        with tempfile.TemporaryDirectory() as folder:
            here = pathlib.Path(folder)
            (here / "galleon").write_text('#!/bin/sh\n[ "$1 $2 $4" = "admin backup --yes" ] && echo journal > "$3"\n')
            (here / "galleon").chmod(0o755)
            for day in range(1, 6):
                (here / f"galleon-2020010{day}T000000Z.db").write_text("old")
            (here / "mine.db").write_text("not the chart's")

            def run():
                return subprocess.run([*command[:2], command[2].replace("/backup", folder), *command[3:]], env={"PATH": f"{folder}:/usr/bin:/bin"},
                                      capture_output=True, text=True, check=False)

            done = run()
            self.assertEqual(done.returncode, 0, done.stderr)
            kept = sorted(path.name for path in here.glob("*.db"))
            self.assertEqual(len(kept), 4)
            self.assertIn("mine.db", kept)
            self.assertEqual(kept[:2], ["galleon-20200104T000000Z.db", "galleon-20200105T000000Z.db"])
            # One that fails leaves everything, and is told.
            (here / "galleon").write_text("#!/bin/sh\nexit 1\n")
            self.assertNotEqual(run().returncode, 0)
            self.assertEqual(sorted(path.name for path in here.glob("*.db*")), kept)


if __name__ == "__main__":
    unittest.main()
