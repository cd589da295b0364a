"""What a pod's status says of its launch: pure functions from the API server's document to one :class:`Judgement`.

Statuses are read as the kubelet of 1.27 and later writes them: a terminal phase only once no container runs. It is not
alone: the pod garbage collector calls a pod *Failed* whose node is gone, and leaves its containers *running*.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from executors.kubernetes.statuses import (
    Document,
    bad_end,
    base_end,
    base_state,
    condition,
    disruption,
    is_deleted,
    line,
    may_restart,
    part,
    phase,
    shares_processes,
    states,
    told,
    waiting,
    was_deleted_before,
    words,
)

DELETED = "its pod was deleted"
SUCCEEDED = "its pod succeeded"
START_REFUSED = 3
"""Exit code of ``hybrid tasks run``: another launch has the start, so this one's end says nothing of the attempt."""
UNREPORTED = 4
"""Exit code of ``hybrid tasks run``: nobody took its report, or it was stopped from outside."""

_TERMINAL = ("Succeeded", "Failed")
_TAKEN_AWAY = frozenset({
    "Evicted", "Preempting", "Preempted", "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "NodeAffinity",
    "NodeName", "NodePorts", "UnexpectedAdmissionError", "TopologyAffinityError", "PodOSNotSupported",
})  # fmt: skip
"""Reasons of a failed pod that are no fault of what ran in it; so are ``OutOfcpu`` and its like."""
_OWN_LIMIT = re.compile(r"exceed(s|ed) (the|its) ")
"""An eviction because the pod itself took more than it had asked for, which it would do again."""
_ON_ITS_WAY = frozenset(("", "ContainerCreating", "PodInitializing"))
_START_ERRORS = frozenset(("StartError", "ContainerCannotRun", "RunContainerError"))
_CANNOT_START = re.compile(r"executable file not found|no such file or directory|permission denied|exec format error")
_EXCUSED = "pull QPS exceeded"
"""The kubelet's own limit on pulls, not the image, is in the way."""
_CODES = {START_REFUSED: "its start was refused", UNREPORTED: "its task has not been reported"}


class Kind(Enum):
    """What is known of a launch."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It ended by itself, and not well."""
    LOST = "lost"
    """It was taken away: its node, its place there, or its pod."""
    REFUSED = "refused"
    """It does not start, and another one like it would not either."""
    UNKNOWN = "unknown"
    """Nobody can tell now."""


@dataclass(frozen=True, slots=True)
class Judgement:
    kind: Kind
    reason: str = ""
    """One line. Of a pending pod why it waits, empty while it is on its way; of a running one why it will be gone."""
    ended: bool = False
    """The kubelet says that its own container has terminated, or never will start: nothing of its attempt runs."""


def judge(pod: Document, fatal_reasons: Collection[str] = ()) -> Judgement:
    """What the pod's document says.

    :param pod: as the API server sends it; whatever is missing is not known yet.
    :param fatal_reasons: of waiting containers: such a launch is refused.
    """
    found = phase(pod)
    if found in _TERMINAL:
        return Judgement(Kind.SUCCEEDED, SUCCEEDED, _has_ended(pod)) if found == "Succeeded" else _judge_failed(pod)
    if (reason := part(pod, "status").get("reason") or "") == "NodeLost" or found == "Unknown":
        kind = Kind.LOST if reason == "NodeLost" else Kind.UNKNOWN
        return Judgement(kind, told(reason or "its node does not answer", part(pod, "status").get("message")))
    if base_end(pod) is not None:
        return _judge_end(pod)  # other containers of it go on
    if "running" in base_state(pod) or (found == "Running" and not base_state(pod)):
        return Judgement(Kind.RUNNING, _departure(pod))
    return _judge_pending(pod, fatal_reasons)


def after_deletion(pod: Document) -> Judgement:
    """What is to be said of a pod that is there no longer.

    :param pod: its document in the event of its deletion, or when it was seen last.
    """
    last = judge(pod)
    if last.kind in (Kind.SUCCEEDED, Kind.FAILED, Kind.LOST, Kind.REFUSED):
        return last
    return Judgement(Kind.LOST, told(DELETED, disruption(pod)), _has_ended(pod))


def _judge_failed(pod: Document) -> Judgement:
    """By the reason of the pod, then by who took it away, then by what its containers ended with."""
    status = part(pod, "status")
    reason, message = status.get("reason") or "", status.get("message") or ""
    own_fault = _is_out_of_memory(pod) or (reason == "Evicted" and _OWN_LIMIT.search(message))
    if not own_fault and (reason in _TAKEN_AWAY or reason.startswith("OutOf")):
        return Judgement(Kind.LOST, told(reason, message), _has_ended(pod))
    if not own_fault and (taken := disruption(pod)):
        return Judgement(Kind.LOST, taken, _has_ended(pod))
    if reason and not _is_out_of_memory(pod):
        return Judgement(Kind.FAILED, told(reason, message), _has_ended(pod))
    return _judge_end(pod)


def _judge_end(pod: Document) -> Judgement:
    end = base_end(pod)
    if end is None:
        initial = bad_end(pod, "initContainerStatuses")
        reason = f"init container {initial[0]}: {words(initial[1])}" if initial else "its pod failed"
        return Judgement(Kind.FAILED, line(reason), _has_ended(pod))
    if end.get("exitCode") == 0:
        other = bad_end(pod, "containerStatuses") if phase(pod) == "Failed" else None
        if other is None:
            return Judgement(Kind.SUCCEEDED, SUCCEEDED, _has_ended(pod))
        return Judgement(Kind.FAILED, line(f"container {other[0]}: {words(other[1])}"), _has_ended(pod))
    remark = DELETED if was_deleted_before(pod, end) else _CODES.get(end.get("exitCode", 1), "")
    return Judgement(_kind_of(pod, end), line(f"{words(end)}; {remark}" if remark else words(end)), _has_ended(pod))


def _kind_of(pod: Document, end: Document) -> Kind:
    """Of an end with another exit code than 0."""
    reason, code = end.get("reason") or "", end.get("exitCode")
    if _is_out_of_memory(pod):
        return Kind.FAILED
    if reason == "ContainerStatusUnknown" or code == UNREPORTED or was_deleted_before(pod, end):
        return Kind.LOST
    if reason in _START_ERRORS and _CANNOT_START.search(end.get("message") or ""):
        return Kind.REFUSED
    return Kind.FAILED


def _is_out_of_memory(pod: Document) -> bool:
    return (base_end(pod) or {}).get("reason") == "OOMKilled"


def _has_ended(pod: Document) -> bool:
    """The kubelet has seen its own container end for good, or an init container fail before that.

    Its processes end with it, unless containers share their processes: then none may run. Not where the launch had been
    refused its start: another one may run the attempt.
    """
    if shares_processes(pod) and any("running" in state for state in states(pod)):
        return False
    end = base_end(pod)
    if end is not None:
        is_final = phase(pod) in _TERMINAL or not may_restart(pod)
        return is_final and end.get("exitCode") != START_REFUSED
    return phase(pod) == "Failed" and bad_end(pod, "initContainerStatuses") is not None


def _judge_pending(pod: Document, fatal_reasons: Collection[str]) -> Judgement:
    for container in waiting(pod):
        reason, message = container.get("reason") or "", container.get("message") or ""
        if reason in fatal_reasons and _EXCUSED not in message:
            return Judgement(Kind.REFUSED, told(reason, message))
    return Judgement(Kind.PENDING, _departure(pod) or _why_it_waits(pod))


def _why_it_waits(pod: Document) -> str:
    """The scheduler's reason, else the first container's."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return told(scheduled.get("reason") or "Unschedulable", scheduled.get("message"))
    for container in waiting(pod):
        if (reason := container.get("reason") or "") not in _ON_ITS_WAY:
            return told(reason, container.get("message"))
    return ""


def _departure(pod: Document) -> str:
    """That it will be gone soon, and why."""
    return disruption(pod) or ("its pod is being deleted" if is_deleted(pod) else "")
