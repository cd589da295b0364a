"""The processes beside the schedulers, each with a row that says since when it lives and when it was last heard of."""

from __future__ import annotations

import os
import socket

from sqlalchemy import Connection, delete, func, insert, select, update

from runtime.config import parity
from runtime.core.clock import SECOND, now
from runtime.core.ids import uuid7
from runtime.db.schema import component

API_SERVER = parity.API_SERVER
DAG_PROCESSOR = parity.DAG_PROCESSOR
BEAT_SECONDS = 2.0
"""Between two heartbeats of a component."""
SILENT_SECONDS = 6.0
"""A component that was not heard of for so long is taken for dead."""
_FORGET_SECONDS = 86_400.0


def register(connection: Connection, kind: str, at: int, declared: str | None = None) -> str:
    """Begin a component's life in this process; return its id. Rows of long dead ones go.

    :param declared: what it runs with, as JSON: option → value.
    """
    connection.execute(delete(component).where(component.c.heartbeat_at < at - round(_FORGET_SECONDS * SECOND)))
    identifier = uuid7()
    connection.execute(
        insert(component).values(
            id=identifier,
            kind=kind,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            started_at=at,
            heartbeat_at=at,
            declared=declared,
            clock_offset=now() - at,
        )
    )
    return identifier


def beat(connection: Connection, identifier: str, at: int, metrics: str | None = None) -> None:
    """It is alive at ``at``; ``metrics``: its figures as JSON."""
    values = {"heartbeat_at": at, "metrics": metrics, "ended_at": None, "clock_offset": now() - at}
    connection.execute(update(component).where(component.c.id == identifier).values(**values))


def end(connection: Connection, identifier: str, at: int) -> None:
    connection.execute(update(component).where(component.c.id == identifier).values(ended_at=at))


def last_heartbeat(connection: Connection, kind: str) -> int | None:
    """When any component of this kind that has not ended was last heard of, in microseconds."""
    query = select(func.max(component.c.heartbeat_at)).where(component.c.kind == kind, component.c.ended_at.is_(None))
    found: int | None = connection.execute(query).scalar_one()
    return found
