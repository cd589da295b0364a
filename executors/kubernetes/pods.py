"""What is known of each launch's pod, and what follows from news of it. Decides only; the executor does it.

A pod is a launch's from the moment it is handed to creation until it is deleted, kept for a person, or gone. Every
launch that has a slot ends here: by its own report, by a pod that ended, vanished, was refused or never came to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from executors.events import Accepted, Failed, Lost, Pending, Running, Unknown
from executors.kubernetes.building.naming import key_of
from executors.kubernetes.judging import Judgement, Kind, after_deletion, judge
from executors.kubernetes.leftovers import LONGEST_LEAVE, CleanUp, Leftovers, Remove, before, is_over, uid_of
from executors.kubernetes.options import KubernetesOptions
from executors.kubernetes.viewing import Place, Pod, place
from executors.workload import TaskInstanceKey

NO_REPORT = "its pod succeeded, but the attempt reported nothing"
VANISHED = "its pod has vanished, and nobody saw how it ended"

Fact: TypeAlias = Accepted | Pending | Running | Unknown | Failed | Lost
Act: TypeAlias = Fact | CleanUp


class Stage(Enum):
    CREATING = auto()
    """Handed to creation, or adopted: nobody has seen a pod of it."""
    THERE = auto()
    RUNNING = auto()
    REPORTED = auto()
    """Its slot is free; the pod is cleaned up once it has ended."""
    DOOMED = auto()
    """Revoked before its pod was seen."""


@dataclass(slots=True)
class _Launch:
    key: TaskInstanceKey
    place: Place
    uid: str = ""
    shown: str = ""
    """The last reason for waiting, or for doubt, that was passed on."""
    stage: Stage = Stage.CREATING
    gone: Pod | None = None
    """A pod of this name that was deleted while a create was on its way: the one created, or one from before."""

    @property
    def has_slot(self) -> bool:
        return self.stage not in (Stage.REPORTED, Stage.DOOMED)


class Pods:
    """Each method takes one piece of news and returns what follows.

    :param clock: seconds that only grow.
    """

    def __init__(self, options: KubernetesOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self._leftovers = Leftovers(options, clock)
        self._launches: dict[TaskInstanceKey, _Launch] = {}
        # One delay for each, so these stay in the order in which they fall due.
        self._unseen: dict[TaskInstanceKey, float] = {}
        """Created or adopted, and not shown by the watch yet: since when."""
        self._reported: dict[TaskInstanceKey, float] = {}
        """When it was told of the report of a launch whose pod goes on."""
        self._doomed: dict[TaskInstanceKey, float] = {}

    @property
    def is_settled(self) -> bool:
        """Whether no pod has to be waited for."""
        return not any(launch.uid for launch in self._launches.values())

    def __contains__(self, key: TaskInstanceKey) -> bool:
        return key in self._launches

    # -- what the executor does

    def submitted(self, key: TaskInstanceKey, where: Place) -> None:
        """Its pod is going to be created."""
        self._launches[key] = _Launch(key, where)

    def adopted(self, key: TaskInstanceKey, where: Place) -> None:
        """It has a pod from before, or so it is said: the watch will show it, or the next list will not have it."""
        self._launches[key] = _Launch(key, where)
        self._unseen[key] = self._clock()

    def started(self, key: TaskInstanceKey) -> None:
        """It has begun, so there is a pod of it, whatever has become of the call that made it."""
        if self.is_creating(key):
            self._unseen[key] = self._clock()

    def reported(self, key: TaskInstanceKey) -> None:
        """It has told its own end."""
        launch = self._launches.get(key)
        if launch is not None and launch.has_slot:
            launch.stage = Stage.REPORTED
            self._reported[key] = self._clock()

    def revoked(self, key: TaskInstanceKey) -> list[Act]:
        """It is to be stopped. Where its pod may still be on its way, the one that appears is deleted as well."""
        launch = self._launches.get(key)
        if launch is None:
            return []
        if launch.uid:
            return [self._remove(launch, log=True)]
        launch.stage = Stage.DOOMED
        self._doomed[key] = self._clock()
        return [Remove(launch.place, "", key)]

    def revoked_stray(self, pod: Pod) -> list[Act]:
        """No launch of it is known here, and it is to be stopped all the same."""
        if self._leftovers.is_leaving(pod) or is_over(pod):
            return []
        return [self._leftovers.remove(place(pod), uid_of(pod), key_of(pod))]

    def is_creating(self, key: TaskInstanceKey) -> bool:
        """Whether creation may still be told to leave it."""
        launch = self._launches.get(key)
        return launch is not None and not launch.uid and key not in self._unseen

    def forget(self, key: TaskInstanceKey) -> None:
        """There is no pod of it, nor will there be one."""
        self._launches.pop(key, None)
        for waiting in (self._unseen, self._reported, self._doomed):
            waiting.pop(key, None)

    def all_removed(self) -> list[Act]:
        """Everything that may still run is to be deleted, and is forgotten."""
        return [self._remove(launch, log=False) for launch in list(self._launches.values())]

    # -- what creation says

    def created(self, key: TaskInstanceKey, pod: Pod) -> list[Act]:
        """There is a pod of this name now, made just now or before; the watch shows what becomes of it."""
        launch = self._launches.get(key)
        if launch is None:
            return self.revoked_stray(pod)  # it ended by a pod from before
        if launch.uid:
            return []  # the watch was quicker
        if launch.gone is not None and uid_of(launch.gone) == uid_of(pod):
            return self._gone(launch, after_deletion(launch.gone))
        self._unseen[key] = self._clock()
        return self._look(launch, pod)

    def postponed(self, key: TaskInstanceKey, reason: str) -> list[Act]:
        """It cannot be created now."""
        launch = self._launches.get(key)
        return self._show(launch, reason) if launch is not None and launch.stage is Stage.CREATING else []

    def refused(self, key: TaskInstanceKey, reason: str, *, uncertain: bool = False) -> list[Act]:
        """It will never be created. ``uncertain``: unless a call without an answer has made it."""
        if not self.is_creating(key):
            return []  # there is one all the same
        acts: list[Act] = [Failed(key, reason, refused=True)] if self._launches[key].has_slot else []
        if uncertain:
            return acts + self.revoked(key)
        self.forget(key)
        return acts

    # -- what the watch says

    def seen(self, pod: Pod) -> list[Act]:
        """The pod is as it says; told of each change, and perhaps twice."""
        key = key_of(pod)
        if key is None:
            return []
        self._unseen.pop(key, None)
        launch = self._launches.get(key)
        if launch is not None:
            return self._look(launch, pod)
        self._leftovers.pass_by(pod)
        return []

    def deleted(self, pod: Pod) -> list[Act]:
        """The pod is gone from the list; ``pod`` is the last that was seen of it."""
        uid, key = uid_of(pod), key_of(pod)
        self._leftovers.gone(uid)
        launch = self._launches.get(key) if key is not None else None
        if launch is None or launch.uid not in ("", uid):
            return []
        if self.is_creating(launch.key):
            launch.gone = pod
            return []
        return self._gone(launch, after_deletion(pod))

    # -- what time says

    def due(self, listed: float) -> list[Act]:
        """What follows from time alone.

        :param listed: when the last list began whose pods have all been told of here.
        """
        now, acts = self._clock(), list[Act]()
        for key in before(self._unseen, listed):
            # A list that began after it was there does not have it: it came and went between two looks.
            acts += self._gone(self._launches[key], Judgement(Kind.LOST, VANISHED))
        for key in before(self._reported, now - self._options.end_grace):
            del self._reported[key]
            acts += self.revoked(key)
        for key in before(self._doomed, now - LONGEST_LEAVE):
            self.forget(key)
        return acts + self._leftovers.due()

    def told(self) -> list[str]:
        """Lines for an operator."""
        stages = [launch.stage for launch in self._launches.values()]
        lines = [f"{number} {stage.name.lower()}" for stage in Stage if (number := stages.count(stage))]
        if self._unseen:
            lines.append(f"{len(self._unseen)} not shown by the watch yet")
        return lines + self._leftovers.told()

    # -- decisions

    def _look(self, launch: _Launch, pod: Pod) -> list[Act]:
        acts = self._found(launch, pod)
        if launch.stage is Stage.DOOMED:
            return [self._remove(launch, log=True)]
        if launch.stage is Stage.REPORTED:
            return [self._finish(launch, pod)] if is_over(pod) else []
        judgement = judge(pod, self._options.fatal_reasons)
        match judgement.kind:
            case Kind.PENDING:
                return acts + self._show(launch, judgement.reason)
            case Kind.RUNNING:
                return acts + self._runs(launch)
            case Kind.UNKNOWN:
                return acts + self._doubt(launch, judgement.reason)
        acts.append(_verdict(launch.key, judgement))
        # One that is refused without an end would wait for ever, or begin when nobody expects it any more.
        acts.append(self._finish(launch, pod) if is_over(pod) else self._remove(launch, log=False))
        return acts

    def _found(self, launch: _Launch, pod: Pod) -> list[Act]:
        uid = uid_of(pod)
        if launch.uid == uid:
            return []
        launch.uid, launch.place = uid, place(pod)
        self._leftovers.claimed(uid)
        if launch.stage is not Stage.CREATING:
            return []
        launch.stage = Stage.THERE
        return [Accepted(launch.key, "/".join(launch.place))]

    def _show(self, launch: _Launch, reason: str) -> list[Act]:
        if launch.shown == reason:
            return []
        launch.shown = reason
        return [Pending(launch.key, reason or None)]

    def _runs(self, launch: _Launch) -> list[Act]:
        if launch.stage is Stage.RUNNING:
            return []
        launch.stage = Stage.RUNNING
        return [*self._show(launch, ""), Running(launch.key)]

    def _doubt(self, launch: _Launch, reason: str) -> list[Act]:
        if launch.shown == reason:
            return []
        launch.stage, launch.shown = Stage.THERE, reason
        return [Unknown(launch.key, reason)]

    def _gone(self, launch: _Launch, judgement: Judgement) -> list[Act]:
        self.forget(launch.key)
        return [_verdict(launch.key, judgement)] if launch.has_slot else []

    def _finish(self, launch: _Launch, pod: Pod) -> Act:
        self.forget(launch.key)
        return self._leftovers.clean_up(pod)

    def _remove(self, launch: _Launch, *, log: bool) -> Act:
        self.forget(launch.key)
        return self._leftovers.remove(launch.place, launch.uid, launch.key if log else None)


def _verdict(key: TaskInstanceKey, judgement: Judgement) -> Failed | Lost:
    if judgement.kind is Kind.LOST:
        return Lost(key, judgement.reason, judgement.ended)
    if judgement.kind is Kind.SUCCEEDED:
        # Launched again it would do the same, so it costs a try also where the attempt never started.
        return Failed(key, NO_REPORT, refused=True, ended=judgement.ended)
    return Failed(key, judgement.reason, refused=judgement.kind is Kind.REFUSED, ended=judgement.ended)
