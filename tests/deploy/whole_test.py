#!/usr/bin/env python3
"""The chart from its installation to its removal: real helm at a small API server (kubernetes_api.py), each object's pod started here as it is
rendered (pods_test.py), a job submitted by the pod with the command line, the dashboards' queries, and what stays.

    whole_test.py FOLDER_OF_PROGRAMS

The group with GPUs has an NVML of the tests' own and a trainer that trains nothing: all up to where a device would compute. Needs root, for
namespaces; ends with 77 without.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import chart
import kubernetes_api

PROGRAMS = pathlib.Path(sys.argv[-1]).resolve()
sys.argv.append(str(PROGRAMS))  # which these take away
import monitoring_test  # noqa: E402
import pods_test  # noqa: E402

SPOKEN = {"scheduler": 9090, "cpu": 9092, "gpu": 9092}
TEXT = "the sea was calm, and the ship went on; night came. " * 400


class Cluster:
    """Does what controllers and the kubelet would, when step() is called."""

    def __init__(self, test, folder, environment):
        self.test, self.folder, self.environment = test, folder, environment
        self.here = folder / "here"
        self.here.mkdir()
        (self.here / "helm").symlink_to(chart.ROOT / "helm")
        self.api = kubernetes_api.KubernetesApi("galleon")
        test.addCleanup(self.api.close)
        self.running, self.templates = {}, {}
        test.addCleanup(lambda: [pod.stop() for pod in reversed(self.running.values())])

    def start(self, name, template, environment):
        spec = json.loads(json.dumps(template["spec"]))
        # One network is all pods': each worker has a port of its own.
        for container in spec["containers"]:
            group = template["metadata"]["labels"].get("galleon.io/group", "scheduler")
            container["args"] = [a.replace("--metrics=0.0.0.0:9090", f"--metrics=0.0.0.0:{SPOKEN[group]}") for a in container.get("args", [])]
            for port in container.get("ports", []):
                if port["name"] == "metrics":
                    port["containerPort"] = SPOKEN[group]
        pods_test.ApiServer.secrets = self.api.of("secrets")
        pod = pods_test.Pod(self.folder, name, spec, self.folder / "claims", list(self.api.objects.values()), environment)
        self.running[name] = pod
        return pod

    def run_jobs(self):
        for name, job in self.api.of("jobs").items():
            if not job.get("status"):
                pod = self.start(f"{name}-{job['metadata']['resourceVersion']}", job["spec"]["template"], {"KUBERNETES_API": self.api.address})
                self.test.assertEqual(pod.process.wait(120), 0, pod.said())
                now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                condition = {"type": "Complete", "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
                self.api.put_status("jobs", "galleon", name, {"succeeded": 1, "startTime": now, "completionTime": now, "conditions": [condition]})

    def type(self, text):
        """What somebody would type, in a folder of theirs; while it waits for a job the job is run. What was printed."""
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        cli = self.running.get("galleon-cli-0")
        exec_ = "exit 1" if cli is None else " ".join(f"'{word}'" if " " in word else word for word in cli.entry())
        # kubectl and helm, of this cluster; exec goes into the pod that runs here.
        scripts = {"kubectl": f"""if [ "$3" = exec ]; then
  while [ "$1" != -- ]; do shift; done; shift
  exec {exec_} "$@"
fi
exec {chart.TOOLS}/bin/kubectl --server {self.api.address} "$@"
""", "helm": f'exec {chart.HELM} "$@" --kube-apiserver {self.api.address} $VALIDATION\n', "galleon": f'exec {PROGRAMS}/galleon "$@"\n'}
        for name, script in scripts.items():
            (tools / name).write_text(f"#!/bin/sh\n{script}")
            (tools / name).chmod(0o755)
        validation = "" if "uninstall" in text else "--disable-openapi-validation"
        with (self.folder / "typed.log").open("w+") as log:
            shell = subprocess.Popen(["bash", "-euo", "pipefail", "-c", text], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.here,
                                     env={**os.environ, "HOME": str(self.folder), "KUBECONFIG": "/dev/null", "PATH": f"{tools}:{os.environ['PATH']}",
                                          "VALIDATION": validation})
            end = time.monotonic() + 240
            while shell.poll() is None:
                self.test.assertLess(time.monotonic(), end, (self.folder / "typed.log").read_text())
                self.run_jobs()
                time.sleep(0.05)
        said = (self.folder / "typed.log").read_text()
        self.test.assertEqual(shell.returncode, 0, f"{text}\n{said}")
        self.step()
        return said

    def step(self):
        """Ends pods whose set is gone or says something else now, and starts those of sets that are new, the scheduler first."""
        wanted = {f"{name}-0": each["spec"]["template"] for kind in ("statefulsets", "deployments") for name, each in self.api.of(kind).items()
                  if each["spec"].get("replicas", 1) > 0}
        for name in [n for n in self.running if n.endswith("-0") and self.templates[n] != json.dumps(wanted.get(n), sort_keys=True)]:
            pod = self.running.pop(name)
            pod.stop()
            self.test.assertEqual(pod.process.returncode, 0, pod.said())
            pod.folder.rename(pod.folder.with_name(f"was-{name}-{time.monotonic_ns()}"))
        for name in sorted(wanted, key=lambda n: "scheduler" not in n):
            if name not in self.running:
                self.templates[name] = json.dumps(wanted[name], sort_keys=True)
                pod = self.start(name, wanted[name], self.environment.get(name[:-2], {}))
                if "readinessProbe" in pod.container:
                    self.ready(pod)

    def ready(self, pod):
        end = time.monotonic() + 240
        port = next(p["containerPort"] for p in pod.container["ports"] if p["name"] == "metrics")
        while pods_test.PodsTest.get(self.test, port, pod.container["readinessProbe"]["httpGet"]["path"]) != 200:
            self.test.assertLess(time.monotonic(), end, pod.said())
            self.test.assertIsNone(pod.process.poll(), pod.said())
            time.sleep(0.1)

    def cli(self, *arguments, given=""):
        done = self.running["galleon-cli-0"].execute("galleon", *arguments, given=given.encode())
        self.test.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()


class WholeTest(unittest.TestCase):
    scheduler = "127.0.0.1"

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-whole-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        data = self.folder / "claims/data"
        data.mkdir(parents=True)
        (data / "text.txt").write_text(TEXT)

    def install(self, values, environment=None):
        cluster = Cluster(self, self.folder, environment or {})
        file = self.folder / "values.yaml"
        file.write_text(chart.yaml.safe_dump({"cli": {"enabled": True}, "storage": {"inputs": [
            {"name": "data", "mountPath": "/srv/galleon/data", "existingClaim": "data"}]}, **values}))
        notes = cluster.type(f"helm install galleon helm/galleon --namespace galleon -f {file}")
        self.assertIn("exec -i deployment/galleon-cli -- galleon", notes)
        return cluster

    @staticmethod
    def job(name, **more):
        return json.dumps({"name": name, "task": "pretrain", "model": {"source": "preset:tiny"}, "tokenizer": "bytes",
                           "optimizer": {"learning_rate": 0.01, "galore": {"rank": 8, "refresh_interval": 10}}, "checkpoint": {"every": 20},
                           "data": {"train": ["/srv/galleon/data/text.txt"], "validation": ["/srv/galleon/data/text.txt"], "sequence_length": 32},
                           "training": {"steps": 60, "global_batch": 4, "micro_batch": 2, "log_every": 1, "evaluate_every": 20, "evaluate_tokens": 512}, **more})

    def uninstall(self, cluster):
        before = {name: each["metadata"]["uid"] for name, each in cluster.api.of("persistentvolumeclaims").items()}
        cluster.type("kubectl -n galleon delete statefulset -l galleon.io/group --cascade=foreground")
        self.assertEqual([name for name in cluster.running if name.endswith("-0")], ["galleon-scheduler-0", "galleon-cli-0"])
        end = time.monotonic() + 240
        while "GONE" not in cluster.cli("workers"):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.2)
        cluster.type("helm uninstall galleon --namespace galleon")
        self.assertEqual([name for name in cluster.running if name.endswith("-0")], [])
        for kind in ("statefulsets", "deployments", "services", "networkpolicies", "configmaps", "poddisruptionbudgets", "roles"):
            self.assertEqual(cluster.api.of(kind), {}, kind)
        # What docs/operate.md says that stays.
        self.assertEqual({name: each["metadata"]["uid"] for name, each in cluster.api.of("persistentvolumeclaims").items()}, before)
        self.assertEqual(sorted(before), ["galleon-jobs", "galleon-journal"])
        self.assertEqual(sorted(cluster.api.of("secrets")), ["galleon-admin-tls", "galleon-authority", "galleon-scheduler-tls", "galleon-worker-tls"])

    def test_from_install_to_uninstall(self):
        cluster = self.install({"workers": {"cpu": {"slots": 2, "memoryPerSlot": "256Mi", "resources": {"limits": {"memory": "1Gi"}}}}})
        service = monitoring_test.Service(self.folder)
        self.addCleanup(service.stop_all)
        targets = [{"targets": [f"127.0.0.1:{SPOKEN[name]}"], "labels": {"namespace": "galleon"}} for name in ("scheduler", "cpu")]
        prometheus = monitoring_test.Prometheus(service, targets)
        end = time.monotonic() + 120
        while len(prometheus.query("up == 1")) < 2:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        # Two that end, and one that goes on while the dashboards are looked at.
        for number in (1, 2):
            self.assertIn(f"submitted short-{number}", cluster.cli("submit", "-", "--wait", given=self.job("short")))
        cluster.cli("submit", "-", given=self.job("novels", parallel={"ranks": 2}, training={"steps": 1000000, "global_batch": 4, "micro_batch": 2, "log_every": 1,
                                                                                            "evaluate_every": 20, "evaluate_tokens": 512}))
        # Each answers at some time: some tell only of what has just happened.
        silent = [(where, query) for where, query in monitoring_test.queries_of(monitoring_test.dashboards()) if "gpu" not in query and 'device="cuda"' not in query]
        self.assertGreater(len(silent), 40)
        end = time.monotonic() + 120
        while silent:
            self.assertLess(time.monotonic(), end, silent)
            silent = [(where, query) for where, query in silent if not prometheus.query(monitoring_test.chosen_all(query))]
            time.sleep(0.2)
        self.assertIn("RUNNING", cluster.cli("list"))
        self.uninstall(cluster)
        # The worker was asked to go, and its trainer saved what it had.
        self.assertTrue(list((self.folder / "claims/galleon-jobs/novels-3/checkpoints").glob("step-*/manifest.json")))
        # An installation on the same claims goes on with the same jobs, and makes no new authority.
        authority = json.dumps(cluster.api.of("secrets")["galleon-authority"]["data"])
        cluster.type(f"helm install galleon helm/galleon --namespace galleon -f {self.folder}/values.yaml")
        self.assertEqual(json.dumps(cluster.api.of("secrets")["galleon-authority"]["data"]), authority)
        self.assertIn("short-1", cluster.cli("list"))

    def test_the_guides_lines_for_the_days_after(self):
        """docs/install.md, typed: each block after the one before."""
        guide = (chart.ROOT / "docs/install.md").read_text()
        blocks = re.findall(r"```sh\n(.*?)```", guide.split("**Data into a claim", 1)[1].split("**Without the service", 1)[0], re.DOTALL)
        self.assertEqual(len(blocks), 3)
        cluster = self.install({"workers": {"cpu": {"memoryPerSlot": "512Mi", "resources": {"limits": {"memory": "1Gi"}}}}})
        (cluster.here / "books").mkdir()
        (cluster.here / "books/emma.txt").write_text(TEXT)
        (cluster.here / "job.yaml").write_text(self.job("novels").replace("/srv/galleon/data/text.txt", "/srv/galleon/data/books/emma.txt"))
        first, *rest = blocks[0].splitlines()
        cluster.type(first)
        cluster.type("\n".join(rest))
        self.assertTrue(list((cluster.here / "checkpoints").glob("step-*/model.safetensors")))
        cluster.type(blocks[1])
        done = subprocess.run([PROGRAMS / "galleon", "list", "--server", "localhost:7070", "--tls", cluster.here / "tls/ann"], capture_output=True, text=True, check=False)
        self.assertIn("novels-1", done.stdout, done.stderr)
        workers, uninstall, delete = blocks[2].splitlines()
        cluster.type(workers)
        cluster.type(uninstall)
        self.assertEqual(sorted(cluster.api.of("persistentvolumeclaims")), ["galleon-jobs", "galleon-journal"])
        cluster.type(delete)
        self.assertEqual((cluster.api.of("persistentvolumeclaims"), cluster.api.of("secrets")), ({}, {}))

    def test_a_group_with_gpus_up_to_where_a_device_would_compute(self):
        (self.folder / "claims/data/cards").write_text("GPU-1111 24576 24000 41 7 0 0 NVIDIA Test 24GB\nGPU-2222 24576 23000 52 90 0 0 NVIDIA Test 24GB\n")
        seen = {"LD_LIBRARY_PATH": "/programs/fake_nvml", "FAKE_NVML": "/srv/galleon/data/cards", "GALLEON_TRAINER": "/programs/fake-trainer"}
        script = "stage train; step 5; finish"
        cluster = self.install({"workers": {"gpu": {"gpus": 2, "labels": {"script": script}}}}, {"galleon-gpu": seen})
        workers = json.loads(cluster.cli("workers", "-o", "json"))
        self.assertIn("GPU-2222", json.dumps(workers))
        said = cluster.cli("submit", "-", "--wait", "-o", "json", given=self.job("on-gpus", resources={"device": "cuda"}, parallel={"ranks": 2},
                                                                                  scheduling={"labels": {"script": script}}))
        self.assertEqual(json.loads(said)["state"], "SUCCEEDED")
        self.uninstall(cluster)

    def test_a_build_with_cuda_stops_at_the_driver_by_name_and_trains_nowhere_else(self):
        built = sorted(chart.ROOT.glob("build-cuda*/bin/galleon-trainer"))
        if pathlib.Path("/proc/driver/nvidia").exists():
            self.skipTest("a driver is here: tests/gpu/run.sh goes further")
        if not built:
            self.skipTest("no trainer with CUDA here: cmake --preset cuda-90 && cmake --build --preset cuda-90 --target galleon-trainer")
        data = self.folder / "claims/data"
        (data / "cards").write_text("GPU-1111 24576 24000 41 7 0 0 NVIDIA Test 24GB\n")
        shutil.copy(built[0], data / "galleon-trainer")
        seen = {"LD_LIBRARY_PATH": "/programs/fake_nvml", "FAKE_NVML": "/srv/galleon/data/cards", "GALLEON_TRAINER": "/srv/galleon/data/galleon-trainer"}
        cluster = self.install({"workers": {"gpu": {"gpus": 1}}}, {"galleon-gpu": seen})
        cluster.cli("submit", "-", given=self.job("on-a-gpu", resources={"device": "cuda"}))
        end = time.monotonic() + 120
        while "NVIDIA driver" not in (said := cluster.cli("get", "on-a-gpu-1")):
            self.assertLess(time.monotonic(), end, said)
            time.sleep(0.1)
        self.assertIn("no NVIDIA driver is loaded on this machine", said)
        self.assertEqual(json.loads(cluster.cli("get", "on-a-gpu-1", "-o", "json")).get("step", 0), 0)
        cluster.cli("cancel", "on-a-gpu-1")
        self.uninstall(cluster)


def main():
    if pods_test.INSIDE in sys.argv:
        unittest.main(argv=sys.argv[:1])
    chart.need_tools()
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False).returncode != 0:
        print("skipped: this machine gives no namespaces of one's own; root is needed")
        sys.exit(chart.SKIPPED)
    if not shutil.which("prometheus"):
        print("skipped: prometheus is not here; deploy/packages.sh test installs it")
        sys.exit(chart.SKIPPED)
    command = ["unshare", "-n", "-p", "-f", "--kill-child", "-m", "--mount-proc", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, __file__,
               pods_test.INSIDE, str(PROGRAMS)]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
