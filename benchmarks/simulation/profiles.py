"""What the simulated executors are like: size, speed, faults, and when they are sick."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from benchmarks.simulation.clock import moment_of

SMALLEST, LARGEST = 8, 2_000
"""Slots of the first and the last executor; those between them grow by a constant factor."""
PER_SLOT = 50
"""Task instances for each slot of the last executor, at least: in a small simulation, too, slots must be short."""
CALL_DEADLINE = 10.0
"""Seconds of silence after which a lane calls its executor hung; the default of the real one."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Episode:
    """Between two moments nothing is heard from the executor, and what it is handed waits in its lane.

    :param notice: seconds until this shows as ``unavailable``: none for an error, the deadline of a call for a hang.
    """

    begin: int
    end: int
    reason: str
    notice: float = 0.0


@dataclass(frozen=True)
class Profile:
    """One executor. Durations in seconds, chances per attempt."""

    name: str
    slots: int
    """0: unlimited."""
    latency: tuple[float, float] = (0.1, 0.4)
    """From the hand-over to the start, evenly between these."""
    median: float = 5.0
    """Of how long a task runs, log-normally."""
    sigma: float = 0.6
    notice: float = 0.1
    """From a process's end until the executor says so."""
    load: float = 0.8
    """Share of its slots that its tasks need while runs arrive; above 1 it is full for long."""
    names_launches: bool = False
    """Its backend has names of its own for launches."""
    hears_reports: bool = False
    """It frees a slot when it is told of the attempt's report, before its backend has noticed the end."""
    never_started: float = 0.0005
    """Lost before the start, and the backend says so."""
    stuck: float = 0.0
    """Accepted, and never heard of again."""
    lost: float = 0.001
    """Lost while it ran; the backend is certain."""
    vanished: float = 0.0002
    """The same, but the backend cannot be certain, or says nothing at all."""
    what: str = "steady"
    """For the table."""
    episodes: tuple[Episode, ...] = field(default=())

    def duration(self, chance: float) -> float:
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(min(max(chance, 1e-9), 1 - 1e-9)))

    @property
    def hold(self) -> float:
        """Mean seconds for which an attempt takes a slot."""
        return sum(self.latency) / 2 + self.median * math.exp(self.sigma**2 / 2) + self.notice

    @property
    def rate(self) -> float:
        """Attempts per second that it is meant to get."""
        return self.load * (self.slots or LARGEST) / self.hold


_KINDS = (
    Profile("full", 0, median=2.0, load=1.5, what="full for long"),
    Profile("hangs", 0, median=3.0, names_launches=True, what="hangs 30 s"),
    Profile("flaps", 0, median=3.0, hears_reports=True, what="flaps"),
    Profile("drained", 0, median=4.0, what="drained, resumed"),
    Profile("resized", 0, median=5.0, what="halved, restored"),
    Profile("lossy", 0, never_started=0.02, stuck=0.001, lost=0.02, vanished=0.004, what="loses attempts"),
    Profile("slow", 0, (2.0, 8.0), median=8.0, sigma=0.9, names_launches=True, what="slow to start"),
    Profile("wide", 0, median=10.0, sigma=0.8, hears_reports=True, what="steady"),
)


def make_profiles(count: int, tasks: int) -> list[Profile]:
    """``count`` executors for ``tasks`` task instances, the smallest first. Of each eight, one is of each kind."""
    largest = min(LARGEST, max(2 * SMALLEST, tasks // PER_SLOT))
    made = []
    for number in range(count):
        kind = _KINDS[number % len(_KINDS)]
        slots = round(SMALLEST * (largest / SMALLEST) ** (number / max(1, count - 1)))
        name = kind.name if number < len(_KINDS) else f"{kind.name}-{number + 1}"
        made.append(replace(kind, name=name, slots=slots))
    return made


def with_episodes(profile: Profile, span: float, period: float = 150.0) -> Profile:
    """Sick once in each ``period`` of the ``span`` seconds in which runs arrive."""
    begins = [start * period for start in range(max(1, round(span / period)))]
    return replace(profile, episodes=tuple(episode for begin in begins for episode in _episodes(profile.what, begin)))


def _episodes(what: str, begin: float) -> Iterator[Episode]:
    if what == "hangs 30 s":
        yield Episode(moment_of(begin + 6), moment_of(begin + 36), "heartbeat has not returned", CALL_DEADLINE)
    elif what == "flaps":
        for start in range(4, 44, 8):
            yield Episode(moment_of(begin + start), moment_of(begin + start + 3), "ConnectionError: the broker is away")
