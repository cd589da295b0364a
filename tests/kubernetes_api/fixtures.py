"""Fixtures to be imported: a cluster of the test's own, and clients of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.kubernetes_api.cluster import FakeCluster

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., FakeCluster]]:
    """Makes clusters, arguments as of :class:`FakeCluster`; they end with the test. Containers find this project."""
    made: list[FakeCluster] = []

    def make(**options: Any) -> FakeCluster:
        env = {"PYTHONPATH": str(_ROOT), "HOME": os.environ.get("HOME", "/"), **options.pop("env", {})}
        made.append(FakeCluster(env=env, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(make_cluster: Callable[..., FakeCluster]) -> FakeCluster:
    """In a thread of the test's process."""
    return make_cluster()


@pytest.fixture
def cluster_process(make_cluster: Callable[..., FakeCluster]) -> FakeCluster:
    """In a process of its own, which can be frozen and killed."""
    return make_cluster(in_process=True)


@pytest.fixture
def client_of(tmp_path: Path) -> Iterator[Callable[[FakeCluster], ApiClient]]:
    """Makes the official client of a cluster, without retries of its own; it is closed with the test."""
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.config import load_kube_config

    made: list[ApiClient] = []

    def client(cluster: FakeCluster) -> ApiClient:
        configuration = Configuration()
        path = cluster.kubeconfig(tmp_path / f"kubeconfig-{cluster.port}")
        load_kube_config(str(path), client_configuration=configuration)  # type: ignore[no-untyped-call]
        configuration.retries = False
        made.append(ApiClient(configuration))
        return made[-1]

    yield client
    for one in made:
        one.rest_client.pool_manager.clear()
