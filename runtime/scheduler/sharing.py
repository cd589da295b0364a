"""How many of the runs each of several schedulers takes: about as many as the others (ADR 0013).

Runs are claimed whole. Whoever is first could claim all that wait, and leave the others idle; so each claims up to its
fair share, and one that holds more, since another has joined, lets go of runs of which nothing runs. A scheduler that
leaves runs lying, stuck or about to end, has no share until it claims again: nobody waits for it twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, func, select, update

from runtime.core.clock import SECOND
from runtime.db.schema import dag_run, run_is_open
from runtime.db.transitions import GuardRefusedError
from runtime.scheduler.leases import Identity
from runtime.scheduler.loading import count_claimable
from runtime.scheduler.runs import RunModel

PATIENCE = 2.0
"""Seconds that another scheduler is given to claim its share: two looks of one that has nothing else to do."""
AMNESTY = 60.0
"""Seconds after which another one that had no share is offered one again."""

_HELD = (
    select(dag_run.c.lease_owner, func.count())
    .where(run_is_open, dag_run.c.lease_owner.is_not(None))
    .group_by(dag_run.c.lease_owner)
)


def fair_room(mine: int, others: Collection[int], waiting: int) -> int:
    """How many of the ``waiting`` runs are this scheduler's to claim; negative: how many of its own are others'."""
    total = mine + sum(others) + waiting
    share = -(-total // (1 + len(others)))
    return min(share - mine, waiting)


class Shares:
    """What this scheduler knows of the others. Alone, it claims whatever it can, and asks the database nothing."""

    def __init__(self) -> None:
        self._others: frozenset[str] = frozenset()
        self._counts: dict[str, int] = {}
        self._waited_since: dict[str, int] = {}
        """By scheduler: since when runs have waited that it did not claim."""
        self.surplus = 0
        """Of the runs held, how many are others' by the last look."""

    def meet(self, others: Collection[str]) -> None:
        """Say which other schedulers are alive."""
        self._others = frozenset(others)
        if not others:
            self.surplus = 0
            self._counts, self._waited_since = {}, {}

    @property
    def are_shared(self) -> bool:
        """Whether there is any other scheduler."""
        return bool(self._others)

    def room(self, connection: Connection, me: Identity, *, most: int, besides: Collection[int], at: int) -> int:
        """How many runs to claim now, at most ``most``; ``besides``: those that must be left alone."""
        if not self._others:
            return most
        held: dict[str, int] = {row[0]: row[1] for row in connection.execute(_HELD)}
        waiting = count_claimable(connection, most * (1 + len(self._others)), besides=besides)
        return min(most, self.judge(held.pop(me.id, 0), held, waiting, at))

    def judge(self, mine: int, held: Mapping[str, int], waiting: int, at: int) -> int:
        """The same as :meth:`room` from what was read, without its bound.

        :param held: runs of the other schedulers, by id; no entry is 0.
        """
        counts = {identifier: held.get(identifier, 0) for identifier in self._others}
        for identifier, count in counts.items():
            self._watch(identifier, count, waiting, at)
        self._counts = counts
        patient = at - round(PATIENCE * SECOND)
        willing = [count for name, count in counts.items() if self._waited_since.get(name, at) > patient]
        room = fair_room(mine, willing, waiting)
        self.surplus = max(0, -room)
        return max(0, room)

    def _watch(self, identifier: str, count: int, waiting: int, at: int) -> None:
        """Start, or stop, counting how long runs have been left to a scheduler that does not claim them."""
        before = self._counts.get(identifier, count)
        if count > before:
            self._waited_since.pop(identifier, None)
        elif waiting:
            self._waited_since.setdefault(identifier, at)
        elif not PATIENCE * SECOND <= at - self._waited_since.get(identifier, at) < AMNESTY * SECOND:
            # What waited was claimed in time, by whomever. One that has been found unwilling stays so for a while:
            # where nothing waits it could not show that it is well again.
            self._waited_since.pop(identifier, None)


def let_go(connection: Connection, me: Identity, runs: Collection[RunModel]) -> None:
    """Give up the leases of ``runs``. Raises :class:`GuardRefusedError` where one is not ours."""
    for run in runs:
        changed = connection.execute(
            update(dag_run)
            .where(dag_run.c.id == run.id, dag_run.c.lease_owner == me.id, dag_run.c.lease_epoch == run.epoch)
            .values(lease_owner=None)
        ).rowcount
        if changed != 1:
            raise GuardRefusedError(f"run {run.run_id} is no longer this scheduler's to let go of")
