"""``east:KubernetesExecutor, west:KubernetesExecutor``: two clusters, spoken to from one process, stay apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes_host import HostedKubernetesExecutor, drive, make_workload, started

from executors.context import ExecutorContext
from executors.events import Running, Succeeded
from executors.kubernetes.building.naming import INSTANCE, pod_name
from executors.kubernetes.executor import KubernetesExecutor
from executors.registry import ExecutorRegistry
from executors.workload import TaskInstanceRef
from tests.kubernetes_api import FakeCluster

ALIASES = ("east", "west")


@pytest.fixture
def clusters() -> Iterator[dict[str, FakeCluster]]:
    with ExitStack() as stack:
        yield {alias: stack.enter_context(FakeCluster()) for alias in ALIASES}


@pytest.fixture
def executors(clusters: dict[str, FakeCluster], tmp_path: Path) -> Iterator[dict[str, KubernetesExecutor]]:
    """As the registry makes them of one list and the sections of each alias."""
    (tmp_path / "table").mkdir()
    common = {"in_cluster": "False", "worker_container_repository": "image", "relist_interval": "1"}
    kubeconfigs = {alias: str(clusters[alias].kubeconfig(tmp_path / alias)) for alias in ALIASES}
    config = {"table": str(tmp_path / "table"), "task_api_url": "https://api.example"}
    registry = ExecutorRegistry.load(
        "east:KubernetesExecutor, west:KubernetesExecutor",
        options=lambda section, alias: {**common, "config_file": kubeconfigs[alias or ""]},
        parallelism=4,
    )
    with ExitStack() as stack:
        made = {}
        for alias in ALIASES:
            configured = registry.get(alias)
            assert configured is not None
            assert configured.cls is KubernetesExecutor
            context = ExecutorContext(name=alias, options=configured.options, worker_config=config)
            made[alias] = stack.enter_context(started(HostedKubernetesExecutor(4, context=context)))
        yield made


def test_each_runs_its_pods_on_its_own_cluster(
    clusters: dict[str, FakeCluster], executors: dict[str, KubernetesExecutor], tmp_path: Path
) -> None:
    workloads = {alias: make_workload(tmp_path / "table", "sleep", "600") for alias in ALIASES}
    for alias, executor in executors.items():
        executor.queue_workload(workloads[alias])
        drive(executor, lambda events, key=workloads[alias].key: Running(key) in events)
    for alias, cluster in clusters.items():
        (pod,) = cluster.pods()
        assert (pod["metadata"]["name"], pod["metadata"]["labels"][INSTANCE]) == (pod_name(workloads[alias].key), alias)
        watched = executors[alias]._backend.watcher.snapshot()
        assert list(watched) == [("default", pod_name(workloads[alias].key))]


def test_one_cluster_that_is_down_is_no_trouble_of_the_other(
    clusters: dict[str, FakeCluster], executors: dict[str, KubernetesExecutor], tmp_path: Path
) -> None:
    clusters["east"].refuse()
    for executor in executors.values():
        executor.queue_workload(make_workload(tmp_path / "table", "true"))
    drive(executors["east"], lambda _: executors["east"].health_check().count("cannot be reached"))
    events = drive(executors["west"], lambda _: not executors["west"].slots_occupied)
    assert [type(event) for event in events][-1] is Succeeded
    assert executors["east"].slots_occupied == 1
    clusters["east"].listen()
    events = drive(executors["east"], lambda _: not executors["east"].slots_occupied)
    assert [type(event) for event in events][-1] is Succeeded


def test_neither_adopts_nor_stops_what_is_the_others(executors: dict[str, KubernetesExecutor], tmp_path: Path) -> None:
    """The database says whose it is; told wrongly, they find nothing."""
    east, west = executors["east"], executors["west"]
    workload = make_workload(tmp_path / "table", "sleep", "600")
    east.queue_workload(workload)
    drive(east, lambda events: Running(workload.key) in events)
    drive(west, lambda _: west._backend.watcher.synced)
    ref = TaskInstanceRef(workload.key, external_executor_id=f"default/{pod_name(workload.key)}", started=True)
    assert west.try_adopt_task_instances([ref]) == [ref]
    west.revoke_task(replace(ref))
    drive(west, lambda _: west._backend.deleter.pending == 0)
    assert east.has_task(ref)
    east.heartbeat()
    assert east.get_event_buffer() == []
