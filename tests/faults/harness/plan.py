"""What is struck when: a pure function of seed, number of faults and length.

Faults are dealt from a shuffled deck of all kinds, so that each comes before any comes again. Their moments are spread
over the whole time at random; two faults of one target never overlap, those of different targets do.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Blow = Literal["SIGKILL", "SIGSTOP", "SIGTERM", "latency", "cut", "half-open", "only to server", "only to client"]
SECONDS_PER_FAULT = 2.5
"""How much time a fault has, unless the command says otherwise: dense enough that outages overlap."""
REST = 2.0
"""Seconds that a target is left alone after a fault, so that there is something to strike."""
SLOW_END = 8.0
"""Seconds that a process may take to end after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to hurt something. ``least`` and ``most``: how long it lasts, in seconds.

    What was killed is back after that time; where the runtime itself replaces it, it is 0.
    """

    target: str
    blow: Blow
    least: float = 0.0
    most: float = 0.0

    @property
    def name(self) -> str:
        """As in the report: ``SIGKILL scheduler-1``, ``cut worker-1 > redis``."""
        return f"{self.blow} {self.target}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: ``at`` and ``span`` in seconds, from the beginning of the plan and from ``at``."""

    number: int
    at: float
    kind: Kind
    span: float
    pick: float
    """In [0, 1): which of several processes of that kind."""

    @property
    def end(self) -> float:
        return self.at + self.span


SCHEDULERS = ("scheduler-1", "scheduler-2")
WORKERS = ("worker-1", "worker-2")
API = "api-server"
LINKS = (
    *(f"{scheduler} > postgres" for scheduler in SCHEDULERS),
    f"{API} > postgres",
    *(f"{scheduler} > redis" for scheduler in SCHEDULERS),
    *(f"{worker} > redis" for worker in WORKERS),
    *(f"{worker} > {API}" for worker in WORKERS),
    f"remote > {API}",
)
"""Who speaks to whom through a proxy of its own; ``remote`` are the launches of the custom executor."""


def kinds(lease: float, silence: float) -> tuple[Kind, ...]:
    """Every kind of fault.

    :param lease: of a scheduler, in seconds: it is stopped for less and for more than that.
    :param silence: after which a running attempt is given up, in seconds: whole workers are stopped for longer.
    """
    ours = (*_of_daemons(lease, silence), *_of_processes(), *_of_stores())
    return (*ours, *ours, *_of_links(lease))  # of links there are so many


def _of_daemons(lease: float, silence: float) -> Iterator[Kind]:
    for name in (*SCHEDULERS, *WORKERS, API):
        yield Kind(name, "SIGKILL", 0.1, 2.0)
        yield Kind(name, "SIGTERM", 0.1, 1.0)
        yield Kind(name, "SIGSTOP", 0.2 * lease, 0.8 * lease)
    for name in (*SCHEDULERS, API):
        yield Kind(name, "SIGSTOP", 1.5 * lease, 4.0 * lease)
    for name in WORKERS:
        yield Kind(name, "SIGSTOP", silence + 1.0, silence + 3.0)


def _of_processes() -> Iterator[Kind]:
    """Which end with one attempt, or which their executor replaces."""
    for name in ("local worker", "pool child", "supervisor"):
        yield Kind(name, "SIGKILL")
        yield Kind(name, "SIGSTOP", 0.2, 3.0)
    yield Kind("zygote", "SIGKILL")


def _of_stores() -> Iterator[Kind]:
    for name in ("redis", "postgres"):
        yield Kind(name, "SIGKILL", 0.1, 2.5)
    yield Kind("redis", "SIGSTOP", 0.3, 3.0)


def _of_links(lease: float) -> Iterator[Kind]:
    for link in LINKS:
        yield Kind(link, "latency", 0.5, 3.0)
        yield Kind(link, "cut", 0.0, 2.0)
        yield Kind(link, "half-open", 0.5, 4.0 * lease)
        yield Kind(link, "only to server", 0.5, 2.0 * lease)
        yield Kind(link, "only to client", 0.5, 2.0 * lease)


def make_plan(
    seed: int, faults: int, duration: float, *, lease: float = 1.5, silence: float = 10.0
) -> tuple[Fault, ...]:
    """``faults`` faults in their order, spread over ``duration`` seconds; later where all targets are taken. Kinds that
    may last for more than a quarter of it are left out. Raises ``ValueError`` where ``duration`` is not positive.
    """
    if duration <= 0:
        raise ValueError(f"a plan needs a positive duration, not {duration:g}")
    dice = random.Random(f"{seed} {faults} {duration:.3f}")
    moments = sorted(dice.uniform(0.0, duration) for _ in range(faults))
    deck = [kind for kind in kinds(lease, silence) if kind.most <= duration / 4]
    dealt = sorted(_deal(dice, moments, deck), key=lambda fault: fault.at)
    return tuple(replace(fault, number=number) for number, fault in enumerate(dealt))


def _deal(dice: random.Random, moments: Sequence[float], deck: Sequence[Kind]) -> Iterator[Fault]:
    hand: list[Kind] = []
    free_at: dict[str, float] = {}
    for number, moment in enumerate(moments):
        at = moment
        if len(hand) < len(deck):  # a second deck below the first: what is busy now is dealt a little later
            hand += dice.sample(deck, len(deck))
        place = next((i for i, kind in enumerate(hand) if free_at.get(kind.target, 0.0) <= at), None)
        if place is None:
            place = min(range(len(hand)), key=lambda i: free_at[hand[i].target])
            at = free_at[hand[place].target]
        kind = hand.pop(place)
        fault = Fault(number, at, kind, dice.uniform(kind.least, kind.most), dice.random())
        free_at[kind.target] = fault.end + REST + (SLOW_END if kind.blow == "SIGTERM" else 0.0)
        yield fault


def by_kind(plan: Sequence[Fault]) -> dict[str, int]:
    """How often each blow falls on each kind of target, numbers of daemons left out."""
    counted = Counter(f"{fault.kind.blow} {plain(fault.kind.target)}" for fault in plan)
    return dict(sorted(counted.items()))


def plain(target: str) -> str:
    """``worker-1 > redis`` → ``worker > redis``."""
    return target.replace("-1", "").replace("-2", "")


def described(plan: Sequence[Fault]) -> str:
    """One line a fault, for ``--dry-run``."""
    return "\n".join(f"{fault.number:5}  {fault.at:8.2f} s  {fault.span:5.2f} s  {fault.kind.name}" for fault in plan)
