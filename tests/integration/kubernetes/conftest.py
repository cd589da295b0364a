"""A cluster per test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from plain_pods import make_client

from executors.kubernetes.client import Cluster
from tests.kubernetes_api import FakeCluster


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """Its kubelet runs pods as processes; its API server is a thread of this process."""
    with FakeCluster() as made:
        yield made


@pytest.fixture
def quiet() -> Iterator[FakeCluster]:
    """It has no kubelet: pods stay as they were made, and namespaces are ``default`` and ``other``."""
    with FakeCluster(kubelet="off", namespaces=("default", "other")) as made:
        yield made


@pytest.fixture
def client(quiet: FakeCluster, tmp_path: Path) -> Iterator[Cluster]:
    """Speaks to ``quiet``; gives a call up after ten seconds."""
    made = make_client(quiet.kubeconfig(tmp_path / "kubeconfig"))
    yield made
    made.close()
