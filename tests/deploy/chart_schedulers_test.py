#!/usr/bin/env python3
"""The chart with several schedulers on a PostgreSQL: what it refuses, and what each object is then."""

import unittest

import chart

chart.need_tools()
import kubernetes_validate  # noqa: E402

NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
STORE = {"postgresql": {"existingSecret": "db"}}
SHARED = {"scheduler": {"replicas": 3, "store": STORE, "persistence": {"accessMode": "ReadWriteMany"}}, "storage": {"jobs": {"accessMode": "ReadWriteMany"}}}
ADDRESSES = [f"r-galleon-scheduler-{i}.r-galleon-schedulers.ns.svc:7070" for i in range(3)]


def shared(**scheduler):
    return {**SHARED, "scheduler": {**SHARED["scheduler"], **scheduler}}


class RefusalTest(unittest.TestCase):
    def test_what_several_cannot_share_is_refused_by_name(self):
        once = {"accessMode": "ReadWriteOnce"}
        for values, named in [
            ({"scheduler": {"replicas": 3}}, "scheduler.replicas: 3: one scheduler owns the journal, which is SQLite's; several share one in PostgreSQL"),
            (shared(persistence=once), "scheduler.persistence: accessMode is ReadWriteOnce with scheduler.replicas: 3"),
            ({**SHARED, "storage": {"jobs": once}}, "storage.jobs: accessMode is ReadWriteOnce with scheduler.replicas: 3"),
            (shared(service={"type": "NodePort", "nodePort": 30070}), "scheduler.service.nodePort: 30070: each of 3 schedulers has a service of its own"),
            ({"scheduler": {"store": {"postgresql": {"caSecret": "ca"}}}}, "scheduler.store.postgresql.caSecret: ca: there is no database"),
            (shared(store={"postgresql": {"existingSecret": "db", "lease": "soon"}}), "lease"),
            (shared(store={"postgresql": {"existingSecret": "db", "key": "a/b"}}), "key"),
            (shared(store={"postgresql": {"url": "postgresql://u:p@h/d"}}), "url"),
            (shared(store={"postgresql": {"existingSecret": "db", "caSecret": "ca"}}, extraEnv=[{"name": "PGSSLMODE", "value": "disable"}]), "PGSSLMODE: the chart sets it"),
            (shared(extraVolumes=[{"name": "store", "emptyDir": {}}]), "store: a volume of the chart has this name"),
        ]:
            with self.subTest(named=named):
                self.assertIn(named, chart.refusal(values))
        # One alone shares nothing; of another's claim nothing is known before it is there.
        chart.render_with({"scheduler": {"store": STORE}})
        chart.render_with(shared(persistence={"existingClaim": "mine"}))


class RenderingTest(unittest.TestCase):
    def setUp(self):
        self.objects = chart.render_with({**SHARED, "cli": {"enabled": True}, "backup": {"schedule": "@daily"}, "tls": {"mode": "certManager"}})
        self.set = chart.of_kind(self.objects, "StatefulSet", "r-galleon-scheduler")[0]["spec"]
        self.pod = self.set["template"]["spec"]

    def services(self, objects):
        return {each["metadata"]["name"]: each["spec"] for each in chart.of_kind(objects, "Service")}

    def test_the_address_of_the_database_is_in_a_file_alone(self):
        container = self.pod["containers"][0]
        self.assertIn("--store=@/etc/galleon/store/url", container["args"])
        self.assertIn("--store-lease=3s", container["args"])
        self.assertEqual([each["name"] for each in container["env"]], ["POD_NAME"])
        volume = next(each for each in self.pod["volumes"] if each["name"] == "store")["projected"]
        self.assertEqual((volume["defaultMode"], volume["sources"]), (0o440, [{"secret": {"name": "db", "items": [{"key": "url", "path": "url"}]}}]))
        with_authority = chart.render_with(shared(store={"postgresql": {"existingSecret": "db", "key": "uri", "caSecret": "ca", "caKey": "root.pem", "lease": "10s"}}))
        container = chart.container_of(with_authority, "r-galleon-scheduler")
        self.assertIn("--store-lease=10s", container["args"])
        self.assertEqual({each["name"]: each.get("value") for each in container["env"]},
                         {"POD_NAME": None, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/etc/galleon/store/ca.crt"})
        sources = next(each for each in chart.pod_of(with_authority, "r-galleon-scheduler")["volumes"] if each["name"] == "store")["projected"]["sources"]
        self.assertEqual([each["secret"] for each in sources], [{"name": "db", "items": [{"key": "uri", "path": "url"}]}, {"name": "ca", "items": [{"key": "root.pem", "path": "ca.crt"}]}])

    def test_each_pod_has_a_name_that_others_call_and_a_certificate_names(self):
        self.assertEqual((self.set["serviceName"], self.set["podManagementPolicy"]), ("r-galleon-schedulers", "Parallel"))
        headless = self.services(self.objects)["r-galleon-schedulers"]
        self.assertEqual((headless["clusterIP"], headless["publishNotReadyAddresses"]), ("None", True))
        self.assertLessEqual(headless["selector"].items(), self.set["template"]["metadata"]["labels"].items())
        advertised = next(a for a in self.pod["containers"][0]["args"] if a.startswith("--advertise=")).removeprefix("--advertise=")
        self.assertEqual([advertised.replace("$(POD_NAME)", f"r-galleon-scheduler-{i}") for i in range(3)], ADDRESSES)
        certificate = chart.of_kind(self.objects, "Certificate", "r-galleon-scheduler")[0]["spec"]["dnsNames"]
        self.assertIn("*.r-galleon-schedulers.ns.svc", certificate)
        self.assertIn("*.r-galleon-schedulers.ns.svc.cluster.local", certificate)

    def test_workers_the_command_line_and_tasks_call_all_of_them(self):
        self.assertIn("--server=" + ",".join(ADDRESSES), chart.container_of(self.objects, "r-galleon-cpu")["args"])
        for name in ("r-galleon-cli", "r-galleon-backup", "r-galleon-test"):
            server = next(each["value"] for each in chart.container_of(self.objects, name)["env"] if each["name"] == "GALLEON_SERVER")
            self.assertEqual(server, ",".join(ADDRESSES), name)
        # Their number changes without a restart of workers; a fourth is named.
        fewer = chart.container_of(chart.render_with(shared(replicas=0)), "r-galleon-cpu")["args"]
        self.assertEqual(fewer, chart.container_of(self.objects, "r-galleon-cpu")["args"])
        more = next(a for a in chart.container_of(chart.render_with(shared(replicas=4)), "r-galleon-cpu")["args"] if a.startswith("--server="))
        self.assertEqual(more.count("7070"), 4)

    def test_all_are_ready_one_leaves_at_a_time_and_they_keep_to_different_machines(self):
        container = self.pod["containers"][0]
        self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/readyz")
        # Of all of them: one for the pod that serves alone would never let its node be emptied.
        budget = chart.of_kind(self.objects, "PodDisruptionBudget", "r-galleon-scheduler")[0]["spec"]
        self.assertEqual(budget["maxUnavailable"], 1)
        self.assertEqual(budget["selector"]["matchLabels"], self.set["selector"]["matchLabels"])
        self.assertEqual(self.set["updateStrategy"], {"type": "RollingUpdate"})
        spread = self.pod["topologySpreadConstraints"]
        self.assertEqual([(each["topologyKey"], each["whenUnsatisfiable"]) for each in spread],
                         [("kubernetes.io/hostname", "ScheduleAnyway"), ("topology.kubernetes.io/zone", "ScheduleAnyway")])
        for each in spread:
            self.assertLessEqual(each["labelSelector"]["matchLabels"].items(), self.set["template"]["metadata"]["labels"].items())
        self.assertNotIn("affinity", self.pod)
        own = [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
        self.assertEqual(chart.pod_of(chart.render_with(shared(topologySpreadConstraints=own)), "r-galleon-scheduler")["topologySpreadConstraints"], own)

    def test_what_is_published_is_each_scheduler_by_itself(self):
        for kind in ("NodePort", "LoadBalancer"):
            objects = chart.render_with({**shared(service={"type": kind}, page={"enabled": True}), "access": {"existingSecret": "who"}})
            services = self.services(objects)
            self.assertNotIn("r-galleon-scheduler", services)
            for i in range(3):
                each = services[f"r-galleon-scheduler-{i}"]
                self.assertEqual((each["type"], each["selector"]["statefulset.kubernetes.io/pod-name"]), (kind, f"r-galleon-scheduler-{i}"))
                self.assertEqual([port["name"] for port in each["ports"]], ["grpc", "page"])
            for each in objects:
                if each["kind"] == "Service":
                    chart.validate(each, NEWEST)
        # Inside, who calls one of them by chance would find a page at one of three.
        inside = self.services(chart.render_with({**shared(page={"enabled": True}), "access": {"existingSecret": "who"}}))
        self.assertEqual([port["name"] for port in inside["r-galleon-scheduler"]["ports"]], ["grpc"])

    def test_the_database_is_reached_by_who_needs_it_and_where_it_is_said(self):
        def egress(name, **values):
            return chart.of_kind(chart.render_with({**SHARED, **values}), "NetworkPolicy", f"r-galleon-{name}")[0]["spec"]["egress"]

        anywhere = {"ports": [{"port": 5432, "protocol": "TCP"}]}
        self.assertEqual(egress("scheduler")[1:], [anywhere])
        self.assertEqual([port["port"] for port in egress("scheduler")[0]["ports"]], [53, 53, 5353, 5353])
        self.assertNotIn(anywhere, egress("workers"))
        self.assertNotIn(anywhere, egress("tasks"))
        restores = {**shared(replicas=0), "backup": {"restore": "it.db"}}
        self.assertIn(anywhere, egress("tasks", **restores))
        own = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 6432, "protocol": "TCP"}]}
        self.assertEqual(egress("scheduler", networkPolicy={"databaseEgress": [own]})[1:], [own])
        hooks = egress("scheduler", notify={"existingSecret": "hooks"})
        self.assertEqual([rule["ports"][0]["port"] for rule in hooks], [53, 443, 5432])

    def test_a_backup_goes_into_the_database_that_the_schedulers_have(self):
        objects = chart.render_with({**shared(replicas=0, store={"postgresql": {"existingSecret": "db", "caSecret": "ca"}}), "backup": {"restore": "it.db"}})
        container = chart.container_of(objects, "r-galleon-restore")
        self.assertEqual(container["command"], ["galleon-scheduler", "--data=/var/lib/galleon", "--restore=/backup/it.db", "--store=@/etc/galleon/store/url"])
        self.assertIn("store", [each["name"] for each in container["volumeMounts"]])
        self.assertIn("PGSSLROOTCERT", [each["name"] for each in container["env"]])

    def test_every_object_is_valid_where_one_alone_is_on_the_database_too(self):
        for values in ({**SHARED, "cli": {"enabled": True}, "backup": {"schedule": "@daily"}}, {"scheduler": {"store": STORE}}, {**shared(replicas=0), "backup": {"restore": "it.db"}}):
            for each in chart.render_with(values):
                chart.validate(each, NEWEST)

    def test_the_notes_name_every_scheduler_and_who_serves(self):
        done = chart.helm("install", "r", chart.CHART, "--namespace", "ns", "--dry-run=client", "-f", chart.ROOT / "helm/values/several-schedulers.yaml", "--set", "cli.enabled=false")
        notes = done.stdout.split("NOTES:")[1]
        self.assertIn("pods/$pod:9090/proxy/leaderz", notes)
        for i, port in enumerate((7070, 7170, 7270)):
            self.assertIn(f"port-forward pod/r-galleon-scheduler-{i} {port}:7070", notes)
        self.assertIn("--server localhost:7070,localhost:7170,localhost:7270", notes)
        self.assertNotIn("service/r-galleon-scheduler", notes)


if __name__ == "__main__":
    unittest.main()
