#!/usr/bin/env python3
"""A release through real helm: installed, upgraded, rolled back and removed at a small API server (kubernetes_api.py), with the journal in mind."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import chart

chart.need_tools()
import kubernetes_api  # noqa: E402

SECRETS = {"scheduler": "of-scheduler", "worker": "of-worker", "admin": "of-admin"}
# Without the job that makes certificates, for which helm would wait.
CERTIFICATES = ["--set", ",".join(["tls.mode=existing", *(f"tls.secrets.{who}={name}" for who, name in SECRETS.items())])]
FORGOTTEN = "every job would be forgotten"


class ReleaseTest(unittest.TestCase):
    def setUp(self):
        self.api = kubernetes_api.KubernetesApi("ns")
        self.addCleanup(self.api.close)
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="galleon-helm-"))
        self.addCleanup(shutil.rmtree, self.home)

    def helm(self, *arguments):
        command = [chart.HELM, *arguments, "--namespace", "ns", "--kube-apiserver", self.api.address]
        return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, timeout=240,
                              env={**os.environ, "HOME": str(self.home), "KUBECONFIG": "/dev/null"})

    def done(self, verb, *arguments):
        done = self.helm(verb, "r", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def install(self, *settings):
        return self.done("install", chart.CHART, "--disable-openapi-validation", *CERTIFICATES, *settings)

    def upgrade(self, *settings):
        return self.helm("upgrade", "r", chart.CHART, "--disable-openapi-validation", *CERTIFICATES, *settings)

    def journal(self, name="r-galleon-scheduler"):
        volumes = self.api.of("statefulsets")[name]["spec"]["template"]["spec"]["volumes"]
        return next(volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume["name"] == "journal")

    def assert_refused(self, done, was, would_be):
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"this upgrade would start the scheduler on {would_be} while its journal is on {was}: {FORGOTTEN}", done.stderr)
        self.assertIn("acceptNewJournal: true", done.stderr)

    def test_an_upgrade_that_would_lose_the_journal_is_refused_and_changes_nothing(self):
        self.install()
        self.assertEqual(self.journal(), "r-galleon-journal")
        before = len(self.api.written)
        self.assert_refused(self.upgrade("--set", "fullnameOverride=other"), "r-galleon-journal", "other-journal")
        self.assert_refused(self.upgrade("--set", "scheduler.persistence.existingClaim=mine"), "r-galleon-journal", "mine")
        self.assert_refused(self.upgrade("--set", "fullnameOverride=other", "--dry-run=server"), "r-galleon-journal", "other-journal")
        self.assertEqual(self.api.written[before:], [])

    def test_a_claim_of_ones_own_is_the_journal_just_as_well(self):
        own = ("--set", "scheduler.persistence.existingClaim=mine")
        self.install(*own)
        self.assertNotIn("r-galleon-journal", self.api.of("persistentvolumeclaims"))
        self.assert_refused(self.upgrade(), "mine", "r-galleon-journal")
        # Another name of everything else, and the journal stays.
        moved = self.upgrade(*own, "--set", "fullnameOverride=other")
        self.assertEqual(moved.returncode, 0, moved.stderr)
        self.assertEqual(self.journal("other-scheduler"), "mine")

    def test_whoever_says_so_gets_a_new_journal(self):
        self.install()
        done = self.upgrade("--set", "fullnameOverride=other,scheduler.persistence.acceptNewJournal=true")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.journal("other-scheduler"), "other-journal")
        self.assertIn("r-galleon-journal", self.api.of("persistentvolumeclaims"))

    def test_schedulers_of_other_releases_are_not_this_ones(self):
        self.install()
        for name in ("another", "r-2"):
            done = self.helm("install", name, chart.CHART, "--disable-openapi-validation", *CERTIFICATES)
            self.assertEqual(done.returncode, 0, done.stderr)
        done = self.helm("upgrade", "another", chart.CHART, "--disable-openapi-validation", *CERTIFICATES, "--set", "workers.cpu.replicas=3")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_upgrade_rollback_and_removal_keep_the_journal(self):
        self.install()
        claim = self.api.of("persistentvolumeclaims")["r-galleon-journal"]["metadata"]["uid"]
        done = self.upgrade("--set", "workers.cpu.replicas=5,queues.default.weight=3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.api.of("statefulsets")["r-galleon-cpu"]["spec"]["replicas"], 5)
        self.assertEqual(self.journal(), "r-galleon-journal")
        self.done("rollback", "1")
        self.assertNotEqual(self.api.of("statefulsets")["r-galleon-cpu"]["spec"]["replicas"], 5)
        self.assertEqual(self.journal(), "r-galleon-journal")
        self.done("uninstall")
        self.assertEqual(self.api.of("statefulsets"), {})
        kept = self.api.of("persistentvolumeclaims")
        self.assertEqual(sorted(kept), ["r-galleon-jobs", "r-galleon-journal"])
        self.assertEqual(kept["r-galleon-journal"]["metadata"]["uid"], claim)
        self.assertFalse([written for written in self.api.written if written[:2] == ("delete", "persistentvolumeclaims")])
        # And the next installation goes on with it.
        self.install()
        self.assertEqual(self.journal(), "r-galleon-journal")

    def test_an_upgrade_that_changes_claims_of_a_stateful_set_is_refused_with_the_way_to_do_it(self):
        self.install()
        before = len(self.api.written)
        for changed, was in (("spool.size=20Gi", "20Gi, and was 10Gi"), ("spool.storageClass=fast", "10Gi fast, and was 10Gi"), ("spool.ephemeral=true", "ephemeral, and was 10Gi")):
            done = self.upgrade("--set", f"workerDefaults.{changed}")
            self.assertNotEqual(done.returncode, 0, changed)
            self.assertIn(f"workers.cpu.spool: {was}: a StatefulSet's claims are never changed", done.stderr)
            self.assertIn("kubectl delete statefulset r-galleon-cpu --cascade=orphan", done.stderr)
        self.assertEqual(self.api.written[before:], [])
        # As it says; and what is not a claim's may change.
        del self.api.objects["statefulsets", "ns", "r-galleon-cpu"]
        done = self.upgrade("--set", "workerDefaults.spool.size=20Gi")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.upgrade("--set", "workerDefaults.spool.size=20Gi,workers.cpu.replicas=3,workers.other.spool.size=1Gi")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_upgrade_that_changes_a_claim_is_refused_by_the_value(self):
        self.install("--set", "storage.jobs.storageClass=shared")
        before = len(self.api.written)
        same = "storage.jobs.storageClass=shared"
        for changed, named in (("storage.jobs.accessMode=ReadWriteMany", "storage.jobs.accessMode: ReadWriteMany, and claim r-galleon-jobs is ReadWriteOnce"),
                               ("storage.jobs.storageClass=fast", "storage.jobs.storageClass: fast, and claim r-galleon-jobs is shared"),
                               ("scheduler.persistence.size=1Gi", "scheduler.persistence.size: 1Gi, and claim r-galleon-journal has 10Gi: a claim never shrinks")):
            done = self.upgrade("--set", f"{same},{changed}")
            self.assertNotEqual(done.returncode, 0, changed)
            self.assertIn(named, done.stderr)
        self.assertEqual(self.api.written[before:], [])
        done = self.upgrade("--set", f"{same},scheduler.persistence.size=20Gi")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.api.of("persistentvolumeclaims")["r-galleon-journal"]["spec"]["resources"]["requests"]["storage"], "20Gi")

    def test_a_scheduler_is_taken_away_for_a_restore_and_comes_back(self):
        self.install()
        for replicas in (0, 1):
            done = self.upgrade("--set", f"scheduler.replicas={replicas}")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.api.of("statefulsets")["r-galleon-scheduler"]["spec"]["replicas"], replicas)
            self.assertEqual("scheduler.replicas is 0" in done.stdout, replicas == 0)
            self.assertEqual(self.journal(), "r-galleon-journal")

    def test_a_move_to_a_database_is_what_the_guide_says_and_nothing_less(self):
        self.install()
        shared = "scheduler.store.postgresql.existingSecret=db,scheduler.persistence.existingClaim=logs,storage.jobs.existingClaim=jobs"
        before = len(self.api.written)
        # The scheduler runs, or its set is still there: Kubernetes would take only a part of it.
        for more in ("scheduler.replicas=3", "scheduler.replicas=0,backup.restore=it.db"):
            done = self.upgrade("--set", f"{shared},{more}")
            self.assertNotEqual(done.returncode, 0, more)
            self.assertIn("scheduler.store: the StatefulSet r-galleon-scheduler is of another store", done.stderr)
            self.assertIn("kubectl delete statefulset r-galleon-scheduler", done.stderr)
        self.assertEqual(self.api.written[before:], [])
        self.assertEqual(self.upgrade("--set", "scheduler.replicas=0").returncode, 0)
        del self.api.objects["statefulsets", "ns", "r-galleon-scheduler"]
        done = self.upgrade("--set", f"{shared},scheduler.replicas=3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.api.of("statefulsets")["r-galleon-scheduler"]["spec"]["serviceName"], "r-galleon-schedulers")
        # From then on their number is changed as any other.
        for replicas in (0, 4):
            done = self.upgrade("--set", f"{shared},scheduler.replicas={replicas}")
            self.assertEqual(done.returncode, 0, done.stderr)
        # And back to one with SQLite by the same way.
        self.assertIn("scheduler.store: the StatefulSet", self.upgrade("--set", "scheduler.replicas=1").stderr)
        # Of a claim that is there it is known what it is.
        self.api.objects["persistentvolumeclaims", "ns", "logs"] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "logs", "namespace": "ns"},
                                                                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
        self.assertIn("scheduler.persistence: existingClaim logs is ReadWriteOnce with scheduler.replicas: 3", self.upgrade("--set", f"{shared},scheduler.replicas=3").stderr)

    def test_notes_name_the_secrets_that_are_missing_and_no_others(self):
        said = self.install()
        for name in SECRETS.values():
            self.assertIn(f"MISSING: secret {name}, with ca.crt, tls.crt and tls.key", said)
        self.assertNotIn("scheduler.replicas", said)
        for name in ("of-scheduler", "of-worker"):
            self.api.objects["secrets", "ns", name] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "ns"}}
        said = self.upgrade().stdout
        self.assertEqual([name for name in SECRETS.values() if f"MISSING: secret {name}" in said], ["of-admin"])


if __name__ == "__main__":
    unittest.main()
