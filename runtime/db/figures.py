"""The figures that live processes have written with their heartbeats."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sqlalchemy import Connection, select

from runtime.core.clock import SECOND
from runtime.db.components import SILENT_SECONDS
from runtime.db.schema import component, scheduler
from runtime.metrics.collector import ProcessFigures


def live_figures(connection: Connection, at: int, *, scheduler_seconds: float) -> list[ProcessFigures]:
    """What :func:`runtime.metrics.exposition.render` takes, schedulers first, oldest first.

    :param at: now, in microseconds.
    :param scheduler_seconds: ``[scheduler] scheduler_health_check_threshold``; a scheduler that was silent for longer
        is left out, and so is a component after :data:`~runtime.db.components.SILENT_SECONDS`.
    """
    found = [*_schedulers(connection, at - round(scheduler_seconds * SECOND))]
    found += _components(connection, at - round(SILENT_SECONDS * SECOND))
    return [ProcessFigures({label: who}, msgspec.json.decode(text)) for label, who, text in found]


def _schedulers(connection: Connection, since: int) -> Iterator[tuple[str, str, str]]:
    columns = scheduler.c
    query = (
        select(columns.hostname, columns.pid, columns.metrics)
        .where(columns.ended_at.is_(None), columns.heartbeat_at >= since, columns.metrics.is_not(None))
        .order_by(columns.started_at, columns.id)
    )
    for row in connection.execute(query):
        yield "scheduler", f"{row.hostname}:{row.pid}", row.metrics


def _components(connection: Connection, since: int) -> Iterator[tuple[str, str, str]]:
    columns = component.c
    query = (
        select(columns.kind, columns.hostname, columns.pid, columns.metrics)
        .where(columns.ended_at.is_(None), columns.heartbeat_at >= since, columns.metrics.is_not(None))
        .order_by(columns.started_at, columns.id)
    )
    for row in connection.execute(query):
        yield "component", f"{row.kind} {row.hostname}:{row.pid}", row.metrics
