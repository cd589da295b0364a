"""``hybrid kubernetes cleanup-pods`` on a cluster: page by page, ours alone, what it says."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plain_pods import eventually, make_client, manifest

from executors.context import ExecutorContext
from executors.errors import ExecutorError
from executors.kubernetes import cleanup
from executors.kubernetes.building.naming import labels
from executors.kubernetes.client import Cluster
from executors.kubernetes.options import KubernetesOptions
from executors.workload import TaskInstanceKey
from tests.kubernetes_api import FakeCluster


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """Whose pods end when they are told to."""
    with FakeCluster(kubelet="pretend", namespaces=("default", "jobs")) as made:
        yield made


class Cleaner:
    def __init__(self, cluster: FakeCluster, client: Cluster, kubeconfig: Path) -> None:
        self.cluster = cluster
        self.client = client
        options = {"in_cluster": "False", "config_file": str(kubeconfig)}
        self.contexts = {"k8s": ExecutorContext(name="k8s", options=options)}

    def pod(self, name: str, phase: str, namespace: str = "default", *, ours: bool = True) -> None:
        pod = manifest(name, namespace=namespace)
        key = TaskInstanceKey("dag", name, "run", attempt_id=name)
        airflow = {"kubernetes_executor": "True", "airflow-worker": "1"}
        options = KubernetesOptions(name="any", deployment="any")
        pod["metadata"]["labels"] |= labels(key, options) if ours else airflow
        if phase == "Pending":
            self.cluster.behave("unschedulable", name=name)
        self.client.create_pod(namespace, pod)
        if phase in ("Succeeded", "Failed"):
            eventually(lambda: self.phase(name, namespace) == "Running")
            self.cluster.finish(name, int(phase == "Failed"), namespace)
        eventually(lambda: self.phase(name, namespace) == phase)

    def phase(self, name: str, namespace: str) -> str:
        return self.cluster.pod(name, namespace)["status"]["phase"]

    def clean(self, **given: Any) -> None:
        args = {"executor": None, "namespace": None, "min_pending_minutes": 30, **given}
        assert cleanup.cleanup_pods(Namespace(contexts=self.contexts, **args)) == 0

    def left(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.cluster.pods()}


@pytest.fixture
def cleaner(cluster: FakeCluster, tmp_path: Path) -> Iterator[Cleaner]:
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
    client = make_client(kubeconfig)
    yield Cleaner(cluster, client, kubeconfig)
    client.close()


def test_what_has_ended_goes_and_what_waits_or_runs_stays(cleaner: Cleaner, capsys: pytest.CaptureFixture[str]) -> None:
    for phase in ("Succeeded", "Failed", "Running", "Pending"):
        cleaner.pod(phase.lower(), phase)
    cleaner.pod("airflows", "Succeeded", ours=False)
    cleaner.clean()
    eventually(lambda: cleaner.left() == {"running", "pending", "airflows"})
    assert capsys.readouterr().out.splitlines() == [
        "default/failed failed: deleted",
        "default/succeeded succeeded: deleted",
        "default: 2 pods deleted",
    ]


def test_pages(cleaner: Cleaner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a page is asked for too late, and everything begins anew."""
    monkeypatch.setattr(cleanup, "PAGE", 2)
    for number in range(7):
        cleaner.pod(f"p{number}", "Succeeded")
    cleaner.cluster.fail(410, "list", skip=2, times=1)
    cleaner.clean()
    eventually(lambda: not cleaner.left())


def test_namespace_that_is_named(cleaner: Cleaner) -> None:
    cleaner.pod("here", "Succeeded")
    cleaner.pod("there", "Succeeded", "jobs")
    cleaner.clean(namespace="jobs")
    eventually(lambda: cleaner.left() == {"here"})


def test_pods_may_be_pending_for_five_minutes_at_least(cleaner: Cleaner) -> None:
    with pytest.raises(ExecutorError, match="--min-pending-minutes 4: 5 is the least"):
        cleaner.clean(min_pending_minutes=4)


def test_right_that_is_missing_is_one_line(cleaner: Cleaner) -> None:
    cleaner.cluster.forbid("list")
    with pytest.raises(ExecutorError, match="list pods: the API server answers 403"):
        cleaner.clean()
