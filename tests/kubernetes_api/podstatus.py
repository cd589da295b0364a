"""What the kubelet says of a pod. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tests.kubernetes_api.containers import Container
from tests.kubernetes_api.store import Object


def timestamp(moment: datetime | None = None) -> str:
    """Whole seconds, as Kubernetes writes them; by default now."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_condition(status: Object, kind: str, value: str, reason: str = "", message: str = "") -> Object:
    """The status with this condition in place of an older one of its kind."""
    condition = {
        "type": kind,
        "status": value,
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(),
        **({"reason": reason} if reason else {}),
        **({"message": message} if message else {}),
    }
    others = [known for known in status.get("conditions") or [] if known["type"] != kind]
    return {**status, "conditions": [*others, condition]}


def container_state(container: Container, waiting: tuple[str, str] | None = None) -> Object:
    """``waiting``, ``running`` or ``terminated``."""
    started = timestamp(container.started_at) if container.started_at else None
    if container.exit_code is not None:
        ended = {
            "exitCode": container.exit_code,
            "reason": container.reason,
            **({"message": container.message} if container.message else {}),
            "startedAt": started,
            "finishedAt": timestamp(container.finished_at),
            "containerID": f"containerd://{id(container):064x}",
        }
        return {"terminated": ended}
    if container.started_at is not None:
        return {"running": {"startedAt": started}}
    reason, message = waiting or container.waiting
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def container_status(container: Container, waiting: tuple[str, str] | None = None) -> Object:
    """One entry of ``containerStatuses``."""
    there = container.started_at is not None
    return {
        "name": container.name,
        "state": container_state(container, waiting),
        "lastState": {},
        "ready": container.running,
        "restartCount": 0,
        "image": container.spec.get("image", ""),
        "imageID": f"{container.spec.get('image', '')}@sha256:{0:064x}" if there else "",
        **({"containerID": f"containerd://{id(container):064x}"} if there else {}),
        "started": container.running,
    }


def phase_of(containers: Sequence[Container], inits: Sequence[Container]) -> str:
    """Of a pod that is never restarted."""
    if any(container.exit_code for container in inits):
        return "Failed"
    if all(container.exit_code is not None for container in containers):
        return "Failed" if any(container.exit_code for container in containers) else "Succeeded"
    return "Running" if any(container.started_at is not None for container in containers) else "Pending"


def with_containers(status: Object, containers: Sequence[Container], inits: Sequence[Container]) -> Object:
    """The status as its containers have it: phase, conditions, ``containerStatuses``."""
    phase = phase_of(containers, inits)
    initialised = all(container.exit_code == 0 for container in inits)
    shown = None if initialised else ("PodInitializing", "")
    made = {**status, "phase": phase}
    made["containerStatuses"] = [container_status(container, shown) for container in containers]
    if inits:
        first = next((container for container in inits if container.exit_code is None), None)
        made["initContainerStatuses"] = [
            container_status(container, None if container is first else ("PodInitializing", "")) for container in inits
        ]
    ready = bool(containers) and all(container.running for container in containers)
    why = "" if ready else "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
    made = with_condition(made, "Initialized", _truth(initialised), "" if initialised else "ContainersNotInitialized")
    names = " ".join(container.name for container in containers if not container.running)
    message = f"containers with unready status: [{names}]" if why == "ContainersNotReady" else ""
    for kind in ("Ready", "ContainersReady"):
        made = with_condition(made, kind, _truth(ready), why, message)
    return made


def disrupted(status: Object, reason: str, message: str) -> Object:
    """With the condition that tells an infrastructure's doing from the container's own end."""
    return with_condition(status, "DisruptionTarget", "True", reason, message)


def failed(status: Object, reason: str, message: str) -> Object:
    """By the kubelet's verdict, whatever the containers have said."""
    texts = {**({"reason": reason} if reason else {}), **({"message": message} if message else {})}
    return {**status, "phase": "Failed", **texts}


def unschedulable(status: Object, message: str) -> Object:
    return with_condition(status, "PodScheduled", "False", "Unschedulable", message)


def _truth(yes: bool) -> str:
    return str(yes)
