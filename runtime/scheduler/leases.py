"""Which scheduler may decide for which run.

A run names its owner and an epoch that grows with each claim. The expiry stands once, in the owner's ``scheduler`` row
(ADR 0002), and is judged by the database's clock. Whoever finds it expired *buries* that scheduler: marks it ended and
takes its runs away, in one transaction that locks the row. The owner locks its row, too, in every transaction; so
either it was buried before, and stops, or its changes are committed before it can be buried.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from runtime.core.clock import SECOND, now
from runtime.core.ids import uuid7
from runtime.db.engine import database_clock
from runtime.db.schema import dag_run, scheduler
from runtime.scheduler.processes import boot_id, start_time

_HOLD = select(scheduler.c.ended_at).where(scheduler.c.id == bindparam("b_id")).with_for_update(key_share=True)


class LeaseLostError(Exception):
    """This scheduler was declared dead: it must change nothing any more."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One life of one scheduler process."""

    id: str = field(default_factory=uuid7)
    hostname: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    pid_started: int = field(default_factory=lambda: start_time(os.getpid()) or 0)
    boot_id: str = field(default_factory=boot_id)


@dataclass(frozen=True, slots=True)
class Others:
    """Ids of the other schedulers: those that live, their lease not expired, and those that were buried just now."""

    live: list[str]
    dead: list[str] = field(default_factory=list)


def register(connection: Connection, me: Identity, lease_seconds: float, declared: str | None = None) -> None:
    """Begin this scheduler's life. ``declared``: what it runs with, as JSON (:func:`runtime.config.parity.declare`)."""
    at = database_clock(connection)
    connection.execute(
        insert(scheduler).values(
            id=me.id,
            hostname=me.hostname,
            pid=me.pid,
            pid_started=me.pid_started,
            boot_id=me.boot_id,
            started_at=at,
            heartbeat_at=at,
            lease_expires_at=at + round(lease_seconds * SECOND),
            declared=declared,
            clock_offset=now() - at,
        )
    )


def hold(connection: Connection, me: Identity) -> None:
    """Lock this scheduler's row for the transaction. Raises :class:`LeaseLostError` when it was buried."""
    row = connection.execute(_HOLD, {"b_id": me.id}).first()
    if row is None or row.ended_at is not None:
        raise LeaseLostError(f"scheduler {me.id} was declared dead by another one")


def renew(connection: Connection, me: Identity, lease_seconds: float, metrics: str | None = None) -> None:
    """Stay alive for another ``lease_seconds``; called by the loop only, so that a stuck loop lets go of its runs.

    One that is late but was not buried may go on: nobody has taken anything from it. ``metrics``: its figures as JSON.
    """
    at = database_clock(connection)
    connection.execute(
        update(scheduler)
        .where(scheduler.c.id == me.id, scheduler.c.ended_at.is_(None))
        .values(
            heartbeat_at=at,
            lease_expires_at=at + round(lease_seconds * SECOND),
            metrics=metrics,
            clock_offset=now() - at,
        )
    )


def end(connection: Connection, identifier: str) -> None:
    """Mark a scheduler ended and take its runs away from it. Idempotent."""
    at = database_clock(connection)
    connection.execute(
        update(scheduler).where(scheduler.c.id == identifier, scheduler.c.ended_at.is_(None)).values(ended_at=at)
    )
    connection.execute(update(dag_run).where(dag_run.c.lease_owner == identifier).values(lease_owner=None))


def bury_dead(connection: Connection, me: Identity) -> Others:
    """End the schedulers that are dead.

    One of this host is dead when its process is; one of another host, when its lease has expired. Those that seem to be
    are locked before they are judged for good; nobody waits for us, for the rows of the living are only read. One
    whose transaction is still open keeps its row locked, and is left for the next time.
    """
    at = database_clock(connection)
    others = select(scheduler).where(scheduler.c.ended_at.is_(None), scheduler.c.id != me.id).order_by(scheduler.c.id)
    rows = connection.execute(others).all()
    live = [row.id for row in rows if row.lease_expires_at > at and not _is_dead(row, me, at)]
    suspects = [row.id for row in rows if _is_dead(row, me, at)]
    if not suspects:
        return Others(live)
    lock = others.where(scheduler.c.id.in_(suspects)).with_for_update(skip_locked=True, key_share=True)
    dead = [row.id for row in connection.execute(lock) if _is_dead(row, me, at)]
    for identifier in dead:
        end(connection, identifier)
    return Others(live, dead)


def _is_dead(row: Row[Any], me: Identity, at: int) -> bool:
    if row.hostname == me.hostname and row.boot_id == me.boot_id:
        # A stopped process of this host is alive: its children may run on, and it will notice when it wakes up.
        return bool(start_time(row.pid) != row.pid_started or row.lease_expires_at <= at - 60 * SECOND)
    return bool(row.lease_expires_at <= at)
