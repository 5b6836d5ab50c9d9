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

PROGRAMS = pathlib.Path(sys.argv.pop()).resolve() if len(sys.argv) > 1 and pathlib.Path(sys.argv[-1]).is_dir() else chart.ROOT / "build/bin"
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
    ("tracing.otlp=http://collector:4317", "otlp"),
    ("logging.format=xml", "format"),
    ("logging.level=loud", "level"),
    ("cli.writeInputs=true", "cli.writeInputs: no pod has them"),
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
        "--export": "writes a file, and ends; galleon admin backup writes the same",
        "--import": "into an empty database, and ends; backup.restore does it with --restore",
        "--openapi": "prints, and ends",
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
    "scheduler": {"keepFree": "2GiB", "page": {"enabled": True}},
    "access": {"principals": {"ann": {"token_sha256": "0" * 64, "roles": {"*": "viewer"}}}},
    "tracing": {"otlp": "collector.monitoring:4317"},
    "logging": {"format": "json", "level": "debug"},
    "notify": {"config": {"receivers": {"chat": {"url_file": "/etc/galleon/notify/url"}}}, "existingSecret": "hooks"},
    "metrics": {"token": {"existingSecret": "metrics"}},
    "storage": {"inputs": [{"name": "data", "mountPath": "/srv/data", "existingClaim": "data"}]},
    "workers": {"cpu": {"keepFree": "5GiB", "interface": "net1", "labels": {"zone": "a"}, "allowCopies": ["s3://copies"],
                        "allowTracking": ["https://mlflow.example.org"]}},
}
SEVERAL = {"scheduler": {"replicas": 3, "store": {"postgresql": {"existingSecret": "db"}}, "persistence": {"accessMode": "ReadWriteMany"}},
           "storage": {"jobs": {"accessMode": "ReadWriteMany"}}}
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

    def test_a_page_that_nobody_may_see_is_refused_and_one_is_reached(self):
        page = {"scheduler": {"page": {"enabled": True}}}
        self.assertIn("scheduler.page.enabled: the page lets nobody in without a token", chart.refusal(page))
        token = {"access": {"principals": {"ann": {"token_sha256": "0" * 64, "roles": {"*": "viewer"}}}}}
        for who in (token, {"access": {"existingSecret": "who"}}):
            rendered = chart.render_with({**page, **who})
            port = {p["name"]: p["containerPort"] for p in chart.container_of(rendered, "r-galleon-scheduler")["ports"]}["page"]
            self.assertIn(f"--http=0.0.0.0:{port}", chart.container_of(rendered, "r-galleon-scheduler")["args"])
            service = chart.of_kind(rendered, "Service", "r-galleon-scheduler")[0]["spec"]["ports"]
            self.assertEqual([p["targetPort"] for p in service], ["grpc", "page"])
            policy = chart.of_kind(rendered, "NetworkPolicy", "r-galleon-scheduler")[0]["spec"]["ingress"]
            self.assertEqual([p["port"] for p in policy[0]["ports"]], ["grpc", "page"])
            self.assertEqual([p["port"] for p in policy[1]["ports"]], ["metrics"])
        without = chart.render()
        self.assertNotIn("7072", json.dumps(without))

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
            if path in ("scheduler", "workerDefaults", "tasks", "cli"):
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
        for values in (EVERYTHING, SEVERAL, RESTORE, {"workers": {"gpu": {"gpus": 1}}}):
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


if __name__ == "__main__":
    unittest.main()
