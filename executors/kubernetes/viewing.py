"""What is known of the pods of one namespace, and what to ask the API server for next. Pure: no clock, no calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from executors.kubernetes.errors import ApiError, ClusterUnreachableError, GoneError, KubernetesError
from executors.kubernetes.pacing import LONGEST_RETRY_AFTER, pause

Pod: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str, str]
"""Namespace and name."""
_LONGEST_PAUSE = 10.0
_LASTING = 1.0
"""Seconds after which a watch that has ended was a good one, though nothing happened in it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The pod is there, and is new or has changed, or has ended and is there still."""

    pod: Pod = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deleted:
    """The pod is gone, or is ours to look at no more; ``pod`` is the last that was known of it."""

    pod: Pod = field(repr=False)


News: TypeAlias = Seen | Deleted


class View:
    """The pods of one namespace, or of all, by what lists and events have said.

    ``managedFields`` are taken out of them: half of a pod's memory, and nobody reads them.
    """

    def __init__(self) -> None:
        self.pods: dict[Place, Pod] = {}
        self.resource_version = ""
        """To watch from."""
        self.synced = False
        """It has been listed once."""

    def listed(self, items: Iterable[Pod], resource_version: str) -> list[News]:
        """A whole list: what differs from what was known. Events that were missed come out of it; and pods that have
        ended are told of each time, so that one that could not be cleaned up is not forgotten.
        """
        found = {place(pod): _lean(pod) for pod in items}
        news: list[News] = [Deleted(pod) for where, pod in self.pods.items() if _is_other(pod, found.get(where))]
        news += [
            Seen(pod) for where, pod in found.items() if _has_ended(pod) or _has_changed(self.pods.get(where), pod)
        ]
        self.pods, self.resource_version, self.synced = found, resource_version, True
        return news

    def happened(self, kind: str, pod: Pod) -> list[News]:
        """An event of the watch: ADDED, MODIFIED, DELETED or BOOKMARK; others are none of ours."""
        version = _metadata(pod).get("resourceVersion")
        if kind in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") and version:
            self.resource_version = str(version)
        if kind in ("ADDED", "MODIFIED"):
            return self._changed(pod)
        if kind == "DELETED":
            self.pods.pop(place(pod), None)
            return [Deleted(pod)]
        return []

    def _changed(self, pod: Pod) -> list[News]:
        where = place(pod)
        before = self.pods.get(where)
        self.pods[where] = _lean(pod)
        if before is not None and _is_other(before, pod):
            return [Deleted(before), Seen(pod)]
        return [Seen(pod)] if _has_changed(before, pod) else []


def place(pod: Pod) -> Place:
    """Where it is."""
    metadata = _metadata(pod)
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _metadata(pod: Pod) -> dict[str, Any]:
    return pod.get("metadata") or {}


def _lean(pod: Pod) -> Pod:
    _metadata(pod).pop("managedFields", None)
    return pod


def _has_ended(pod: Pod) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _is_other(before: Pod, now: Pod | None) -> bool:
    """Another pod of the same name, or none."""
    return now is None or _metadata(before).get("uid") != _metadata(now).get("uid")


def _has_changed(before: Pod | None, now: Pod) -> bool:
    if before is None or _is_other(before, now):
        return True
    return bool(_metadata(before).get("resourceVersion") != _metadata(now).get("resourceVersion"))


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask for nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class List:
    """Ask for all pods."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Ask for what happens from now on, for so long."""

    seconds: float


Step: TypeAlias = Wait | List | Watch


class Course:
    """List, then watch, then watch on; list again each ``relist_interval`` seconds and where the watch has lost its
    place; slowly where it does not work. Moments are monotonic seconds.
    """

    def __init__(self, relist_interval: float, inactivity: float) -> None:
        self._relist_interval = relist_interval
        self._inactivity = inactivity
        self._must_list = True
        self._relist_at = 0.0
        self._not_before = float("-inf")
        self._failures = 0

    def step(self, now: float) -> Step:
        """What to do now."""
        if now < self._not_before:
            return Wait(self._not_before - now)
        if self._must_list or now >= self._relist_at:
            return List()
        return Watch(min(self._inactivity, self._relist_at - now))

    def listed(self, now: float, draw: float) -> None:
        """A list has come. Schedulers that began together do not list together for long."""
        self._must_list = False
        self._relist_at = now + self._relist_interval * (0.9 + 0.1 * draw)

    def watched(self, lasted: float, heard: bool, now: float, draw: float) -> None:
        """A watch has ended as it should: ``heard``: something happened in it."""
        if heard or lasted >= _LASTING:
            self._failures = 0
        else:
            self._slow_down(now, draw)

    def failed(self, error: KubernetesError, heard: bool, now: float, draw: float) -> None:
        """A list or a watch has not worked, or, where it has ``heard`` something, no longer."""
        if heard:
            self._failures = 0
        if isinstance(error, GoneError) or not isinstance(error, (ApiError, ClusterUnreachableError)):
            self._must_list = True  # also where an event was no event: the same place would bring it again
        self._slow_down(now, draw)
        if isinstance(error, ApiError) and error.retry_after is not None:
            self._not_before = max(self._not_before, now + min(error.retry_after, LONGEST_RETRY_AFTER))

    def _slow_down(self, now: float, draw: float) -> None:
        self._failures += 1
        self._not_before = now + pause(self._failures, draw, longest=_LONGEST_PAUSE)
