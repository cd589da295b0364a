"""Whether a silent attempt may be called silent: only while what it speaks through has been there for long enough."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from runtime.core.clock import SECOND
from runtime.core.clock import now as clock_now
from runtime.core.states import AttemptState
from runtime.db.components import API_SERVER, SILENT_SECONDS, last_heartbeat
from runtime.db.engine import database_clock
from runtime.db.schema import task_attempt
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.step import Step
from runtime.scheduler.timeouts import check_heartbeats

_MOST_STARTS = 500
"""Attempts asked about at once."""


@dataclass(slots=True)
class ApiWatch:
    """Since when the task API has been alive without a break, as this scheduler sees it.

    It looks for heartbeats that change, not for young ones: the clocks of two hosts need not agree.
    """

    alive_since: int | None = None
    """In microseconds by this host's clock; ``None`` while no API server is to be heard."""
    _heard: int | None = None
    _heard_at: int = 0
    _looked_at: int = 0

    def look(self, connection: Connection, at: int) -> None:
        """Read the newest heartbeat of any API server."""
        newest = last_heartbeat(connection, API_SERVER)
        pause = at - self._looked_at
        self._looked_at = at
        if newest is not None and newest != self._heard:
            self._heard, self._heard_at = newest, at
        if newest is None or at - self._heard_at > SILENT_SECONDS * SECOND:
            self.alive_since = None
        elif self.alive_since is None or pause > SILENT_SECONDS * SECOND:
            self.alive_since = at


class Silence:
    """Notices who has begun to speak, and gives attempts up whose heartbeats have stopped.

    :param at: since when this scheduler listens, in microseconds.
    :param by_database_clock: heartbeats are dated by the database's clock, steps by this host's.
    """

    def __init__(self, at: int, *, by_database_clock: bool) -> None:
        self._listening_since = at
        self._by_database_clock = by_database_clock
        self._api = ApiWatch()
        self._known: set[str] = set()
        """Attempts whose executors know that they have started."""

    def forgive(self, at: int) -> None:
        """Until ``at`` nobody could be heard: all have one full timeout from now."""
        self._listening_since = at

    def check(self, step: Step, policy: LossPolicy, timeout: float) -> None:
        """Lose the attempts that have been silent for ``timeout`` seconds, if they could have been heard."""
        self._api.look(step.connection, step.at)
        self._note_starts(step, policy)
        oldest = step.at - round(timeout * SECOND)
        if self._listening_since > oldest:
            return
        skew = database_clock(step.connection) - clock_now() if self._by_database_clock else 0
        by_http = self._api.alive_since is not None and self._api.alive_since <= oldest
        check_heartbeats(step, policy, timeout, skew=skew, by_http=by_http)

    def _note_starts(self, step: Step, policy: LossPolicy) -> None:
        """A start leaves no inbox row (ADR 0005); executors whose hand-offs may get lost want to know of it, soon."""
        waiting = {
            identifier: handed
            for identifier, handed in step.memory.handed.items()
            if handed.executor not in policy.piped and identifier not in self._known
        }
        self._known &= step.memory.handed.keys()
        if not waiting:
            return
        query = select(task_attempt.c.id).where(
            task_attempt.c.id.in_(list(waiting)[:_MOST_STARTS]), task_attempt.c.state == AttemptState.RUNNING
        )
        found = step.connection.execute(query).scalars().all()
        step.started += [waiting[identifier] for identifier in found]
        self._known.update(found)
