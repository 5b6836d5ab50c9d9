"""Of other projects' objects the part that the examples use, as their definitions have it. Other keys are refused: whoever uses one adds it
here, from the same source."""


def record(required=(), **properties):
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def array(items, least=1):
    return {"type": "array", "items": items, "minItems": least}


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
MAP = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITY = {"type": ["integer", "string"], "pattern": r"^[0-9.]+(m|[kMGTPE]i?)?$"}
METADATA = record(["name"], name=TEXT, namespace=TEXT, labels=MAP)
RULES = record(stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600}, selectPolicy={"enum": ["Max", "Min", "Disabled"]},
               policies=array(record(["type", "value", "periodSeconds"], type={"enum": ["Pods", "Percent"]}, value={"type": "integer", "minimum": 1},
                                     periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800})))


def definition(version, kind, spec):
    return record(["apiVersion", "kind", "metadata", "spec"], apiVersion={"const": version}, kind={"const": kind}, metadata=METADATA, spec=spec)


# Their values are text, whatever they mean: kedacore/keda, pkg/scalers/prometheus_scaler.go.
PROMETHEUS = record(["serverAddress", "query", "threshold"], serverAddress={"type": "string", "pattern": "^https?://"}, query=TEXT,
                    threshold={"type": "string", "pattern": r"^[0-9.]+$"}, activationThreshold={"type": "string"}, authModes=TEXT,
                    ignoreNullValues={"enum": ["true", "false"]})
SCHEMAS = {
    # kedacore/keda, config/crd/bases/keda.sh_scaledobjects.yaml
    "ScaledObject": definition("keda.sh/v1alpha1", "ScaledObject", record(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=record(["name"], apiVersion=TEXT, kind=TEXT, name=TEXT, envSourceContainerName=TEXT),
        minReplicaCount=COUNT, maxReplicaCount=COUNT, idleReplicaCount=COUNT, pollingInterval=COUNT, cooldownPeriod=COUNT,
        advanced=record(restoreToOriginalReplicaCount={"type": "boolean"},
                        horizontalPodAutoscalerConfig=record(name=TEXT, behavior=record(scaleUp=RULES, scaleDown=RULES))),
        triggers=array(record(["type", "metadata"], type={"const": "prometheus"}, name=TEXT, metricType={"enum": ["AverageValue", "Value", "Utilization"]},
                              metadata=PROMETHEUS)))),
    # kubernetes-sigs/kueue, config/components/crd/bases/kueue.x-k8s.io_*.yaml
    "ResourceFlavor": definition("kueue.x-k8s.io/v1beta1", "ResourceFlavor", record(
        nodeLabels=MAP, tolerations=array(record(key=TEXT, operator={"enum": ["Exists", "Equal"]}, value=TEXT, effect=TEXT)))),
    "ClusterQueue": definition("kueue.x-k8s.io/v1beta1", "ClusterQueue", record(
        namespaceSelector={"type": "object"}, cohort=TEXT,
        preemption=record(withinClusterQueue={"enum": ["Never", "LowerPriority", "LowerOrNewerEqualPriority"]},
                          reclaimWithinCohort={"enum": ["Never", "LowerPriority", "Any"]}),
        resourceGroups=array(record(["coveredResources", "flavors"], coveredResources=array(TEXT), flavors=array(
            record(["name", "resources"], name=TEXT, resources=array(record(["name", "nominalQuota"], name=TEXT, nominalQuota=QUANTITY)))))))),
    "LocalQueue": definition("kueue.x-k8s.io/v1beta1", "LocalQueue", record(["clusterQueue"], clusterQueue=TEXT)),
    # kubernetes-sigs/jobset, config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml; what a template holds is Kubernetes' own.
    "JobSet": definition("jobset.x-k8s.io/v1alpha2", "JobSet", record(
        ["replicatedJobs"], suspend={"type": "boolean"}, failurePolicy=record(maxRestarts=COUNT),
        network=record(enableDNSHostnames={"type": "boolean"}, subdomain=TEXT),
        replicatedJobs=array(record(["name", "template"], name=TEXT, replicas=COUNT, template=record(["spec"], metadata={"type": "object"}, spec={"type": "object"}))))),
}
