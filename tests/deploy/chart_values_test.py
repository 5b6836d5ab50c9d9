#!/usr/bin/env python3
"""The chart's values: refused by name where they are wrong, described where they are not, and one for each option of the daemons.

    chart_values_test.py FOLDER_OF_PROGRAMS
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import chart

chart.need_tools()
import kubernetes_validate  # noqa: E402

PROGRAMS = pathlib.Path(sys.argv.pop()).resolve() if len(sys.argv) > 1 and pathlib.Path(sys.argv[-1]).is_dir() else chart.ROOT / "build/bin"
NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
SHA = "sha256:" + "0123456789abcdef" * 4

# What is set, and a part of what helm has to say.
WRONG = [
    ("scheduler.replicas=2", "one scheduler owns the journal"),
    ("scheduler.replica=1", "replica"),
    ("scheduler.lease=soon", "lease"),
    ("scheduler.maxRequests=0", "maxRequests"),
    ("scheduler.maxLost=0", "maxLost"),
    ("scheduler.keepFree=some", "keepFree"),
    ("scheduler.persistence.size=lots", "size"),
    ("scheduler.service.type=Public", "type"),
    ("scheduler.service.nodePort=30000", "scheduler.service.nodePort: a service of type ClusterIP has none"),
    ("scheduler.service.loadBalancerSourceRanges[0]=10.0.0.0/8", "only a service of type LoadBalancer has it"),
    ("scheduler.resources.limits.memory=256Mi", "scheduler.resources: a request of 512Mi memory is more than the limit, 256Mi"),
    ("scheduler.resources.limits.cpu=0.25", "a request of 500m cpu is more than the limit, 0.25"),
    ("scheduler.serviceAccount.create=false", "scheduler.serviceAccount.name"),
    ("scheduler.extraArgs[0]=keep-free", "extraArgs"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("image.registry=registry.example.org", "registry"),
    ("image.tag=" + SHA, "tag"),
    ("image.tag=0.1.0@" + SHA, "tag"),
    ("image.worker=galleon/worker@sha256:0123", "worker"),
    ("tls.mode=none", "mode"),
    ("tls.mode=existing", "tls.secrets.admin"),
    ("tls.certManager.issuer.kind=Authority", "kind"),
    ("tls.selfSigned.days=0", "days"),
    ("tls.hosts[0]=galleon.example.org:7070", "hosts"),
    ("storage.jobs.accessMode=ReadOnlyMany", "accessMode"),
    ("storage.jobs.mountPath=jobs", "mountPath"),
    ("storage.jobs.mountPath=/tmp", "storage.jobs.mountPath: /tmp: /tmp is the chart's own"),
    ("storage.jobs.mountPath=/var", "storage.jobs.mountPath: /var: /var/lib/galleon is the chart's own"),
    ("workers.cpu.slots=-1", "slots"),
    ("workers.cpu.gpu=1", "gpu"),
    ("workers.cpu=null,workers.gpu.gpus=1", "'/workers/cpu': got null, want object"),
    ("workers.Big_Group.slots=1", "Big_Group"),
    ("workers.cpu.slots=2,workers.cpu.memoryPerSlot=8Gi", "a job that was admitted would be killed"),
    ("workers.cpu.memoryPerSlot=8 gigabytes", "memoryPerSlot"),
    ("workers.cpu.stopGraceSeconds=-1", "stopGraceSeconds"),
    ("workers.cpu.resources.requests.memory=9Gi", "workers.cpu.resources: a request of 9Gi memory is more than the limit, 8Gi"),
    ("workerDefaults.resources.limits.cpu=1", "a request of 2 cpu is more than the limit, 1"),
    ("workers.cpu.logSpool=lots", "logSpool"),
    ("workers.cpu.probeEvery=0", "probeEvery"),
    ("workers.cpu.allow[0]=/etc", "allow"),
    ("workers.cpu.allowTracking[0]=mlflow.example.org", "allowTracking"),
    ("workers.cpu.updateStrategy.type=Recreate", "updateStrategy"),
    ("workers.cpu.labels.a=b,workers.cpu.labelsFromFields.a=spec.nodeName", "a is in labels too"),
    ("workers.cpu.hostNetwork=true", "networkPolicy.nodes"),
    ("workers.a.serviceAccount.annotations.x=z,workers.b.slots=1", "give it a name of its own"),
    ("workerDefaults.serviceAccount.create=false", "workers.cpu.serviceAccount.name"),
    ("queues.default.weigth=2", "weigth"),
    ("queues.default.weight=0", "weight"),
    ("access.principals.ann.roles.lab=owner", "lab"),
    ("access.principals.ann.certificate=ann", "roles"),
    ("notify.config.receivers.chat.urls=x", "urls"),
    ("pods.podSecurityContext.runAsUser=0", "runAsUser"),
    ("pods.extraVolumes[0].name=tmp,pods.extraVolumes[0].emptyDir.medium=Memory", "tmp: a volume of the chart has this name"),
    ("pods.extraVolumeMounts[0].name=x,pods.extraVolumeMounts[0].mountPath=/etc/galleon/", "/etc/galleon/ is the chart's own"),
    ("pods.extraEnv[0].name=GALLEON_TLS,pods.extraEnv[0].value=x", "GALLEON_TLS: the chart sets it"),
    ("backup.restore=galleon.db", "set scheduler.replicas: 0"),
    ("backup.restore=../galleon.db,scheduler.replicas=0", "restore"),
    ("backup.schedule=nightly", "schedule"),
    ("metrics.serviceMonitor.interval=often", "interval"),
    ("networkPolicies.enabled=false", "networkPolicies"),
    ("global.storageclass=fast", "global.storageclass: nothing of this chart asks for it"),
    ("enabled=true", "only a parent chart's condition"),
    ("fullnameOverride=4090", "fullnameOverride"),
]
# Options that the chart gives daemons no value for, and why.
EXCEPTIONS = {
    "galleon-scheduler": {
        "--help": "prints, and ends",
        "--version": "prints, and ends",
        "--ready-file": "probes ask over HTTP",
        "--planner": "the image's own, of the same version",
    },
    "galleon-worker": {
        "--help": "prints, and ends",
        "--version": "prints, and ends",
        "--ready-file": "probes ask over HTTP",
        "--trainer": "the image's own, of the same version",
        "--trainer-user": "another user needs capabilities that a restricted pod has not; a pod's file system is its own already",
    },
}
# Together they ask for everything.
EVERYTHING = {
    "scheduler": {"keepFree": "2GiB"},
    "notify": {"config": {"receivers": {"chat": {"url_file": "/etc/galleon/notify/url"}}}, "existingSecret": "hooks"},
    "metrics": {"token": {"existingSecret": "metrics"}},
    "storage": {"inputs": [{"name": "data", "mountPath": "/srv/data", "existingClaim": "data"}]},
    "workers": {"cpu": {"keepFree": "5GiB", "interface": "net1", "labels": {"zone": "a"}, "allowCopies": ["s3://copies"],
                        "allowTracking": ["https://mlflow.example.org"]}},
}
RESTORE = {"scheduler": {"replicas": 0}, "backup": {"restore": "galleon.db"}}


def input_of(**values):
    return {"storage": {"inputs": [{"name": "data", "mountPath": "/data", **values}]}}


class RefusalTest(unittest.TestCase):
    def test_wrong_values_are_refused_with_the_value_named(self):
        for setting, named in WRONG:
            with self.subTest(setting=setting):
                done = chart.helm("template", "r", chart.CHART, "--set", setting)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(named, done.stderr)

    def test_inputs_that_would_hide_something_are_refused(self):
        for values, named in [
            ({}, "data needs existingClaim, hostPath or volume"),
            ({"hostPath": "/a", "existingClaim": "b"}, "data has existingClaim and hostPath; give one"),
            ({"hostPath": "/a", "mountPath": "/srv/galleon/jobs"}, "/srv/galleon/jobs is mounted twice"),
            ({"hostPath": "/a", "name": "tls"}, "tls: a volume of the chart has this name"),
            ({"hostPath": "/a", "mountPath": "/tmp"}, "/tmp is mounted twice, or the image's own"),
            ({"hostPath": "/a", "mountPath": "/tmp/data"}, "/tmp/data and /tmp lie in each other"),
            ({"hostPath": "/a", "mountPath": "/srv"}, "/srv and /srv/galleon/jobs lie in each other"),
            ({"hostPath": "/a", "mountPath": "/etc"}, "lie in each other"),
            ({"hostPath": "/a", "mountPath": "/data/../tmp"}, "mountPath"),
            ({"hostPath": "/a", "mountPath": "/data/"}, "mountPath"),
            ({"hostPath": "/a", "subPath": "../b"}, "subPath"),
        ]:
            with self.subTest(values=values):
                self.assertIn(named, chart.refusal(input_of(**values)))
        twice = {"storage": {"inputs": [{"name": "a", "mountPath": "/data", "hostPath": "/a"}, {"name": "b", "mountPath": "/data/b", "hostPath": "/b"}]}}
        self.assertIn("/data/b and /data lie in each other", chart.refusal(twice))
        # A path that only begins with the same letters is another.
        chart.render_with(input_of(hostPath="/a", mountPath="/tmpdata"))

    def test_a_name_that_kubernetes_would_cut_or_refuse_is_refused(self):
        self.assertIn("52 letters", chart.refusal({"fullnameOverride": "f" * 40, "workers": {"g" * 20: {}}}))
        chart.render_with({"fullnameOverride": "f" * 40, "workers": {"g" * 11: {}}})
        self.assertIn("names of Services begin with a letter", chart.refusal({}, name="4090"))
        self.assertIn("names of Services have no dots", chart.refusal({}, name="galleon.prod"))


class DescriptionTest(unittest.TestCase):
    def test_the_defaults_of_the_values_file_are_what_the_schema_describes(self):
        schema = json.loads((chart.CHART / "values.schema.json").read_text())
        values = chart.yaml.safe_load((chart.CHART / "values.yaml").read_text())

        def resolved(described):
            return schema["definitions"][described["$ref"].rsplit("/", 1)[1]] if "$ref" in described else described

        pods = set(schema["definitions"]["pods"]["properties"])
        compared = []

        def compare(described, given, path):
            described = resolved(described)
            if described.get("additionalProperties") is not False:
                return
            keys = set(described["properties"])
            # Described once, for all pods.
            if path in ("scheduler", "workerDefaults", "tasks"):
                self.assertLessEqual(pods, keys, path)
                keys -= pods - set(given)
            self.assertEqual(keys - {"enabled"} if not path else keys, set(given), f"keys of {path or 'values.yaml'}")
            compared.append(path)
            for key, value in given.items():
                # Empty ones are described elsewhere: queues and receivers in docs/operate.md, the rest by Kubernetes.
                if isinstance(value, dict) and value:
                    compare(described["properties"][key], value, f"{path}.{key}" if path else key)

        compare(schema, values, "")
        self.assertGreater(len(compared), 25)
        self.assertEqual(schema["definitions"]["group"]["properties"], schema["definitions"]["workerDefaults"]["properties"])

    def test_the_readme_is_what_values_and_schema_say(self):
        done = subprocess.run([sys.executable, str(chart.CHART / "make_readme.py"), "--check"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = (chart.CHART / "README.md").read_text()
        for key in ("`workerDefaults.gpuResource` | `nvidia.com/gpu`", "`scheduler.persistence.size` | `10Gi`", "`metrics.serviceMonitor.honorLabels` | `false`"):
            self.assertIn(key, text)
        for path in chart.VALUES:
            self.assertIn(path.name, text)
        values = chart.yaml.safe_load((chart.CHART / "values.yaml").read_text())
        for top in values:
            self.assertRegex(text, rf"\| `{top}[`.]", top)

    def test_every_value_is_read_by_a_template(self):
        read = "\n".join(path.read_text() for path in (chart.CHART / "templates").rglob("*") if path.is_file())
        values = chart.yaml.safe_load((chart.CHART / "values.yaml").read_text())
        for top, below in values.items():
            if top in ("queues", "projects", "retention", "global"):
                continue
            for key in below if isinstance(below, dict) else [top]:
                self.assertRegex(read, rf'[."]{re.escape(key)}\b', f"{top}.{key}")


class OptionTest(unittest.TestCase):
    """An option of a daemon that comes later fails here until it has a value or a reason."""

    def given(self, program):
        options = set()
        for values in (EVERYTHING, RESTORE, {"workers": {"gpu": {"gpus": 1}}}):
            for _, _, spec in chart.pod_specs(chart.render_with(values)):
                for container in spec["containers"]:
                    if container["command"][0] == program:
                        options |= {argument.split("=")[0] for argument in container["command"][1:] + container.get("args", [])}
        return options

    def test_every_option_of_a_daemon_has_a_value_or_a_reason(self):
        if not (PROGRAMS / "galleon-worker").exists():
            self.skipTest(f"no programs in {PROGRAMS}")
        for program, exceptions in EXCEPTIONS.items():
            text = subprocess.run([PROGRAMS / program, "--help"], capture_output=True, text=True, check=True).stdout
            known = set(re.findall(r"^  (?:-\w,)?(--[a-z-]+)", text, re.MULTILINE))
            self.assertGreater(len(known), 15)
            given = self.given(program)
            self.assertEqual(given & set(exceptions), set())
            self.assertEqual(known - given, set(exceptions), program)
            self.assertLessEqual(given, known, f"the chart gives {program} what it does not know")

    def test_daemons_take_the_arguments_that_the_chart_gives_them(self):
        if not (PROGRAMS / "galleon-worker").exists():
            self.skipTest(f"no programs in {PROGRAMS}")
        everything = chart.render_with(EVERYTHING)
        for name, program in (("r-galleon-scheduler", "galleon-scheduler"), ("r-galleon-cpu", "galleon-worker")):
            with self.subTest(program=program), tempfile.TemporaryDirectory() as folder:
                # In a folder of its own, with certificates that are not there: options are read before them.
                arguments = [a.replace("=/", f"={folder}/").replace("$(POD_NAME)", "w") for a in chart.container_of(everything, name)["args"]]
                done = subprocess.run([PROGRAMS / program, *arguments], capture_output=True, text=True, timeout=60, check=False)
                self.assertIn(f"cannot open {folder}/etc/galleon/", done.stderr + done.stdout)
                self.assertNotEqual(done.returncode, 2, done.stderr)
                wrong = subprocess.run([PROGRAMS / program, *arguments, "--nonsense=1"], capture_output=True, text=True, timeout=60, check=False)
                self.assertIn("--nonsense", wrong.stderr + wrong.stdout)

    def test_large_numbers_are_written_out(self):
        arguments = chart.container_of(chart.render_with({"scheduler": {"maxRequests": 12000000}}), "r-galleon-scheduler")["args"]
        self.assertIn("--max-requests=12000000", arguments)


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


class KnobTest(unittest.TestCase):
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
        objects = chart.render_with(RESTORE)
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
