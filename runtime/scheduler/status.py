"""How this scheduler's executors are, written for everybody who asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, insert

from executors.context import Stats
from runtime.core.clock import SECOND
from runtime.db.schema import executor_status
from runtime.scheduler.health import LaneStatus


def gauge_lanes(stats: Stats, statuses: Iterable[LaneStatus]) -> None:
    """The figures that executors emit with their heartbeats, as they are now: the last heartbeat may be long ago."""
    for status in statuses:
        name = status.name.rpartition(".")[2]
        stats.gauge(f"executor.open_slots.{name}", status.open_slots)
        stats.gauge(f"executor.queued_slots.{name}", status.queued)
        stats.gauge(f"executor.queued_tasks.{name}", status.queued)
        stats.gauge(f"executor.running_tasks.{name}", status.running)


def write_status(
    connection: Connection,
    scheduler_id: str,
    statuses: Iterable[LaneStatus],
    *,
    default: str,
    followed: Mapping[str, int],
    at: int,
) -> None:
    """Replace this scheduler's rows.

    :param followed: executor → the id of the standing order that it is under; 0 for none.
    """
    connection.execute(delete(executor_status).where(executor_status.c.scheduler_id == scheduler_id))
    rows = [
        {
            "scheduler_id": scheduler_id,
            "name": status.name,
            "class_name": status.class_name,
            "is_default": status.name == default,
            "health": str(status.health),
            "reason": status.reason or None,
            "parallelism": status.parallelism,
            "open_slots": status.open_slots,
            "queued": status.queued,
            "running": status.running,
            "heartbeat_age": None if status.last_heartbeat is None else (at - status.last_heartbeat) / SECOND,
            "updated_at": at,
            "order_id": followed.get(status.name, 0),
        }
        for status in statuses
    ]
    if rows:
        connection.execute(insert(executor_status), rows)
