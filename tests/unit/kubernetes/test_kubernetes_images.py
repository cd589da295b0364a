"""The images of pods: tags that move, templates without one, pods that wait for one in vain; and what is open."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from executors.kubernetes.health import _open_kubeconfig, _unverified
from executors.kubernetes.images import configured, unpullable, unstable
from executors.kubernetes.options import KubernetesOptions

POD = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: base\n    image: {}\n"


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("hybrid", "has no tag, which means latest"),
        ("registry:5000/hybrid", "has no tag, which means latest"),
        ("registry:5000/hybrid:latest", "is tagged latest"),
        ("hybrid:1.2", ""),
        ("registry:5000/team/hybrid@sha256:0123", ""),
        ("hybrid:latest@sha256:0123", ""),
    ],
)
def test_a_tag_that_moves_is_a_warning(image, told):
    found = list(unstable({image: "worker_container_repository"}))
    assert [str(each.severity) for each in found] == ["warning"] * bool(told)
    assert all(f"image {image} (worker_container_repository) {told}:" in each.text for each in found)


def test_the_configured_image_is_that_of_every_template():
    assert configured(KubernetesOptions(image="a:1")) == ({"a:1": "worker_container_repository"}, [])


def test_without_one_those_of_the_templates_count_and_other_files_do_not(tmp_path):
    (tmp_path / "own.yaml").write_text(POD.format("a:1"))
    (tmp_path / "other.yml").write_text(POD.format("b"))
    (tmp_path / "notes.yaml").write_text("kind: ConfigMap\napiVersion: v1\n")
    found, problems = configured(KubernetesOptions(pod_template_file=str(tmp_path / "own.yaml")))
    assert problems == []
    assert found == {"a:1": str(tmp_path / "own.yaml"), "b": str(tmp_path / "other.yml")}


def test_no_image_and_a_broken_template_are_told(tmp_path):
    assert "pods have no image" in configured(KubernetesOptions())[1][0]
    (tmp_path / "own.yaml").write_text("kind: [")
    for image in ("", "a:1"):
        _, (problem,) = configured(KubernetesOptions(image=image, pod_template_file=str(tmp_path / "own.yaml")))
        assert "own.yaml: line 1" in problem


def pod(image: str, reason: str, message: str | None = None, namespace: str = "tasks") -> dict:
    waiting = {"reason": reason, "message": message}
    statuses = [{"image": image, "state": {"waiting": waiting}}]
    return {"metadata": {"namespace": namespace}, "status": {"containerStatuses": statuses}}


def test_pods_that_wait_for_an_image_are_counted_by_image():
    pods = [pod("a:1", "ErrImagePull"), pod("a:1", "ImagePullBackOff", "not\nfound"), pod("b:1", "ContainerCreating")]
    pods += [{"metadata": {}, "status": {}}, {}]
    (found,) = unpullable(pods)
    assert str(found.severity) == "error"
    assert "image a:1 cannot be pulled in namespace tasks: 2 pods wait (ImagePullBackOff: not found);" in found.text


def test_a_cluster_that_is_not_verified_is_told():
    assert "ssl_ca_cert" in _unverified(KubernetesOptions(verify_ssl=False))
    assert _unverified(KubernetesOptions()) is None


def test_a_kubeconfig_that_everybody_reads_is_told_however_it_is_named(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o711)
        file = Path(base, "config")
        file.touch(0o644)
        assert f"chmod 600 {file}" in _open_kubeconfig(KubernetesOptions(in_cluster=False, config_file=str(file)))
        monkeypatch.setenv("KUBECONFIG", f"/absent:{file}")
        assert f"chmod 600 {file}" in _open_kubeconfig(KubernetesOptions(in_cluster=False))
        assert _open_kubeconfig(KubernetesOptions()) is None
        file.chmod(0o600)
        assert _open_kubeconfig(KubernetesOptions(in_cluster=False)) is None
