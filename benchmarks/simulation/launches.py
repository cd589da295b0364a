"""Processes that do not exist: what becomes of each launch, and what its worker says to the real task service."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.simulation.clock import VirtualClock, chances, on_grid
from executors.events import Failed, Lost, Succeeded
from executors.workload import TaskInstanceKey
from runtime.core import messages as m
from runtime.core.clock import SECOND

if TYPE_CHECKING:
    from benchmarks.simulation.executors import SimulatedLane

BEAT = 10.0
"""Seconds between two heartbeats of a running attempt, as shipped."""
RETRY_DELAY = 5.0
BATCH = 1_000
"""Requests that share a transaction."""
Outcome = Callable[[TaskInstanceKey], str]
Task = tuple[str, str, str]
"""DAG, run and task."""


@dataclass(slots=True, eq=False)
class Launch:
    """One hand-over of one attempt; ``phase`` is ``starting``, ``running`` or ``over``."""

    key: TaskInstanceKey
    lane: SimulatedLane
    fate: str
    seconds: float
    """From its start to its end."""
    phase: str = "starting"

    @property
    def task(self) -> Task:
        return (self.key.dag_id, self.key.run_id, self.key.task_id)


class Launches:
    """All of them, and what they do next.

    :param service: the real task service, see :class:`~runtime.service.tasks.TaskService`.
    :param outcome: what the task's own code does in this try: ``success``, ``failed``, ``crashed`` or ``refused``.
    """

    def __init__(
        self, seed: int, clock: VirtualClock, service: Callable[[Sequence[bytes]], list[bytes]], outcome: Outcome
    ) -> None:
        self._seed = seed
        self._clock = clock
        self._service = service
        self._outcome = outcome
        self._heap: list[tuple[int, int, str, Launch]] = []
        self._order = itertools.count()
        self._alive: dict[Task, Launch] = {}
        self.losses: Counter[Task] = Counter()
        """Of attempts that ran, by task: what the scheduler has to charge to ``infra_retries``."""
        self.happened: Counter[str] = Counter()
        self.wrong: list[str] = []
        """What no worker should ever have seen."""

    # -- the lanes' side

    def launch(self, key: TaskInstanceKey, lane: SimulatedLane) -> Launch:
        """The backend has taken the attempt."""
        profile, drawn = lane.profile, chances(self._seed, key.attempt_id)
        tried = chances(self._seed, *key)
        latency = profile.latency[0] + (profile.latency[1] - profile.latency[0]) * drawn[0]
        made = Launch(key, lane, self._fate(key, lane, drawn), profile.duration(tried[1]))
        self._add(latency, "start", made)
        return made

    def withdraw(self, launch: Launch) -> None:
        """It is told to stop. What has not started may not hear of it, and will ask for a start that is over."""
        if launch.phase == "running":
            self._end(launch)
            self.happened["stopped while running"] += 1
        elif chances(self._seed, launch.key.attempt_id)[2] < 0.5:
            launch.phase = "over"

    # -- time

    @property
    def next_due(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    @property
    def running(self) -> int:
        return len(self._alive)

    def happen(self) -> None:
        """Let everything happen that is due."""
        requests: list[tuple[m.Request, Launch]] = []
        while self._heap and self._heap[0][0] <= self._clock.at:
            _, _, kind, launch = heapq.heappop(self._heap)
            if kind == "notice":
                launch.lane.notice(launch.key, _event(launch))
            elif launch.phase != "over" and (request := self._request(kind, launch)) is not None:
                requests.append((request, launch))
        for first in range(0, len(requests), BATCH):
            batch = requests[first : first + BATCH]
            replies = self._service([m.encode(request) for request, _ in batch])
            for (request, launch), reply in zip(batch, replies, strict=True):
                self._heard(request, launch, m.decode_reply(reply))

    def _add(self, seconds: float, kind: str, launch: Launch) -> None:
        due = on_grid(self._clock.at + max(1, round(seconds * SECOND)))
        heapq.heappush(self._heap, (due, next(self._order), kind, launch))

    def _fate(self, key: TaskInstanceKey, lane: SimulatedLane, drawn: Sequence[float]) -> str:
        """Losses after the start stop short of what ``infra_retries`` forgives, so that ends can be foretold."""
        profile, outcome = lane.profile, self._outcome(key)
        chance = drawn[3]
        for fate, share in (("never started", profile.never_started), ("stuck", profile.stuck)):
            if chance < share:
                return fate
            chance -= share
        if outcome == "refused" or self.losses[key.dag_id, key.run_id, key.task_id] >= lane.infra_retries:
            return outcome
        for fate, share in (
            ("lost", profile.lost),
            ("vanished", profile.vanished / 2),
            ("silent", profile.vanished / 2),
        ):
            if chance < share:
                return fate
            chance -= share
        return outcome

    def _request(self, kind: str, launch: Launch) -> m.Request | None:
        attempt = launch.key.attempt_id
        if kind == "start":
            return self._start(launch)
        if kind == "beat":
            self._add(BEAT, "beat", launch)
            return m.Heartbeat(attempt, attempt)
        self._end(launch)
        self.happened[launch.fate] += 1
        if launch.fate in {"success", "failed"}:
            return m.Finish(attempt, attempt, launch.fate, retry_delay=RETRY_DELAY)
        if launch.fate in {"lost", "vanished", "silent"}:
            self.losses[launch.task] += 1
        return None

    def _start(self, launch: Launch) -> m.Request | None:
        if launch.fate in {"never started", "stuck", "refused"}:
            self.happened[launch.fate] += 1
            launch.phase = "over"
            if launch.fate != "stuck":
                self._add(launch.lane.profile.notice, "notice", launch)
            return None
        attempt = launch.key.attempt_id
        return m.Start(attempt, attempt, hostname="simulated", pid=0, pid_started=0, boot_id="simulated")

    def _heard(self, request: m.Request, launch: Launch, reply: Any) -> None:
        if isinstance(reply, m.Started):
            self._started(launch, reply)
        elif isinstance(reply, m.Finished) and not reply.accepted:
            self.wrong.append(f"the report of {launch.key} was refused: {reply.reason}")
        elif isinstance(reply, m.HeartbeatReply) and not reply.go_on:
            self.wrong.append(f"{launch.key} was told to stop: {reply.reason}")
            self._end(launch)
        elif isinstance(reply, m.Done):
            self.wrong.append(f"{type(request).__name__} of {launch.key} was not understood: {reply.reason}")

    def _started(self, launch: Launch, reply: m.Started) -> None:
        if not reply.granted:
            self.happened["start refused"] += 1
            launch.phase, launch.fate = "over", "never started"
            self._add(launch.lane.profile.notice, "notice", launch)
            return
        if launch.task in self._alive:
            self.wrong.append(f"{launch.key} was started while {self._alive[launch.task].key} runs")
        self._alive[launch.task] = launch
        launch.phase = "running"
        share = 1.0 if launch.fate in {"success", "failed"} else chances(self._seed, launch.key.attempt_id)[4]
        if launch.seconds * share > BEAT:
            self._add(BEAT, "beat", launch)
        self._add(launch.seconds * share, "end", launch)

    def _end(self, launch: Launch) -> None:
        """Its process is gone."""
        launch.phase = "over"
        if self._alive.get(launch.task) is launch:
            del self._alive[launch.task]
        if launch.fate != "silent":
            self._add(launch.lane.profile.notice, "notice", launch)


def _event(launch: Launch) -> Succeeded | Failed | Lost:
    """What the executor says when it notices the end."""
    key, fate = launch.key, launch.fate
    if fate in {"success", "failed"}:
        return Succeeded(key)
    if fate == "refused":
        return Failed(key, "no launch of it can work", refused=True)
    if fate == "crashed":
        return Failed(key, "exit code 137", ended=True)
    return Lost(key, f"simulated: {fate}", ended=fate == "lost")
