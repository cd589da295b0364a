"""What Airflow's users write as ``pod_override``: as a dictionary, and as a ``V1Pod`` that went through a DAG file."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
from kubernetes import client as k8s

from executors.kubernetes.building.build import build_pod
from executors.workload import Workload
from runtime.authoring.arguments import ArgumentError
from runtime.authoring.placement import LARGEST_CONFIG, plain_executor_config
from tests.unit.kubernetes.pods import OPTIONS, override, workload

PLAIN = build_pod(workload(), OPTIONS)


def pod(*containers: k8s.V1Container, metadata: k8s.V1ObjectMeta | None = None, **spec: Any) -> dict[str, Any]:
    """``executor_config`` as in Airflow's documentation."""
    made = k8s.V1PodSpec(containers=list(containers) or [k8s.V1Container(name="base")], **spec)
    return {"pod_override": k8s.V1Pod(metadata=metadata, spec=made)}


def base(**fields: Any) -> dict[str, Any]:
    return override(containers=[{"name": "base", **fields}])


CONTAINER = PLAIN["spec"]["containers"][0]
EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "resources": (
        pod(
            k8s.V1Container(
                name="base",
                resources=k8s.V1ResourceRequirements(
                    requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "2Gi", "nvidia.com/gpu": "1"}
                ),
            )
        ),
        base(
            resources={"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi", "nvidia.com/gpu": 1}}
        ),
        {
            "containers": [
                {
                    **CONTAINER,
                    "resources": {
                        "requests": {"cpu": "500m", "memory": "1Gi"},
                        "limits": {"memory": "2Gi", "nvidia.com/gpu": "1"},
                    },
                }
            ]
        },
    ),
    "volumes": (
        pod(
            k8s.V1Container(
                name="base", volume_mounts=[k8s.V1VolumeMount(mount_path="/foo/", name="example", read_only=True)]
            ),
            volumes=[
                k8s.V1Volume(name="example", host_path=k8s.V1HostPathVolumeSource(path="/tmp/")),
                k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource()),
            ],
        ),
        override(
            containers=[
                {"name": "base", "volume_mounts": [{"mount_path": "/foo/", "name": "example", "readOnly": True}]}
            ],
            volumes=[{"name": "example", "hostPath": {"path": "/tmp/"}}, {"name": "scratch", "empty_dir": {}}],
        ),
        {
            "containers": [
                {**CONTAINER, "volumeMounts": [{"mountPath": "/foo/", "name": "example", "readOnly": True}]}
            ],
            "volumes": [{"name": "example", "hostPath": {"path": "/tmp/"}}, {"name": "scratch", "emptyDir": {}}],
        },
    ),
    "environment": (
        pod(
            k8s.V1Container(
                name="base",
                env=[
                    k8s.V1EnvVar(name="STATE", value="wa"),
                    k8s.V1EnvVar(
                        name="PASSWORD",
                        value_from=k8s.V1EnvVarSource(
                            secret_key_ref=k8s.V1SecretKeySelector(name="db", key="password")
                        ),
                    ),
                ],
                env_from=[k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name="settings"))],
            )
        ),
        base(
            env=[
                {"name": "STATE", "value": "wa"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            ],
            env_from=[{"configMapRef": {"name": "settings"}}],
        ),
        {
            "containers": [
                {
                    **CONTAINER,
                    "env": [
                        *CONTAINER["env"],
                        {"name": "STATE", "value": "wa"},
                        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                    ],
                    "envFrom": [{"configMapRef": {"name": "settings"}}],
                }
            ]
        },
    ),
    "sidecar": (
        pod(
            k8s.V1Container(
                name="base", volume_mounts=[k8s.V1VolumeMount(mount_path="/shared/", name="shared-empty-dir")]
            ),
            k8s.V1Container(
                name="sidecar",
                image="ubuntu",
                args=['echo "retrieved from mount" > /shared/test.txt'],
                command=["bash", "-cx"],
                volume_mounts=[k8s.V1VolumeMount(mount_path="/shared/", name="shared-empty-dir")],
            ),
            volumes=[k8s.V1Volume(name="shared-empty-dir", empty_dir=k8s.V1EmptyDirVolumeSource())],
        ),
        override(
            containers=[
                {"name": "base", "volumeMounts": [{"mountPath": "/shared/", "name": "shared-empty-dir"}]},
                {
                    "name": "sidecar",
                    "image": "ubuntu",
                    "args": ['echo "retrieved from mount" > /shared/test.txt'],
                    "command": ["bash", "-cx"],
                    "volumeMounts": [{"mountPath": "/shared/", "name": "shared-empty-dir"}],
                },
            ],
            volumes=[{"name": "shared-empty-dir", "emptyDir": {}}],
        ),
        {
            "containers": [
                {**CONTAINER, "volumeMounts": [{"mountPath": "/shared/", "name": "shared-empty-dir"}]},
                {
                    "name": "sidecar",
                    "image": "ubuntu",
                    "args": ['echo "retrieved from mount" > /shared/test.txt'],
                    "command": ["bash", "-cx"],
                    "volumeMounts": [{"mountPath": "/shared/", "name": "shared-empty-dir"}],
                },
            ],
            "volumes": [{"name": "shared-empty-dir", "emptyDir": {}}],
        },
    ),
    "init container": (
        pod(init_containers=[k8s.V1Container(name="fetch", image="alpine", command=["wget", "http://x"])]),
        override(init_containers=[{"name": "fetch", "image": "alpine", "command": ["wget", "http://x"]}]),
        {"initContainers": [{"name": "fetch", "image": "alpine", "command": ["wget", "http://x"]}]},
    ),
    "node selector, tolerations and affinity": (
        pod(
            node_selector={"disktype": "ssd"},
            tolerations=[k8s.V1Toleration(key="gpu", operator="Equal", value="true", effect="NoSchedule")],
            affinity=k8s.V1Affinity(
                pod_anti_affinity=k8s.V1PodAntiAffinity(
                    required_during_scheduling_ignored_during_execution=[
                        k8s.V1PodAffinityTerm(
                            label_selector=k8s.V1LabelSelector(
                                match_expressions=[
                                    k8s.V1LabelSelectorRequirement(key="app", operator="In", values=["db"])
                                ]
                            ),
                            topology_key="kubernetes.io/hostname",
                        )
                    ]
                )
            ),
        ),
        override(
            nodeSelector={"disktype": "ssd"},
            tolerations=[{"key": "gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"}],
            affinity={
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]},
                            "topologyKey": "kubernetes.io/hostname",
                        }
                    ]
                }
            },
        ),
        {
            "nodeSelector": {"disktype": "ssd"},
            "tolerations": [{"key": "gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"}],
            "affinity": {
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]},
                            "topologyKey": "kubernetes.io/hostname",
                        }
                    ]
                }
            },
        },
    ),
    "service account, pull secret, priority and deadline": (
        pod(
            service_account_name="loader",
            automount_service_account_token=True,
            image_pull_secrets=[k8s.V1LocalObjectReference(name="registry")],
            priority_class_name="high",
            termination_grace_period_seconds=120,
        ),
        override(
            service_account_name="loader",
            automount_service_account_token=True,
            image_pull_secrets=[{"name": "registry"}],
            priority_class_name="high",
            termination_grace_period_seconds=120,
        ),
        {
            "serviceAccountName": "loader",
            "automountServiceAccountToken": True,
            "imagePullSecrets": [{"name": "registry"}],
            "priorityClassName": "high",
            "terminationGracePeriodSeconds": 120,
        },
    ),
    "image": (
        pod(k8s.V1Container(name="base", image="other:2", image_pull_policy="Always")),
        base(image="other:2", image_pull_policy="Always"),
        {"containers": [{**CONTAINER, "image": "other:2", "imagePullPolicy": "Always"}]},
    ),
    "security contexts": (
        pod(
            k8s.V1Container(name="base", security_context=k8s.V1SecurityContext(read_only_root_filesystem=True)),
            security_context=k8s.V1PodSecurityContext(run_as_user=1000, fs_group=2000),
        ),
        override(
            containers=[{"security_context": {"read_only_root_filesystem": True}}],
            securityContext={"runAsUser": 1000, "fsGroup": 2000},
        ),
        {
            "containers": [
                {**CONTAINER, "securityContext": {**CONTAINER["securityContext"], "readOnlyRootFilesystem": True}}
            ],
            "securityContext": {**PLAIN["spec"]["securityContext"], "runAsUser": 1000, "fsGroup": 2000},
        },
    ),
}


def through_a_dag_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the parse child makes it plain, and as it comes back from the DB."""
    plain = plain_executor_config("task 't'", config)
    return Workload.from_json(workload(json.loads(json.dumps(plain))).to_json()).executor_config  # type: ignore[return-value]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("form", ["V1Pod", "dict"])
def test_manifest(name, form):
    as_model, as_dict, wanted = EXAMPLES[name]
    made = build_pod(workload(through_a_dag_file(as_model if form == "V1Pod" else as_dict)), OPTIONS)
    assert made == {**PLAIN, "spec": {**PLAIN["spec"], **wanted}}
    for version in ("1.30", "1.37"):
        kubernetes_validate.validate(made, version, strict=True)


@pytest.mark.parametrize("form", ["V1Pod", "dict"])
def test_labels_and_annotations(form):
    metadata = {"labels": {"team": "sales", "dag_id": "not me"}, "annotations": {"sidecar.istio.io/inject": "false"}}
    as_model = {"pod_override": k8s.V1Pod(metadata=k8s.V1ObjectMeta(**metadata))}
    config = as_model if form == "V1Pod" else {"pod_override": {"metadata": metadata}}
    made = build_pod(workload(through_a_dag_file(config)), OPTIONS)
    assert made["metadata"]["labels"] == {**PLAIN["metadata"]["labels"], "team": "sales"}
    assert made["metadata"]["annotations"] == {**PLAIN["metadata"]["annotations"], "sidecar.istio.io/inject": "false"}
    assert made["spec"] == PLAIN["spec"]


class TestInADagFile:
    def test_fields_that_nobody_has_set_are_not_stored(self):
        plain = plain_executor_config("task 't'", pod(k8s.V1Container(name="base", image="x")))
        assert plain == {"pod_override": {"spec": {"containers": [{"name": "base", "image": "x"}]}}}

    def test_models_within_dictionaries(self):
        config = {"pod_override": {"spec": {"containers": [k8s.V1Container(name="base", image="x")]}}}
        assert plain_executor_config("task 't'", config) == {
            "pod_override": {"spec": {"containers": [{"name": "base", "image": "x"}]}}
        }

    def test_a_none_that_somebody_wrote_stays(self):
        assert plain_executor_config("task 't'", {"a": None}) == {"a": None}

    def test_it_is_bounded(self):
        plain_executor_config("task 't'", {"a": "x" * (LARGEST_CONFIG - 8)})
        with pytest.raises(
            ArgumentError, match=f"^task 't': executor_config has 262145 bytes of JSON; at most {LARGEST_CONFIG} are"
        ):
            plain_executor_config("task 't'", {"a": "x" * (LARGEST_CONFIG - 7)})

    def test_what_is_no_unicode(self):
        with pytest.raises(ArgumentError, match="^task 't': executor_config is no JSON: .*surrogates not allowed"):
            plain_executor_config("task 't'", {"a": "\ud800"})

    def test_what_no_pod_can_hold_is_named(self):
        config = base(env=[{"name": "A", "value": object()}])
        with pytest.raises(
            ArgumentError, match=r"^task 't': executor_config\['pod_override'\].*\['value'\]: a object is no JSON"
        ):
            plain_executor_config("task 't'", config)
