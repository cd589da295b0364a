"""A lane with an executor that executes nothing: everything that the scheduler asks of a lane, without a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

from benchmarks.simulation.clock import VirtualClock
from benchmarks.simulation.launches import Launch, Launches
from benchmarks.simulation.occupancy import Occupancy
from benchmarks.simulation.profiles import CALL_DEADLINE, Episode, Profile
from executors.events import Accepted, ExecutorEvent, Succeeded
from executors.workload import TaskInstanceKey, TaskInstanceRef, Workload
from runtime.core.clock import SECOND
from runtime.scheduler.health import Health, LaneStatus
from runtime.scheduler.mailbox import CallAnswer, Delivery

_UNLIMITED = 2**31


class Decisions:
    """A digest of everything that lanes are told, in order: equal for equal simulations."""

    def __init__(self) -> None:
        self.count = 0
        self._digest = blake2b(digest_size=8)

    def note(self, *what: object) -> None:
        self.count += 1
        self._digest.update(repr(what).encode())

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Question:
    token: object
    deadline: int
    answer: Callable[[], Any]


class SimulatedLane:
    """What :class:`~runtime.scheduler.lanes.Lane` is to the scheduler. While its executor is sick, what it is handed
    waits here, and what happens behind it is not heard of.

    :param infra_retries: losses after the start that are forgiven to a task.
    """

    class_name = "SimulatedExecutor"

    def __init__(
        self, profile: Profile, clock: VirtualClock, launches: Launches, decisions: Decisions, infra_retries: int = 2
    ) -> None:
        self.profile = profile
        self.name = profile.name
        self.infra_retries = infra_retries
        self._dispatched = bytearray()
        """Attempts, as the 16 bytes of their ids, of every hand-over: what is kept must not look like a leak."""
        self.occupancy = Occupancy()
        self.ordered = False
        """Whether an operator's order forbids to use it now; for the figures alone."""
        self.wrong: list[str] = []
        self._clock = clock
        self._launches = launches
        self._decisions = decisions
        self._slots = profile.slots
        self._held: dict[TaskInstanceKey, Launch | None] = {}
        """``None``: not launched yet."""
        self._arrivals: dict[TaskInstanceKey, None] = {}
        self._accepted: list[Accepted] = []
        self._ends: dict[TaskInstanceKey, ExecutorEvent] = {}
        self._questions: list[_Question] = []
        self._has_room = False
        self._episodes = list(reversed(profile.episodes))
        self.tally()

    # -- what the scheduler asks of a lane

    def status(self) -> LaneStatus:
        episode = self._episode
        shows = episode is not None and self._clock.at >= episode.begin + episode.notice * SECOND
        queued = len(self._arrivals)
        return LaneStatus(
            name=self.name,
            class_name=self.class_name,
            health=Health.UNAVAILABLE if shows else Health.HEALTHY,
            reason=episode.reason if shows and episode is not None else "",
            parallelism=self._slots,
            open_slots=max(0, (self._slots or _UNLIMITED) - len(self._held)),
            queued=queued,
            running=len(self._held) - queued,
            last_heartbeat=self._clock.at,
        )

    def take(self) -> list[Delivery]:
        self._has_room = False
        answers = [self._answer(question) for question in self._questions if self._can_answer(question)]
        self._questions = [question for question in self._questions if not self._can_answer(question)]
        if self._episode is not None:
            return list(answers)
        accepted, ends = self._accepted, self._ends
        self._accepted, self._ends = [], {}
        for key in ends:
            self._held.pop(key, None)
        self.tally()
        return [*accepted, *ends.values(), *answers]

    def dispatch(self, *workloads: Workload) -> None:
        for workload in workloads:
            key = workload.key
            self._decisions.note(self._clock.at, self.name, *key, key.attempt_id)
            self._dispatched += UUID(key.attempt_id).bytes
            self._held.setdefault(key, None)
            self._arrivals.setdefault(key)
        if self._slots and len(self._held) > self._slots:
            self.wrong.append(f"{self.name} was handed {len(self._held)} attempts and has {self._slots} slots")
        self.turn()
        self.tally()

    def revoke(self, ref: TaskInstanceRef) -> bool:
        self._decisions.note(self._clock.at, self.name, "revoke", ref.key.attempt_id)
        unsent = ref.key in self._arrivals
        self._arrivals.pop(ref.key, None)
        self._ends.pop(ref.key, None)
        self._has_room |= ref.key in self._held
        launch = self._held.pop(ref.key, None)
        if launch is not None:
            self._launches.withdraw(launch)
        self.tally()
        return unsent

    def resize(self, parallelism: int | None) -> None:
        self._slots = self.profile.slots if parallelism is None else parallelism
        self.tally()

    def started(self, key: TaskInstanceKey) -> None:
        """Nothing to do: its hand-offs do not get lost."""

    def reported(self, key: TaskInstanceKey) -> None:
        if self.profile.hears_reports:
            self.notice(key, Succeeded(key))

    def call(self, method_name: str, *args: Any, token: object, deadline: float | None = None) -> None:
        assert method_name == "try_adopt_task_instances", method_name
        refs = list(args[0])
        self._ask(token, lambda: [ref for ref in refs if ref.key not in self._held], deadline)

    def take_stock(self, token: object) -> None:
        self._ask(token, lambda: frozenset(self._held))

    def request_heartbeat(self) -> None:
        """It needs none."""

    # -- what happens behind it

    def turn(self) -> None:
        """Launch what waits, unless the executor is sick."""
        if self._episode is not None:
            return
        arrivals, self._arrivals = self._arrivals, {}
        for key in arrivals:
            self._held[key] = self._launches.launch(key, self)
            if self.profile.names_launches:
                self._accepted.append(Accepted(key, f"simulated-{key.attempt_id}"))

    def notice(self, key: TaskInstanceKey, event: ExecutorEvent) -> None:
        """The backend tells of an end, once."""
        if key in self._held:
            self._ends.setdefault(key, event)

    def tally(self) -> None:
        """Write down how it is now, for the figures."""
        usable = self._episode is None and not self.ordered
        self.occupancy.note(self._clock.at, len(self._held), (self._slots or _UNLIMITED) if usable else 0)

    @property
    def wakes_at(self) -> int | None:
        """When it next has news that no launch brings: it falls ill, is well again, has room. Microseconds."""
        if self._has_room:
            return self._clock.at
        if self._episode is not None:
            return self._episode.end
        return self._episodes[-1].begin if self._episodes else None

    @property
    def held(self) -> int:
        return len(self._held)

    @property
    def handed(self) -> list[str]:
        """Attempts that it was handed, in order."""
        ids = memoryview(self._dispatched)
        return [str(UUID(bytes=bytes(ids[start : start + 16]))) for start in range(0, len(ids), 16)]

    @property
    def _episode(self) -> Episode | None:
        """The one that is on; those that are over are forgotten."""
        while self._episodes and self._episodes[-1].end <= self._clock.at:
            self._episodes.pop()
        current = self._episodes[-1] if self._episodes else None
        return current if current is not None and current.begin <= self._clock.at else None

    def _ask(self, token: object, answer: Callable[[], Any], deadline: float | None = None) -> None:
        limit = CALL_DEADLINE if deadline is None else deadline
        self._questions.append(_Question(token, self._clock.at + round(limit * SECOND), answer))

    def _can_answer(self, question: _Question) -> bool:
        return self._episode is None or self._clock.at > question.deadline

    def _answer(self, question: _Question) -> CallAnswer:
        if self._clock.at > question.deadline:
            return CallAnswer(question.token, error="no answer in time")
        return CallAnswer(question.token, question.answer())
