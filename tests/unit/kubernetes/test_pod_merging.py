"""An override laid over a template, part by part."""

from __future__ import annotations

import copy

import pytest

from executors.kubernetes.building.merging import merge
from executors.kubernetes.errors import PodConfigError

BASE = {
    "metadata": {"namespace": "n", "labels": {"a": "1", "b": "1"}, "annotations": {"a": "1"}},
    "spec": {
        "serviceAccountName": "one",
        "nodeSelector": {"disk": "ssd"},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1},
        "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "initContainers": [{"name": "first", "image": "i", "env": [{"name": "A", "value": "1"}]}],
        "containers": [
            {
                "name": "base",
                "image": "one",
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
                "envFrom": [{"secretRef": {"name": "s"}}],
                "ports": [{"containerPort": 80, "name": "http"}],
                "volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/b"}],
            },
            {"name": "side", "image": "side"},
        ],
    },
}


def merged(**over):
    before = copy.deepcopy(BASE)
    result = merge(BASE, over, "pod_override")
    assert before == BASE
    return result


def spec(**over):
    return merged(spec=over)["spec"]


def base(**over):
    return spec(containers=[{"name": "base", **over}])["containers"][0]


def test_nothing_changes_nothing():
    assert merged() == BASE
    assert merged(metadata={}, spec={}) == BASE
    assert spec(containers=[], volumes=[]) == BASE["spec"]


def test_labels_and_annotations_are_joined():
    metadata = merged(metadata={"labels": {"b": "2", "c": "2"}, "annotations": {"z": "2"}})["metadata"]
    assert metadata["labels"] == {"a": "1", "b": "2", "c": "2"}
    assert metadata["annotations"] == {"a": "1", "z": "2"}
    assert metadata["namespace"] == "n"


def test_scalars_and_what_belongs_together_are_replaced():
    result = spec(serviceAccountName="two", nodeSelector={"gpu": "yes"}, affinity={"nodeAffinity": {}})
    assert result["serviceAccountName"] == "two"
    assert result["nodeSelector"] == {"gpu": "yes"}
    assert result["affinity"] == {"nodeAffinity": {}}
    assert base(resources={"requests": {"memory": "4Gi"}})["resources"] == {"requests": {"memory": "4Gi"}}


def test_false_wins_over_true():
    assert spec(securityContext={"runAsNonRoot": False})["securityContext"] == {"runAsNonRoot": False, "runAsUser": 1}


def test_security_contexts_keep_what_the_override_does_not_name():
    assert base(securityContext={"capabilities": {"add": ["NET_ADMIN"]}, "runAsUser": 5})["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "runAsUser": 5,
    }


def test_volumes_by_name_the_later_one_wins():
    volumes = spec(volumes=[{"name": "b", "hostPath": {"path": "/b"}}, {"name": "c", "emptyDir": {}}])["volumes"]
    assert volumes == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "hostPath": {"path": "/b"}},
        {"name": "c", "emptyDir": {}},
    ]


def test_tolerations_are_joined_without_doubles():
    more = {"key": "b", "operator": "Exists"}
    assert spec(tolerations=[more, *BASE["spec"]["tolerations"]])["tolerations"] == [
        *BASE["spec"]["tolerations"],
        more,
    ]


def test_environment_by_name():
    env = base(env=[{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {"name": "C"}])["env"]
    assert env == [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "C"},
    ]


def test_mounts_by_path_and_one_volume_may_be_mounted_twice():
    mounts = base(volumeMounts=[{"name": "a", "mountPath": "/c"}, {"name": "c", "mountPath": "/b"}])["volumeMounts"]
    assert mounts == [
        {"name": "a", "mountPath": "/a"},
        {"name": "c", "mountPath": "/b"},
        {"name": "a", "mountPath": "/c"},
    ]


def test_ports_by_number_and_protocol():
    ports = base(ports=[{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}])["ports"]
    assert ports == [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]


def test_environment_sources_are_joined():
    more = {"configMapRef": {"name": "c"}}
    assert base(envFrom=[more])["envFrom"] == [{"secretRef": {"name": "s"}}, more]


def test_containers_by_name():
    result = spec(
        containers=[{"name": "base", "image": "two"}, {"name": "side", "image": "new"}, {"name": "more", "image": "m"}]
    )["containers"]
    assert [(each["name"], each["image"]) for each in result] == [("base", "two"), ("side", "new"), ("more", "m")]
    assert result[0]["env"] == BASE["spec"]["containers"][0]["env"]


def test_first_container_without_a_name_is_the_tasks():
    assert spec(containers=[{"image": "two"}])["containers"][0]["image"] == "two"


def test_base_may_stand_anywhere():
    result = spec(containers=[{"name": "more", "image": "m"}, {"name": "base", "image": "two"}])["containers"]
    assert [(each["name"], each["image"]) for each in result] == [("base", "two"), ("side", "side"), ("more", "m")]


def test_first_container_of_another_name_is_not_guessed_about():
    """Airflow would lay it over the task's container and rename that."""
    with pytest.raises(PodConfigError, match=r"^pod_override: spec\.containers\[0\] is called 'main'.*'base'"):
        spec(containers=[{"name": "main", "image": "m"}])


def test_init_containers_by_name():
    result = spec(initContainers=[{"name": "second"}, {"name": "first", "env": [{"name": "B", "value": "2"}]}])
    first, second = result["initContainers"]
    assert second == {"name": "second"}
    assert first["image"] == "i"
    assert first["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def test_pull_secrets_by_name():
    assert spec(imagePullSecrets=[{"name": "x"}, {"name": "x"}])["imagePullSecrets"] == [{"name": "x"}, {"name": "x"}]
    secrets = merge({"spec": {**BASE["spec"], "imagePullSecrets": [{"name": "x"}]}}, {"spec": {"imagePullSecrets": [
        {"name": "y"}, {"name": "x"}]}}, "pod_override")["spec"]["imagePullSecrets"]  # fmt: skip
    assert secrets == [{"name": "x"}, {"name": "y"}]
