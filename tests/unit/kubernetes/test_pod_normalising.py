"""Pods as people write them become the API's JSON; what is none gets one line that names the field."""

from __future__ import annotations

from datetime import date

import pytest
from kubernetes import client as k8s

from executors.kubernetes.building.normalising import MOST_VALUES, normalise, to_model
from executors.kubernetes.errors import PodConfigError


def container(**fields):
    return {"spec": {"containers": [{"name": "base", **fields}]}}


def test_snake_case_camel_case_and_nones():
    written = {
        "metadata": {"generate_name": None, "labels": {"my_label": "snake_case stays here"}},
        "spec": {
            "service_account_name": "sa",
            "nodeSelector": {"some_key": "x"},
            "init_containers": None,
            "volumes": [{"name": "v", "config_map": {"name": "c", "default_mode": 420}}],
        },
    }
    assert normalise(written, "x") == {
        "metadata": {"labels": {"my_label": "snake_case stays here"}},
        "spec": {
            "serviceAccountName": "sa",
            "nodeSelector": {"some_key": "x"},
            "volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}}],
        },
    }


def test_empty_mappings_and_lists_mean_something():
    volumes = {"spec": {"volumes": [{"name": "v", "emptyDir": {"medium": None}}], "tolerations": [], "os": None}}
    assert normalise(volumes, "x") == {"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "tolerations": []}}


def test_names_that_python_cannot_have():
    """``exec`` is ``_exec`` in the client's models."""
    probe = k8s.V1Probe(_exec=k8s.V1ExecAction(command=["true"]))
    wanted = {"livenessProbe": {"exec": {"command": ["true"]}}}
    assert normalise(container(liveness_probe=probe.to_dict()), "x") == container(**wanted)
    assert normalise(container(**wanted), "x") == container(**wanted)


def test_numbers_where_quantities_are():
    given = {"limits": {"cpu": 2, "memory": "1Gi"}, "requests": {"cpu": 0.5}}
    wanted = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "0.5"}}
    assert normalise(container(resources=given), "x") == container(resources=wanted)


def test_ports_of_probes_are_numbers_or_names():
    for port in (8080, "http"):
        probe = container(readinessProbe={"httpGet": {"port": port}})
        assert normalise(probe, "x") == probe


def test_dates_of_yaml():
    assert normalise({"metadata": {"creationTimestamp": date(2026, 1, 2)}}, "x") == {
        "metadata": {"creationTimestamp": "2026-01-02"}
    }


def test_result_is_a_copy():
    labels = {"a": "b"}
    normalise({"metadata": {"labels": labels}}, "x")["metadata"]["labels"]["c"] = "d"
    assert labels == {"a": "b"}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (container(resource={}), "spec.containers[0].resource: V1Container has no such field; did you mean resources?"),
        (container(nodeSelektor={}), "spec.containers[0].nodeSelektor: V1Container has no such field"),
        (container(env={"A": "b"}), "spec.containers[0].env: expected a list, not a mapping"),
        (container(env=[{"name": "A", "value": 5}]), "spec.containers[0].env[0].value: expected text, not a number; "
         "put it in quotes"),
        (container(ports=[{"containerPort": "80"}]), "spec.containers[0].ports[0].containerPort: expected a whole "
         "number, not text"),
        (container(ports=[{"containerPort": True}]), "spec.containers[0].ports[0].containerPort: expected a whole "
         "number, not true or false"),
        ({"spec": {"hostNetwork": "yes"}}, "spec.hostNetwork: expected true or false, not text"),
        ({"spec": {"nodeSelector": {"gpu": True}}}, "spec.nodeSelector.gpu: expected text, not true or false; put it "
         "in quotes"),
        ({"spec": {"nodeSelector": {"a/b": True}}}, "spec.nodeSelector['a/b']: expected text, not true or false; put "
         "it in quotes"),
        ({"spec": {"nodeSelector": {1: "a"}}}, "spec.nodeSelector: one of its keys is a number, not text; put it in "
         "quotes"),
        ({"spec": {"node_name": "a", "nodeName": "b"}}, "spec.nodeName: it is given twice"),
        ({"spec": []}, "spec: expected a mapping, not a list"),
        ({"two\nlines": 1}, "['two\\nlines']: V1Pod has no such field"),
        ({"x" * 1000: 1}, f"{'x' * 80}…: V1Pod has no such field"),
        (None, "expected a mapping, not nothing"),
        (b"x", "expected a mapping, not a bytes"),
    ],
)  # fmt: skip
def test_error_names_place_and_field(written, message):
    with pytest.raises(PodConfigError) as caught:
        normalise(written, "pod_override")
    assert str(caught.value) == f"pod_override: {message}"


def test_errors_do_not_quote_values():
    with pytest.raises(PodConfigError) as caught:
        normalise(container(ports=[{"containerPort": "hunter2"}], env=[{"name": "A", "value": 4711}]), "pod_override")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(PodConfigError) as caught:
        normalise(container(env=[{"name": "PASSWORD", "value": 4711}]), "pod_override")
    assert "4711" not in str(caught.value)


def test_a_bomb_of_shared_parts_ends_in_an_error():
    """What a few lines of YAML with aliases can stand for."""
    variable = {"name": "A", "value": "b"}
    one = {"name": "c", "env": [variable] * 10_000}
    with pytest.raises(PodConfigError, match=f"^x: it has more than {MOST_VALUES} values$"):
        normalise({"spec": {"containers": [one] * 10_000}}, "x")


def test_to_model_and_back():
    pod = normalise(container(env=[{"name": "A", "value_from": {"field_ref": {"field_path": "a.b"}}}]), "x")
    model = to_model(pod, "x")
    assert isinstance(model, k8s.V1Pod)
    assert model.spec.containers[0].env[0].value_from.field_ref.field_path == "a.b"
    assert normalise(model.to_dict(), "x") == pod


def test_required_field_that_is_missing_is_named():
    with pytest.raises(PodConfigError, match=r"^pod: spec\.containers\[0\]\.env\[0\]: .*name"):
        to_model(normalise(container(env=[{"value": "x"}]), "x"), "pod")
