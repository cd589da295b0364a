"""Pods that have ended: which are deleted, which are kept for people, and which of them are nobody's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeAlias, TypeVar

from executors.kubernetes.building.naming import key_of
from executors.kubernetes.judging import Kind, judge
from executors.kubernetes.options import KubernetesOptions
from executors.kubernetes.statuses import base_end, states
from executors.kubernetes.viewing import Place, Pod, place
from executors.workload import TaskInstanceKey

T = TypeVar("T")
LONGEST_LEAVE = 3600.0
"""Seconds for which a pod that is being cleaned up is remembered; afterwards it is a leftover like any other."""
_TERMINAL = ("Succeeded", "Failed")
_OVER = frozenset({Kind.SUCCEEDED, Kind.FAILED, Kind.LOST})


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the pod. ``uid`` empty: whichever has this name, which is one attempt's only."""

    place: Place
    uid: str
    collect: TaskInstanceKey | None = None
    """The attempt whose log its output is; ``None`` where there is none to be had."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave the pod to people, and out of the lists."""

    place: Place
    uid: str
    collect: TaskInstanceKey | None = None
    """As in :class:`Remove`: one day somebody deletes it."""


CleanUp: TypeAlias = Remove | Keep


class Leftovers:
    """Pods that have ended and are no launch's are cleaned up by age; none that is being cleaned up already.

    :param clock: seconds that only grow.
    """

    def __init__(self, options: KubernetesOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        # One delay for each, so these stay in the order in which they fall due.
        self._strays: dict[str, float] = {}
        self._waiting: dict[str, float] = {}
        self._leaving: dict[str, float] = {}
        self._pods: dict[str, Pod] = {}

    def pass_by(self, pod: Pod) -> None:
        """No launch of ours: another scheduler's, or left over by one that is gone."""
        uid = uid_of(pod)
        if uid in self._strays or uid in self._leaving:
            return
        if is_over(pod):
            self._waiting.pop(uid, None)
            self._strays[uid] = self._clock()
            self._pods[uid] = pod
        elif _phase(pod) == "Pending":
            self._waiting.setdefault(uid, self._clock())
            self._pods[uid] = pod
        else:
            self.claimed(uid)  # its own heartbeats see to its end

    def claimed(self, uid: str) -> None:
        """It is a launch's after all, or gone."""
        self._strays.pop(uid, None)
        self._waiting.pop(uid, None)
        self._pods.pop(uid, None)

    def gone(self, uid: str) -> None:
        """It need not be remembered any more."""
        self.claimed(uid)
        self._leaving.pop(uid, None)

    def remove(self, where: Place, uid: str, collect: TaskInstanceKey | None) -> Remove:
        """Delete it, whatever it does."""
        if uid:
            self._leaving[uid] = self._clock()
        return Remove(where, uid, collect)

    def clean_up(self, pod: Pod) -> CleanUp:
        """Of a pod that has ended, or whose own container has: one whose others go on is never kept, it would run for
        ever.
        """
        options, uid = self._options, uid_of(pod)
        is_wanted = not options.delete_worker_pods or (_has_failed(pod) and not options.delete_worker_pods_on_failure)
        if _goes_on(pod) or not is_wanted:
            return self.remove(place(pod), uid, key_of(pod))
        self._leaving[uid] = self._clock()
        return Keep(place(pod), uid, key_of(pod))

    def is_leaving(self, pod: Pod) -> bool:
        return uid_of(pod) in self._leaving

    def due(self) -> list[CleanUp]:
        """Clean up those that have been nobody's for long enough."""
        now = self._clock()
        for uid in before(self._leaving, now - LONGEST_LEAVE):
            del self._leaving[uid]
        acts: list[CleanUp] = []
        for uid in before(self._strays, now - self._options.leftover_after):
            acts.append(self.clean_up(self._pods[uid]))
            self.claimed(uid)
        for uid in before(self._waiting, now - self._options.pending_leftover_after):
            acts.append(self.remove(place(self._pods[uid]), uid, None))
            self.claimed(uid)
        return acts

    def told(self) -> list[str]:
        """Lines for an operator."""
        figures = {
            "ended and nobody's": len(self._strays),
            "waiting and nobody's": len(self._waiting),
            "being cleaned up": len(self._leaving),
        }
        return [f"{number} {what}" for what, number in figures.items() if number]


def uid_of(pod: Pod) -> str:
    uid: str = pod["metadata"].get("uid", "")
    return uid


def is_over(pod: Pod) -> bool:
    """Nothing but cleaning up is left to be done with it."""
    return _phase(pod) in _TERMINAL or judge(pod).kind in _OVER


def before(since: Mapping[T, float], moment: float) -> list[T]:
    """Keys whose time is before ``moment``; the oldest come first in the mapping."""
    return list(takewhile(lambda key: since[key] < moment, since))


def _goes_on(pod: Pod) -> bool:
    return _phase(pod) not in _TERMINAL and any("running" in state for state in states(pod))


def _has_failed(pod: Pod) -> bool:
    """The kubelet tells of the end of all containers a moment before it says that the pod has failed."""
    return _phase(pod) == "Failed" or (base_end(pod) or {}).get("exitCode", 0) != 0


def _phase(pod: Pod) -> str:
    return str((pod.get("status") or {}).get("phase", ""))
