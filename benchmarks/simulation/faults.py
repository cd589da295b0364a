"""What people do meanwhile, through the database as the commands do it: orders for executors, pauses of DAGs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from benchmarks.simulation.clock import moment_of
from benchmarks.simulation.profiles import Profile
from runtime.db.orders import Mode, give_mode, give_parallelism
from runtime.db.runs import set_paused

PERIOD = 150.0
"""Seconds between two rounds of the same, as long as runs arrive."""
ACTOR = "simulation"


@dataclass(frozen=True)
class Act:
    """At ``at`` somebody does something."""

    at: int
    act: Callable[[Connection], object]
    forbids: tuple[str, bool] | None = None
    """An executor, and whether this forbids to use it."""


def make_acts(profiles: Sequence[Profile], paused: str, span: float) -> list[Act]:
    """For all of the simulation, in order.

    :param paused: the DAG that is paused for a while.
    """
    acts = list(_pause(paused))
    for begin in range(0, max(1, round(span / PERIOD)) * round(PERIOD), round(PERIOD)):
        for profile in profiles:
            if profile.what.startswith("drained"):
                acts += _drain(profile, begin)
            elif profile.what.startswith("halved"):
                acts += _halve(profile, begin)
    return sorted(acts, key=lambda act: act.at)


def _pause(dag_id: str) -> Iterator[Act]:
    yield Act(moment_of(4), lambda connection: set_paused(connection, dag_id, True))
    yield Act(moment_of(24), lambda connection: set_paused(connection, dag_id, False))


def _drain(profile: Profile, begin: float) -> Iterator[Act]:
    for seconds, mode in ((8, Mode.DRAINING), (40, Mode.ACTIVE)):
        at = moment_of(begin + seconds)

        def act(connection: Connection, mode: Mode = mode, at: int = at) -> None:
            give_mode(connection, profile.name, mode, at=at, actor=ACTOR)

        yield Act(at, act, forbids=(profile.name, mode is Mode.DRAINING))


def _halve(profile: Profile, begin: float) -> Iterator[Act]:
    for seconds, slots in ((10, max(1, profile.slots // 2)), (60, None)):
        at = moment_of(begin + seconds)

        def act(connection: Connection, slots: int | None = slots, at: int = at) -> None:
            give_parallelism(connection, profile.name, slots, at=at, actor=ACTOR)

        yield Act(at, act)
