"""What the executor is measured by. Run alone: ``pytest -n 0 -m timed``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes_host import drive, make_executor, make_workload, started

from executors.events import Accepted, Running
from executors.kubernetes.executor import KubernetesExecutor
from tests.kubernetes_api import FakeCluster

pytestmark = pytest.mark.timed


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """In a process of its own; its pods only pretend to run."""
    with FakeCluster(in_process=True, kubelet="pretend") as made:
        yield made


@pytest.fixture
def executor(cluster: FakeCluster, tmp_path: Path) -> Iterator[KubernetesExecutor]:
    """Without a host, which would look for a thousand reports in each heartbeat."""
    made = make_executor(cluster.kubeconfig(tmp_path / "kubeconfig"), tmp_path / "table", cls=KubernetesExecutor)
    with started(made):
        drive(made, lambda _: made._backend.watcher.synced)
        yield made


def launch(executor: KubernetesExecutor, tmp_path: Path, number: int) -> None:
    for _ in range(number):
        executor.queue_workload(make_workload(tmp_path / "table"))


def accepted(events: list[object]) -> int:
    return sum(isinstance(event, Accepted) for event in events)


def test_two_hundred_pods_a_second_where_a_call_takes_8_ms(
    cluster: FakeCluster, executor: KubernetesExecutor, tmp_path: Path
) -> None:
    cluster.delay(0.008, "create")
    launch(executor, tmp_path, 400)
    began = time.perf_counter()
    drive(executor, lambda events: accepted(events) == 400)
    rate = 400 / (time.perf_counter() - began)
    print(f"{rate:.0f} pods/s")
    assert rate >= 200


def test_dispatch_to_created_where_the_server_answers_in_20_ms(
    cluster: FakeCluster, executor: KubernetesExecutor, tmp_path: Path
) -> None:
    """p95 at most 100 ms, one at a time."""
    cluster.delay(0.020)
    took = []
    for _ in range(40):
        began = time.perf_counter()
        launch(executor, tmp_path, 1)
        drive(executor, accepted)
        took.append(time.perf_counter() - began)
    p95 = sorted(took)[37]
    print(f"p95 {p95 * 1e3:.0f} ms, median {sorted(took)[20] * 1e3:.0f} ms")
    assert p95 <= 0.1


def test_heartbeat_with_a_thousand_running_pods(
    cluster: FakeCluster, executor: KubernetesExecutor, tmp_path: Path
) -> None:
    """At most 50 ms, idle and while the API server hangs."""
    launch(executor, tmp_path, 1000)
    drive(executor, lambda events: sum(isinstance(event, Running) for event in events) == 1000)
    quiet = max(beat(executor) for _ in range(50))
    cluster.delay(30.0)
    launch(executor, tmp_path, 10)
    hung = max(beat(executor) for _ in range(50))
    print(f"worst of 50: idle {quiet * 1e3:.2f} ms, server hangs {hung * 1e3:.2f} ms")
    cluster.heal()
    cluster.break_connections()
    assert max(quiet, hung) <= 0.05


def beat(executor: KubernetesExecutor) -> float:
    began = time.perf_counter()
    executor.heartbeat()
    return time.perf_counter() - began
