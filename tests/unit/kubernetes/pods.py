"""Workloads and options for tests of pods."""

from __future__ import annotations

from typing import Any

from executors.kubernetes.options import KubernetesOptions
from executors.workload import CodeReference, TaskInstanceKey, Workload

ATTEMPT = "0190b6a2-7c00-7abc-8def-0123456789ab"
TICKET = "a-ticket-that-nobody-else-may-see"
KEY = TaskInstanceKey("sales", "load", "scheduled__2026-01-01T00:00:00+00:00", 2, -1, ATTEMPT)
OPTIONS = KubernetesOptions(
    image="registry.example/hybrid:1", task_api_url="http://api:8080/execution/v1", deployment="prod", namespace="tasks"
)


def workload(config: dict[str, Any] | None = None, key: TaskInstanceKey = KEY) -> Workload:
    """As the host hands it over."""
    return Workload(
        key=key,
        command=("hybrid", "tasks", "run", key.attempt_id),
        code=CodeReference(rel_path="", file_hash=""),
        executor_config=config or {},
        env={"HYBRID_ATTEMPT_ID": key.attempt_id, "HYBRID_START_TICKET": TICKET},
    )


def override(**spec: Any) -> dict[str, Any]:
    """``executor_config`` with an override of a pod's spec."""
    return {"pod_override": {"spec": spec}}


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry.get("name"): entry.get("value") for entry in container["env"]}
