#!/usr/bin/env python3
"""The chart on clusters that differ: their images, names, networks, addresses, ids, volumes and upgrades."""

import pathlib
import re
import shutil
import tempfile
import unittest

import chart

chart.need_tools()
import kubernetes_validate  # noqa: E402

NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class ImageTest(unittest.TestCase):
    def images(self, **image):
        objects = chart.render_with({"image": image, "workers": {"cpu": {}, "gpu": {"gpus": 1}}})
        return {name: spec["containers"][0]["image"] for name, _, spec in chart.pod_specs(objects)}

    def test_two_images_have_digests_of_their_own(self):
        images = self.images(registry="registry.example.org:5000/", scheduler=f"galleon/scheduler@{ONE}", worker=f"galleon/worker:0.1.0@{TWO}")
        self.assertEqual(images, {"r-galleon-scheduler": f"registry.example.org:5000/galleon/scheduler@{ONE}",
                                  "r-galleon-make-secrets": f"registry.example.org:5000/galleon/scheduler@{ONE}",
                                  "r-galleon-test": f"registry.example.org:5000/galleon/scheduler@{ONE}",
                                  "r-galleon-cpu": f"registry.example.org:5000/galleon/worker:0.1.0@{TWO}",
                                  "r-galleon-gpu": "registry.example.org:5000/galleon/worker-cuda:0.1.0"})

    def test_a_port_is_no_tag(self):
        images = self.images(scheduler="registry:5000/scheduler", worker="registry:5000/worker:nightly", tag="1.2.3")
        self.assertEqual((images["r-galleon-scheduler"], images["r-galleon-cpu"], images["r-galleon-gpu"]),
                         ("registry:5000/scheduler:1.2.3", "registry:5000/worker:nightly", "galleon/worker-cuda:1.2.3"))

    def test_a_registry_and_secrets_of_a_parent_chart_are_honoured(self):
        values = {"global": {"imageRegistry": "mirror.example.org", "imagePullSecrets": ["one", {"name": "two"}]}, "image": {"pullSecrets": ["two", "three"]}}
        for name, _, spec in chart.pod_specs(chart.render_with(values)):
            self.assertTrue(spec["containers"][0]["image"].startswith("mirror.example.org/galleon/"), name)
            self.assertEqual([each["name"] for each in spec["imagePullSecrets"]], ["two", "three", "one"], name)


class ParentTest(unittest.TestCase):
    def test_a_parent_chart_may_have_a_condition_and_values_for_its_other_charts(self):
        with tempfile.TemporaryDirectory() as folder:
            parent = pathlib.Path(folder)
            (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies: [{name: galleon, version: 0.1.0, condition: galleon.enabled}]\n")
            (parent / "values.yaml").write_text("global: {cloud: azure, imageRegistry: mirror.example.org}\ngalleon: {enabled: true, workers: {a: {}}}\n")
            shutil.copytree(chart.CHART, parent / "charts" / "galleon")
            done = chart.helm("template", "r", parent)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("mirror.example.org/galleon/worker:0.1.0", done.stdout)


class NameTest(unittest.TestCase):
    def test_names_that_look_like_numbers_and_booleans_stay_names(self):
        for name, namespace, values in (("galleon-1", "4090", {"workers": {"4090": {}, "1e3": {"gpus": 1}, "true": {}, "null": {}}}),
                                        ("true", "true", {"commonLabels": {"a": "1", "b": "true"}}),
                                        ("r", "0123", {"fullnameOverride": "yes", "metrics": {"rules": {"enabled": True}}, "tls": {"mode": "certManager"}})):
            with self.subTest(name=name):
                for each in chart.render_with(values, name=name, namespace=namespace):
                    if "k8s.io" in each["apiVersion"] or "." not in each["apiVersion"]:
                        chart.validate(each, NEWEST)
                    self.assertIsInstance(each["metadata"]["name"], str)

    def test_addresses_are_no_names_in_a_certificate(self):
        hosts = ["galleon.example.org", "10.0.0.7", "fd00::7"]
        objects = chart.render_with({"tls": {"mode": "certManager", "hosts": hosts}, "clusterDomain": "example.internal"})
        scheduler = chart.of_kind(objects, "Certificate", "r-galleon-scheduler")[0]["spec"]
        self.assertEqual(scheduler["ipAddresses"], ["10.0.0.7", "fd00::7"])
        self.assertEqual(scheduler["dnsNames"], ["localhost", "r-galleon-scheduler", "r-galleon-scheduler.ns", "r-galleon-scheduler.ns.svc",
                                                 "r-galleon-scheduler.ns.svc.example.internal", "*.r-galleon-schedulers.ns.svc",
                                                 "*.r-galleon-schedulers.ns.svc.example.internal", "galleon.example.org"])
        made = chart.container_of(chart.render_with({"tls": {"hosts": hosts}, "clusterDomain": "example.internal"}), "r-galleon-make-secrets")
        named = next(each["value"] for each in made["env"] if each["name"] == "HOSTS").split()
        self.assertEqual(named[-4:], ["*.r-galleon-schedulers.ns.svc.example.internal", *hosts])


class NetworkTest(unittest.TestCase):
    def policies(self, **values):
        objects = chart.render_with(values)
        return {each["metadata"]["name"].removeprefix("r-galleon-"): each["spec"] for each in chart.of_kind(objects, "NetworkPolicy")}

    @staticmethod
    def ports(rule):
        return [(port["port"], port["protocol"]) for port in rule["ports"]]

    def test_names_are_looked_up_wherever_the_cluster_has_its_servers(self):
        for name in ("workers", "tasks"):
            rule = self.policies()[name]["egress"][-1]
            self.assertNotIn("to", rule)
            self.assertEqual(self.ports(rule), [(53, "UDP"), (53, "TCP"), (5353, "UDP"), (5353, "TCP")])
        to = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}]
        rule = self.policies(networkPolicy={"dns": {"to": to, "ports": [5353]}})["workers"]["egress"][-1]
        self.assertEqual((rule["to"], self.ports(rule)), (to, [(5353, "UDP"), (5353, "TCP")]))

    def test_prometheus_reads_from_any_namespace_and_from_one_where_that_is_said(self):
        for name in ("scheduler", "workers"):
            self.assertEqual(self.policies()[name]["ingress"][-1], {"from": [{"namespaceSelector": {}}], "ports": [{"port": "metrics", "protocol": "TCP"}]})
        one = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
        for name in ("scheduler", "workers"):
            self.assertEqual(self.policies(networkPolicy={"scrapers": one})[name]["ingress"][-1]["from"], one)

    def test_the_charts_own_pods_reach_the_scheduler_whoever_its_clients_are(self):
        clients = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "research"}}}]
        objects = chart.render_with({"networkPolicy": {"clients": clients}, "backup": {"schedule": "@daily"}})
        peers = chart.of_kind(objects, "NetworkPolicy", "r-galleon-scheduler")[0]["spec"]["ingress"][0]["from"]
        self.assertIn(clients[0], peers)
        self.assertNotIn({"podSelector": {}}, peers)
        selectors = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
        out = chart.of_kind(objects, "NetworkPolicy", "r-galleon-tasks")[0]["spec"]
        for name, metadata, _ in chart.pod_specs(objects):
            if name in ("r-galleon-test", "r-galleon-backup", "r-galleon-cpu"):
                self.assertTrue(any(selector.items() <= metadata["labels"].items() for selector in selectors), name)
            if name in ("r-galleon-test", "r-galleon-backup"):
                self.assertLessEqual(out["podSelector"]["matchLabels"].items(), metadata["labels"].items())

    def test_the_job_that_makes_secrets_reaches_an_api_server_of_any_port_before_all_else_is_there(self):
        objects = chart.render()
        policy = chart.of_kind(objects, "NetworkPolicy", "r-galleon-make-secrets")[0]
        self.assertEqual(policy["spec"]["egress"], [{}])
        labels = next(metadata["labels"] for name, metadata, _ in chart.pod_specs(objects) if name == "r-galleon-make-secrets")
        self.assertLessEqual(policy["spec"]["podSelector"]["matchLabels"].items(), labels.items())
        job = chart.of_kind(objects, "Job", "r-galleon-make-secrets")[0]
        weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (policy, job)]
        self.assertLess(*weights)
        # And nobody reaches it.
        self.assertIn("Ingress", policy["spec"]["policyTypes"])
        self.assertNotIn("ingress", policy["spec"])

    def test_webhooks_object_stores_and_trackers_open_a_way_out_and_nothing_else_does(self):
        web = {"ports": [{"port": 443, "protocol": "TCP"}]}
        quiet = self.policies()
        self.assertEqual(quiet["scheduler"]["egress"], [])
        self.assertNotIn(web, quiet["workers"]["egress"])
        self.assertIn(web, self.policies(notify={"existingSecret": "hooks"})["scheduler"]["egress"])
        self.assertIn(web, self.policies(workers={"a": {}, "b": {"allow": ["s3://corpora"]}})["workers"]["egress"])
        own = {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": 9000, "protocol": "TCP"}]}
        given = self.policies(networkPolicy={"schedulerEgress": [own], "workerEgress": [own]}, notify={"existingSecret": "hooks"}, workers={"b": {"allow": ["s3://corpora"]}})
        for name in ("scheduler", "workers"):
            self.assertIn(own, given[name]["egress"])
            self.assertNotIn(web, given[name]["egress"])

    def test_a_collector_of_traces_is_reached_on_its_port_alone(self):
        egress = self.policies(tracing={"otlp": "collector.monitoring:4317"})["scheduler"]["egress"]
        self.assertEqual(egress[1:], [{"ports": [{"port": 4317, "protocol": "TCP"}]}])
        self.assertNotIn("to", egress[0])

    def test_a_load_balancer_publishes_grpc_alone(self):
        objects = chart.render("--set", "scheduler.service.type=LoadBalancer")
        services = {each["metadata"]["name"]: each["spec"] for each in chart.of_kind(objects, "Service")}
        self.assertEqual([port["name"] for port in services["r-galleon-scheduler"]["ports"]], ["grpc"])
        self.assertEqual((services["r-galleon-scheduler-metrics"]["type"], [port["name"] for port in services["r-galleon-scheduler-metrics"]["ports"]]), ("ClusterIP", ["metrics"]))

    def test_what_is_published_is_reached_from_outside_and_what_is_not_is_not(self):
        anywhere = [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]
        for kind, opened in (("ClusterIP", False), ("NodePort", True), ("LoadBalancer", True)):
            policy = self.policies(scheduler={"service": {"type": kind}})["scheduler"]["ingress"]
            self.assertEqual([peer in policy[0]["from"] for peer in anywhere], [opened, opened], kind)
            self.assertFalse([peer for peer in policy[1]["from"] if "ipBlock" in peer])
        own = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
        given = self.policies(scheduler={"service": {"type": "LoadBalancer"}}, networkPolicy={"clients": own})["scheduler"]["ingress"][0]["from"]
        self.assertEqual([peer for peer in given if "ipBlock" in peer], own)

    def test_a_monitor_finds_each_daemon_once(self):
        objects = chart.render("--set", "metrics.serviceMonitor.enabled=true")
        wanted = chart.of_kind(objects, "ServiceMonitor")[0]["spec"]
        found = [each for each in chart.of_kind(objects, "Service") if wanted["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()]
        self.assertEqual([each["metadata"]["name"] for each in found], ["r-galleon-scheduler-metrics"])

    def test_a_mesh_keeps_its_proxy_out_of_pods_that_end(self):
        for name, metadata, _ in chart.pod_specs(chart.render("--set", "backup.schedule=@daily")):
            if name not in ("r-galleon-scheduler", "r-galleon-cpu"):
                self.assertEqual((metadata["labels"]["sidecar.istio.io/inject"], metadata["annotations"]["linkerd.io/inject"]), ("false", "disabled"), name)


class StorageTest(unittest.TestCase):
    def affinity(self, name, *arguments):
        return chart.pod_of(chart.render(*arguments), name).get("affinity", {}).get("podAffinity", {})

    def test_a_volume_of_one_node_keeps_its_pods_there(self):
        scheduler = chart.of_kind(chart.render(), "StatefulSet", "r-galleon-scheduler")[0]["spec"]["template"]["metadata"]["labels"]
        near = self.affinity("r-galleon-cpu")["requiredDuringSchedulingIgnoredDuringExecution"][0]
        self.assertEqual(near["topologyKey"], "kubernetes.io/hostname")
        self.assertLessEqual(near["labelSelector"]["matchLabels"].items(), scheduler.items())
        self.assertIn("preferredDuringSchedulingIgnoredDuringExecution", self.affinity("r-galleon-scheduler"))
        for other in ("storage.jobs.accessMode=ReadWriteMany", "storage.jobs.existingClaim=mine"):
            self.assertEqual(self.affinity("r-galleon-cpu", "--set", other), {})

    def test_the_default_claim_is_one_that_a_cluster_of_one_node_can_give(self):
        claim = chart.of_kind(chart.render(), "PersistentVolumeClaim", "r-galleon-jobs")[0]["spec"]
        self.assertEqual((claim["accessModes"], claim["resources"]["requests"]["storage"]), (["ReadWriteOnce"], "100Gi"))

    def test_inputs_are_any_volume_and_read_only(self):
        volume = {"nfs": {"server": "files", "path": "/models", "readOnly": True}}
        objects = chart.render_with({"storage": {"inputs": [{"name": "models", "mountPath": "/models", "volume": volume}]}})
        pod = chart.pod_of(objects, "r-galleon-cpu")
        self.assertIn({"name": "models", **volume}, pod["volumes"])
        self.assertIn("--allow=/models", pod["containers"][0]["args"])

    def test_a_limit_alone_is_enough(self):
        resources = chart.container_of(chart.render("--set", "workers.cpu.resources.limits.memory=4Gi"), "r-galleon-cpu")["resources"]
        self.assertEqual((resources["requests"]["memory"], resources["limits"]["memory"]), ("4Gi", "4Gi"))


class IdTest(unittest.TestCase):
    def test_a_cluster_that_gives_ids_itself_is_asked_for_none(self):
        for name, _, spec in chart.pod_specs(chart.render("-f", chart.ROOT / "helm/values/openshift.yaml")):
            context = spec["securityContext"]
            self.assertEqual({"runAsUser", "runAsGroup", "fsGroup"} & set(context), set(), name)
            self.assertTrue(context["runAsNonRoot"])
            for container in spec["containers"]:
                self.assertNotIn("runAsUser", container["securityContext"])

    def test_images_let_any_id_reach_its_mounts(self):
        for file in ("install.sh", "cuda.Dockerfile"):
            text = (chart.ROOT / "deploy/images" / file).read_text()
            made = re.findall(r"install -d -o 10001 -g (\d+) -m (\d+)", text)
            self.assertEqual(made[0], ("0", "0775"), file)


class UpdateTest(unittest.TestCase):
    def test_a_groups_pods_go_at_once_or_as_they_are_told(self):
        strategy = chart.of_kind(chart.render(), "StatefulSet", "r-galleon-cpu")[0]["spec"]["updateStrategy"]
        self.assertEqual(strategy, {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}})
        other = chart.of_kind(chart.render_with({"workers": {"a": {"updateStrategy": {"type": "OnDelete"}}}}), "StatefulSet", "r-galleon-a")[0]["spec"]["updateStrategy"]
        # With more in it Kubernetes would refuse it.
        self.assertEqual(other, {"type": "OnDelete"})

    def test_pods_that_are_not_ready_keep_no_node_from_being_emptied(self):
        for each in chart.of_kind(chart.render(), "PodDisruptionBudget"):
            self.assertEqual((each["spec"]["maxUnavailable"], each["spec"]["unhealthyPodEvictionPolicy"]), (1, "AlwaysAllow"))
        # Where it is not known it would be refused.
        for each in chart.of_kind(chart.render("--kube-version", "1.26.0"), "PodDisruptionBudget"):
            self.assertNotIn("unhealthyPodEvictionPolicy", each["spec"])
        half = chart.of_kind(chart.render_with({"workers": {"a": {"podDisruptionBudget": {"maxUnavailable": "50%"}}}}), "PodDisruptionBudget", "r-galleon-a")[0]
        self.assertEqual(half["spec"]["maxUnavailable"], "50%")

    def test_a_new_version_of_the_chart_alone_restarts_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "galleon"
            shutil.copytree(chart.CHART, copy)
            text = (copy / "Chart.yaml").read_text()
            (copy / "Chart.yaml").write_text(text.replace("\nversion: 0.1.0", "\nversion: 0.1.1"))
            done = chart.helm("template", "r", copy, "--namespace", "ns")
            after = {name: (metadata, spec) for name, metadata, spec in chart.pod_specs(each for each in chart.yaml.safe_load_all(done.stdout) if each)}
        before = {name: (metadata, spec) for name, metadata, spec in chart.pod_specs(chart.render())}
        for name in ("r-galleon-scheduler", "r-galleon-cpu"):
            self.assertEqual(before[name], after[name])


if __name__ == "__main__":
    unittest.main()
