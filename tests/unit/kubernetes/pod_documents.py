"""Pods as API servers of 1.30 and later show them: statuses by the kubelet, the scheduler and controllers."""

from __future__ import annotations

from typing import Any

Pod = dict[str, Any]

CREATED, STARTED, FINISHED = "2026-11-22T10:00:00Z", "2026-11-22T10:00:03Z", "2026-11-22T10:05:00Z"
IMAGE = "registry.example.com/team/hybrid:1.2"
DIGEST = f"registry.example.com/team/hybrid@sha256:{'4f' * 32}"


def pod(phase: str | None = "Pending", *, containers: Any = None, **status: Any) -> Pod:
    """A pod with one container called ``base``, on a node unless it is told to be without.

    :param containers: its ``containerStatuses``; ``None``: there are none yet.
    :param status: further parts of the status.
    """
    full = {"phase": phase, "qosClass": "Burstable", "startTime": CREATED, **status}
    if containers is not None:
        full["containerStatuses"] = containers
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "etl-load-019ab2c34d5e7f00aabbccddeeff0011",
            "namespace": "jobs",
            "uid": "5f0c2b0e-8d3c-4a53-8a2f-6f3f9c1e7a11",
            "resourceVersion": "81734",
            "creationTimestamp": CREATED,
        },
        "spec": {"restartPolicy": "Never", "nodeName": "worker-3", "containers": [{"name": "base", "image": IMAGE}]},
        "status": {name: value for name, value in full.items() if value is not None},
    }


def with_spec(document: Pod, **changes: Any) -> Pod:
    """``document`` with parts of its spec replaced."""
    return {**document, "spec": {**document["spec"], **changes}}


def container(name: str = "base", **state: Any) -> dict[str, Any]:
    """A status of it: ``waiting=…``, ``running=…`` or ``terminated=…``."""
    kind = next(iter(state))
    return {
        "name": name,
        "image": IMAGE,
        "imageID": "" if kind == "waiting" else DIGEST,
        "containerID": "" if kind == "waiting" else f"containerd://{'9c' * 32}",
        "lastState": {},
        "ready": kind == "running",
        "restartCount": 0,
        "started": kind == "running",
        "state": state,
    }


def waits(reason: str, message: str | None = None, name: str = "base") -> dict[str, Any]:
    return container(name, waiting={"reason": reason} | ({"message": message} if message else {}))


def runs(name: str = "base") -> dict[str, Any]:
    return container(name, running={"startedAt": STARTED})


def ended(
    code: int, reason: str | None = None, name: str = "base", finished: str = FINISHED, **more: Any
) -> dict[str, Any]:
    """``terminated``; the kubelet's reason for it is *Completed* or *Error*, unless the runtime has a better one."""
    state = {
        "containerID": f"containerd://{'9c' * 32}",
        "exitCode": code,
        "reason": reason or ("Error" if code else "Completed"),
        "startedAt": STARTED,
        "finishedAt": finished,
        **more,
    }
    return container(name, terminated=state)


def condition(kind: str, status: str, reason: str | None = None, message: str | None = None) -> dict[str, Any]:
    full = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": CREATED,
        "reason": reason,
        "message": message,
    }
    return {name: value for name, value in full.items() if value is not None or name == "lastProbeTime"}


SCHEDULED = condition("PodScheduled", "True")
UNSCHEDULABLE = (
    "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, "
    "2 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
)


def taken_away(reason: str, message: str) -> list[dict[str, Any]]:
    """Conditions of a pod that somebody takes away."""
    return [condition("DisruptionTarget", "True", reason, message), SCHEDULED]


def deleted(document: Pod, deadline: str = "2026-11-22T10:05:20Z", grace: int = 30) -> Pod:
    """``document`` after ``kubectl delete``: asked for ``grace`` seconds before ``deadline``."""
    marks = {"deletionTimestamp": deadline, "deletionGracePeriodSeconds": grace}
    return {**document, "metadata": {**document["metadata"], **marks}}
