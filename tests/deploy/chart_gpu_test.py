#!/usr/bin/env python3
"""Groups of workers with GPUs, as helm renders them: they use them, or are refused."""

import unittest

import chart

chart.need_tools()
import kubernetes_validate  # noqa: E402

NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])


def group(**values):
    return {"workers": {"gpu": values}}


class GpuTest(unittest.TestCase):
    def worker(self, **values):
        objects = chart.render_with(group(**values))
        for each in objects:
            chart.validate(each, NEWEST)
        return chart.pod_of(objects, "r-galleon-gpu")

    def test_gpus_bring_the_image_the_device_the_slots_and_the_resource(self):
        container = self.worker(gpus=4)["containers"][0]
        self.assertEqual(container["image"], "galleon/worker-cuda:0.1.0")
        self.assertIn("--device=cuda", container["args"])
        self.assertIn("--slots=4", container["args"])
        self.assertEqual(container["resources"]["limits"]["nvidia.com/gpu"], 4)
        self.assertFalse([a for a in container["args"] if a.startswith("--memory-per-slot")])

    def test_without_gpus_slots_are_processors_in_so_many_words(self):
        container = self.worker(slots=2)["containers"][0]
        self.assertEqual(container["image"], "galleon/worker:0.1.0")
        self.assertIn("--device=cpu", container["args"])
        self.assertNotIn("nvidia.com/gpu", container["resources"]["limits"])

    def test_a_group_of_ones_own_stands_alone(self):
        for objects, name in ((chart.render_with(group(gpus=1)), "r-galleon-gpu"), (chart.render(), "r-galleon-cpu")):
            self.assertEqual({each["metadata"]["name"] for each in chart.of_kind(objects, "StatefulSet")}, {name, "r-galleon-scheduler"})

    def test_the_taint_of_gpu_nodes_is_tolerated_unless_other_tolerations_are_given(self):
        self.assertEqual(self.worker(gpus=1)["tolerations"], [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}])
        own = [{"key": "dedicated", "operator": "Exists"}]
        self.assertEqual(self.worker(gpus=1, tolerations=own)["tolerations"], own)
        self.assertNotIn("tolerations", self.worker())

    def test_parts_of_a_gpu_and_other_names_are_asked_for_by_their_own(self):
        for resource in ("nvidia.com/mig-1g.10gb", "example.org/gpu"):
            limits = self.worker(gpus=1, gpuResource=resource)["containers"][0]["resources"]["limits"]
            self.assertEqual(limits[resource], 1)
            self.assertNotIn("nvidia.com/gpu", limits)

    def test_claims_bring_gpus_instead_of_a_resource(self):
        claims = [{"name": "gpus", "resourceClaimTemplateName": "two"}, {"name": "nic", "resourceClaimName": "rail"}]
        pod = self.worker(gpus=2, gpuResource="", resourceClaims=claims)
        self.assertEqual(pod["resourceClaims"], claims)
        resources = pod["containers"][0]["resources"]
        self.assertEqual(resources["claims"], [{"name": "gpus"}, {"name": "nic"}])
        self.assertEqual(set(resources["limits"]), {"memory"})
        self.assertIn("--device=cuda", pod["containers"][0]["args"])

    def test_ranks_speak_over_the_network_that_is_named(self):
        pod = self.worker(gpus=1, interface="net1", podAnnotations={"k8s.v1.cni.cncf.io/networks": "rail"})
        self.assertIn("--interface=net1", pod["containers"][0]["args"])

    def test_host_network_looks_names_up_in_the_cluster_and_policies_know_its_nodes(self):
        objects = chart.render_with({**group(gpus=1, hostNetwork=True), "networkPolicy": {"nodes": ["10.0.0.0/16"]}})
        pod = chart.pod_of(objects, "r-galleon-gpu")
        self.assertEqual((pod["hostNetwork"], pod["dnsPolicy"]), (True, "ClusterFirstWithHostNet"))
        block = {"ipBlock": {"cidr": "10.0.0.0/16"}}
        self.assertIn(block, chart.of_kind(objects, "NetworkPolicy", "r-galleon-scheduler")[0]["spec"]["ingress"][0]["from"])
        self.assertIn(block, chart.of_kind(objects, "NetworkPolicy", "r-galleon-workers")[0]["spec"]["ingress"][0]["from"])

    def test_devices_for_rdma_add_one_capability(self):
        container = self.worker(gpus=1, rdma={"resources": {"rdma/hca": 2}})["containers"][0]
        self.assertEqual(container["securityContext"]["capabilities"], {"add": ["IPC_LOCK"], "drop": ["ALL"]})
        self.assertEqual(container["resources"]["limits"]["rdma/hca"], 2)

    def test_what_would_leave_gpus_idle_or_slots_without_one_is_refused_by_name(self):
        for values, named in [
            ({"gpus": 1, "slots": 4}, "workers.gpu.slots: 4 with 1 GPUs: a slot is one GPU"),
            ({"gpus": 8, "slots": 1}, "workers.gpu.slots: 1 with 8 GPUs: a slot is one GPU"),
            ({"gpus": 1, "memoryPerSlot": "24Gi"}, "workers.gpu.memoryPerSlot: 24Gi: a slot with a GPU offers the GPU's memory"),
            ({"gpus": 1, "image": "galleon/worker"}, "workers.gpu.image: galleon/worker is image.worker, which has no CUDA"),
            ({"image": "galleon/worker-cuda"}, "workers.gpu.image: galleon/worker-cuda is image.workerCuda, and gpus is 0"),
            ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "workers.gpu.resources: nvidia.com/gpu: say gpus: 1"),
            ({"gpus": 1, "resources": {"limits": {"nvidia.com/gpu": 1}}}, "workers.gpu.resources: nvidia.com/gpu: say gpus: 1"),
            ({"resources": {"requests": {"nvidia.com/mig-1g.10gb": 1}}}, "workers.gpu.resources: nvidia.com/mig-1g.10gb: say gpus: 1"),
            ({"gpus": 1, "gpuResource": "example.org/gpu", "resources": {"limits": {"example.org/gpu": 1}}}, "workers.gpu.resources: example.org/gpu"),
            ({"gpus": 2, "gpuResource": "nvidia.com/mig-1g.10gb"}, "workers.gpu.gpus: 2 of nvidia.com/mig-1g.10gb"),
            ({"gpus": 1, "gpuResource": "amd.com/gpu"}, "workers.gpu.gpuResource: amd.com/gpu: workers train on GPUs of CUDA"),
            ({"gpus": 1, "gpuResource": ""}, "workers.gpu.gpuResource: empty, and resourceClaims as well"),
            ({"gpus": 1, "gpuResource": "gpu"}, "gpuResource"),
            ({"gpus": -1}, "gpus"),
            ({"rdma": {"hostNetwork": True}}, "hostNetwork"),
        ]:
            with self.subTest(values=values):
                self.assertIn(named, chart.refusal(group(**values)))

    def test_claims_are_refused_where_kubernetes_has_another_form_of_them(self):
        values = ("-f", chart.ROOT / "helm/values/host-network-dra.yaml")
        chart.render(*values, "--kube-version", "1.31.0")
        done = chart.helm("template", "r", chart.CHART, *values, "--kube-version", "1.30.4")
        self.assertIn("workers.b200.resourceClaims: Kubernetes v1.30.4 has an earlier form", done.stderr)


if __name__ == "__main__":
    unittest.main()
