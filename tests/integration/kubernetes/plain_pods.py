"""Pods that say no more than they must, and a client for them."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from executors.kubernetes.building.naming import ATTEMPT_ID
from executors.kubernetes.client import Cluster
from executors.kubernetes.options import KubernetesOptions
from executors.workload import TaskInstanceKey

PATIENCE = 15.0
SELECTOR = "tests=plain"


def make_client(kubeconfig: Path, **options: Any) -> Cluster:
    """Not closed by anyone but its maker."""
    settings = {"name": "k8s", "in_cluster": False, "config_file": str(kubeconfig), "request_timeout": 10.0}
    return Cluster(KubernetesOptions(**{**settings, **options}))


def key_of(name: str) -> TaskInstanceKey:
    return TaskInstanceKey("dag", name, "run", attempt_id=name)


def manifest(name: str, attempt: str | None = None, namespace: str = "default") -> dict[str, Any]:
    """Of a pod that belongs to the attempt ``attempt``; by default to the one of its name."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"tests": "plain"},
            "annotations": {ATTEMPT_ID: attempt or name},
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": "tests/image"}]},
    }


def eventually(holds: Callable[[], Any], what: str = "it") -> Any:
    """Wait until ``holds`` returns something, and return that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := holds():
            return found
        select.select([], [], [], 0.005)
    raise AssertionError(f"{what} did not come about")


def threads(prefix: str) -> list[str]:
    """Names of the living threads that begin so."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(prefix))
