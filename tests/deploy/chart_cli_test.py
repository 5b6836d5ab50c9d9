#!/usr/bin/env python3
"""The pod with the command line: whose rights it has, what it sees, whom it reaches, and what the notes say of it."""

import unittest

import chart

chart.need_tools()

INPUTS = {"storage": {"inputs": [{"name": "data", "mountPath": "/srv/galleon/data", "existingClaim": "corpora"},
                                 {"name": "models", "mountPath": "/models", "hostPath": "/models"}]}}


def cli(**values):
    return chart.render_with({**INPUTS, "cli": {"enabled": True, **values}})


class CliTest(unittest.TestCase):
    def mounts(self, objects, name):
        return {mount["name"]: mount.get("readOnly", False) for mount in chart.container_of(objects, name)["volumeMounts"]}

    def test_there_is_none_unless_it_is_asked_for(self):
        objects = chart.render_with(INPUTS)
        self.assertNotIn("Deployment", {each["kind"] for each in objects})
        self.assertNotIn("r-galleon-cli", {each["metadata"]["name"] for each in objects})
        peers = chart.of_kind(objects, "NetworkPolicy", "r-galleon-scheduler")[0]["spec"]["ingress"][0]["from"]
        self.assertNotIn("cli", str(peers))

    def test_it_is_the_administrator_and_sees_inputs_and_jobs_where_workers_do(self):
        objects = cli()
        pod = chart.pod_of(objects, "r-galleon-cli")
        self.assertEqual(next(v for v in pod["volumes"] if v["name"] == "tls")["secret"]["secretName"], "r-galleon-admin-tls")
        self.assertEqual(self.mounts(objects, "r-galleon-cli"), {"tls": True, "tmp": False, "jobs": True, "data": True, "models": True})
        places = {name: {m["name"]: m["mountPath"] for m in chart.container_of(objects, name)["volumeMounts"]} for name in ("r-galleon-cli", "r-galleon-cpu")}
        for volume in ("data", "models", "jobs"):
            self.assertEqual(places["r-galleon-cli"][volume], places["r-galleon-cpu"][volume])
        environment = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
        self.assertEqual(environment["GALLEON_SERVER"], "r-galleon-scheduler.ns.svc:7070")

    def test_inputs_can_be_written_where_that_is_said_and_jobs_folders_never(self):
        objects = cli(writeInputs=True)
        self.assertEqual(self.mounts(objects, "r-galleon-cli"), {"tls": True, "tmp": False, "jobs": True, "data": False, "models": False})
        claims = [v["persistentVolumeClaim"] for v in chart.pod_of(objects, "r-galleon-cli")["volumes"] if v["name"] == "data"]
        self.assertEqual(claims, [{"claimName": "corpora"}])
        # Workers still may not.
        self.assertTrue(self.mounts(objects, "r-galleon-cpu")["data"])
        self.assertIn("cli.writeInputs: no pod has them without cli.enabled", chart.refusal({"cli": {"writeInputs": True}}))

    def test_it_reaches_the_scheduler_and_nobody_reaches_it(self):
        clients = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "research"}}}]
        objects = chart.render_with({**INPUTS, "cli": {"enabled": True}, "networkPolicy": {"clients": clients}})
        labels = next(metadata["labels"] for name, metadata, _ in chart.pod_specs(objects) if name == "r-galleon-cli")
        peers = chart.of_kind(objects, "NetworkPolicy", "r-galleon-scheduler")[0]["spec"]["ingress"][0]["from"]
        self.assertTrue(any(peer["podSelector"]["matchLabels"].items() <= labels.items() for peer in peers if "podSelector" in peer))
        mine = [each["spec"] for each in chart.of_kind(objects, "NetworkPolicy") if each["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
        self.assertEqual(len(mine), 1)
        self.assertEqual(mine[0]["policyTypes"], ["Ingress", "Egress"])
        self.assertNotIn("ingress", mine[0])
        self.assertEqual(mine[0]["egress"][0]["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "scheduler")

    def test_its_labels_are_nobody_elses(self):
        objects = chart.render_with({**INPUTS, "cli": {"enabled": True}, "backup": {"schedule": "@daily"}})
        selector = chart.of_kind(objects, "Deployment", "r-galleon-cli")[0]["spec"]["selector"]["matchLabels"]
        self.assertEqual([name for name, metadata, _ in chart.pod_specs(objects) if selector.items() <= metadata["labels"].items()], ["r-galleon-cli"])

    def test_a_volume_of_one_node_keeps_it_there(self):
        near = chart.pod_of(cli(), "r-galleon-cli")["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
        self.assertEqual(near["topologyKey"], "kubernetes.io/hostname")
        objects = chart.render_with({"cli": {"enabled": True}, "storage": {"jobs": {"accessMode": "ReadWriteMany"}}})
        self.assertNotIn("affinity", chart.pod_of(objects, "r-galleon-cli"))

    def test_what_the_chart_sets_is_refused(self):
        for variable in ("GALLEON_SERVER", "GALLEON_CONFIG"):
            self.assertIn(f"cli.extraEnv: {variable}: the chart sets it", chart.refusal({"cli": {"enabled": True, "extraEnv": [{"name": variable, "value": "x"}]}}))

    def test_notes_use_it(self):
        def notes(*arguments):
            return chart.helm("install", "r", chart.CHART, "--namespace", "ns", "--dry-run=client", *arguments).stdout.split("NOTES:")[1]

        said = notes("-f", chart.ROOT / "helm/values/one-node-cpu.yaml")
        self.assertIn("exec -i deployment/r-galleon-cli -- galleon", said)
        self.assertIn("below /srv/galleon/data:", said)
        self.assertNotIn("port-forward", said)
        self.assertNotIn("-cli", notes())


if __name__ == "__main__":
    unittest.main()
