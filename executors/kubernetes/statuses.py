"""Reading a pod's status: the API server's document, in which any part may be missing."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

BASE = "base"
"""The container that runs the attempt."""
LONGEST_REASON = 500
"""Characters."""
_SAYS_NOTHING = frozenset(("", "Error", "Completed"))

Document = Mapping[str, Any]


def part(document: Document, name: str) -> Document:
    """The object called ``name``; empty where there is none."""
    found: Document = document.get(name) or {}
    return found


def phase(pod: Document) -> str:
    """``Pending`` where it has none yet."""
    found: str = part(pod, "status").get("phase") or "Pending"
    return found


def states(pod: Document) -> Iterator[Document]:
    """``{"waiting": …}``, ``{"running": …}`` or ``{"terminated": …}`` of each container, init containers first."""
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in part(pod, "status").get(kind) or ():
            yield _state(container)


def waiting(pod: Document) -> Iterator[Document]:
    """``reason`` and ``message`` of the containers that wait, in the order in which they start."""
    for state in states(pod):
        if "waiting" in state:
            yield state["waiting"]


def base_state(pod: Document) -> Document:
    """Of the attempt's own container."""
    for container in part(pod, "status").get("containerStatuses") or ():
        if container.get("name") == BASE:
            return _state(container)
    return {}


def base_end(pod: Document) -> Document | None:
    """How the attempt's own container ended: ``exitCode, reason, message, finishedAt``."""
    return part(base_state(pod), "terminated") or None


def may_restart(pod: Document) -> bool:
    """Whether the kubelet may start its own container once more. The pod's policy is *Never*; a container of a newer
    cluster may have one of its own.
    """
    base: Document = next((one for one in part(pod, "spec").get("containers") or () if one.get("name") == BASE), {})
    policy = base.get("restartPolicy") or part(pod, "spec").get("restartPolicy") or "Never"
    return policy != "Never" or bool(base.get("restartPolicyRules"))


def shares_processes(pod: Document) -> bool:
    """Whether a process of one container could live on in another, or on the node."""
    spec = part(pod, "spec")
    return bool(spec.get("shareProcessNamespace") or spec.get("hostPID"))


def bad_end(pod: Document, kind: str) -> tuple[str, Document] | None:
    """Name and end of the first container that ended with another exit code than 0.

    :param kind: ``containerStatuses`` or ``initContainerStatuses``.
    """
    for container in part(pod, "status").get(kind) or ():
        end = part(_state(container), "terminated")
        if end and end.get("exitCode") != 0:
            return container.get("name", ""), end
    return None


def condition(pod: Document, kind: str) -> Document:
    """The condition of this type; empty where there is none."""
    for found in part(pod, "status").get("conditions") or ():
        if found.get("type") == kind:
            return found  # type: ignore[no-any-return]
    return {}


def disruption(pod: Document) -> str:
    """Who takes it away: preemption, a taint, an eviction by the API, the garbage collector, the kubelet."""
    found = condition(pod, "DisruptionTarget")
    if found.get("status") != "True":
        return ""
    return told(found.get("reason") or "DisruptionTarget", found.get("message"))


def is_deleted(pod: Document) -> bool:
    """Whether its deletion has been asked for."""
    return bool(part(pod, "metadata").get("deletionTimestamp"))


def was_deleted_before(pod: Document, end: Document) -> bool:
    """Whether its deletion had been asked for when the container of ``end`` ended."""
    metadata = part(pod, "metadata")
    deadline, finished = _moment(metadata.get("deletionTimestamp")), _moment(end.get("finishedAt"))
    asked = None if deadline is None else deadline - (metadata.get("deletionGracePeriodSeconds") or 0)
    return asked is not None and (finished is None or finished >= asked)


def words(end: Document) -> str:
    """``exit code 137 (SIGKILL): OOMKilled``, with the container's own message where it left one."""
    reason, message = end.get("reason") or "", end.get("message") or ""
    code = end.get("exitCode", "?")
    parts = [f"exit code {code}{_signal(code)}", "" if reason in _SAYS_NOTHING else reason, message]
    return line(": ".join(text for text in parts if text))


def told(reason: str, message: Any) -> str:
    """``reason: message``, in one line."""
    return line(f"{reason}: {message}" if message else reason)


def line(text: str) -> str:
    """In one line of at most :data:`LONGEST_REASON` characters."""
    found = " ".join(text.split())
    return found if len(found) <= LONGEST_REASON else f"{found[: LONGEST_REASON - 1]}…"


def _state(container: Document) -> dict[str, Document]:
    """A client's model holds the states that it is not in as ``None``; ``{"running": {}}`` is one that it is in."""
    return {name: value for name, value in part(container, "state").items() if value is not None}


def _signal(code: Any) -> str:
    try:
        return f" ({signal.Signals(code - 128).name})"
    except (TypeError, ValueError):
        return ""


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None
