"""What the live processes say they run with, and what tasks ask of executors: for ``hybrid executors check``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from executors.findings import Component
from runtime.config import Settings
from runtime.config.parity import SCHEDULER
from runtime.core.clock import SECOND
from runtime.core.specs import DagSpec, decode_dag
from runtime.core.states import AttemptState
from runtime.db.components import SILENT_SECONDS
from runtime.db.engine import database_clock, open_database, unusable
from runtime.db.schema import component, dag, dag_version, scheduler, task_attempt, task_instance

_declared = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class Look:
    """A deployment as its database shows it at one moment."""

    at: int
    """By the database's clock, in microseconds."""
    components: list[Component]
    dags: list[DagSpec]
    waiting: dict[str, dict[str, int]]
    files: list[tuple[str, str]]


def look(settings: Settings) -> Look:
    """Raises :class:`DatabaseError` where the database cannot be opened or read."""
    database = open_database(settings, "hybrid executors check")
    seconds = settings.scheduler.scheduler_health_check_threshold
    try:
        with database.read() as connection:
            at = database_clock(connection)
            components = live_components(connection, at, scheduler_seconds=seconds)
            return Look(at, components, active_dags(connection), waiting_by_queue(connection), dag_files(connection))
    except DBAPIError as error:
        raise unusable(database, "read", error) from error
    finally:
        database.close()


def live_components(connection: Connection, at: int, *, scheduler_seconds: float) -> list[Component]:
    """Schedulers, then the others, oldest first; their clocks are compared with the database's.

    :param at: now by the database's clock, in microseconds.
    :param scheduler_seconds: ``[scheduler] scheduler_health_check_threshold``; one that was silent for longer is left
        out, and so is another component after :data:`~runtime.db.components.SILENT_SECONDS`.
    """
    return [
        *_live(connection, at - round(scheduler_seconds * SECOND)),
        *_live_beside(connection, at - round(SILENT_SECONDS * SECOND)),
    ]


def _live(connection: Connection, since: int) -> Iterator[Component]:
    columns = scheduler.c
    query = (
        select(columns.hostname, columns.pid, columns.declared, columns.clock_offset)
        .where(columns.ended_at.is_(None), columns.heartbeat_at >= since)
        .order_by(columns.started_at, columns.id)
    )
    for row in connection.execute(query):
        yield _component(SCHEDULER, *row)


def _live_beside(connection: Connection, since: int) -> Iterator[Component]:
    columns = component.c
    query = (
        select(columns.kind, columns.hostname, columns.pid, columns.declared, columns.clock_offset)
        .where(columns.ended_at.is_(None), columns.heartbeat_at >= since)
        .order_by(columns.started_at, columns.id)
    )
    for row in connection.execute(query):
        yield _component(*row)


def _component(kind: str, hostname: str, pid: int, declared: str | None, offset: int | None) -> Component:
    seconds = None if offset is None else offset / SECOND
    return Component(kind, f"{hostname}:{pid}", _declared.decode(declared or "{}"), seconds)


def waiting_by_queue(connection: Connection) -> dict[str, dict[str, int]]:
    """Executor → queue → attempts that were handed over to it and have not begun."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    query = (
        select(task_attempt.c.executor, task_instance.c.queue, func.count())
        .join(task_instance, task_instance.c.attempt_id == task_attempt.c.id)
        .where(task_attempt.c.state == AttemptState.QUEUED)
        .group_by(task_attempt.c.executor, task_instance.c.queue)
    )
    for executor, queue, number in connection.execute(query):
        found[executor][queue] = number
    return found


def active_dags(connection: Connection) -> list[DagSpec]:
    """The newest version of each active DAG that is not paused."""
    query = (
        select(dag_version.c.spec)
        .join(dag, dag.c.version_id == dag_version.c.id)
        .where(dag.c.is_active, dag.c.is_paused.is_(False))
        .order_by(dag.c.dag_id)
    )
    return [decode_dag(spec) for spec in connection.execute(query).scalars()]


def dag_files(connection: Connection) -> list[tuple[str, str]]:
    """Path and hash of the file of each active DAG, as the DAG processor last read it."""
    query = (
        select(dag_version.c.rel_path, dag_version.c.file_hash)
        .join(dag, dag.c.version_id == dag_version.c.id)
        .where(dag.c.is_active)
        .distinct()
        .order_by(dag_version.c.rel_path)
    )
    return [(row.rel_path, row.file_hash) for row in connection.execute(query)]
