"""Why the task instances of a run wait, as commands show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from executors.names import parse_executors
from runtime.config import Settings
from runtime.config.routing import make_router
from runtime.core import clock
from runtime.core.suspicion import suspicion

if TYPE_CHECKING:
    from runtime.db.waiting import Waiting

UPSTREAM = "upstream: "
"""How the commonest reason begins: tables are easier to read without it."""


def reasons_of_run(settings: Settings, connection: Any, dag_id: str, run_id: str) -> list[Waiting]:
    """Every task instance of the run, in order of task and index. Raises :class:`NotFoundError`, ``ConfigError``."""
    from runtime.db.engine import database_clock
    from runtime.db.waiting import waiting

    at = database_clock(connection)
    return waiting(
        connection,
        dag_id,
        run_id,
        router=make_router(settings, parse_executors(settings.core.executor)),
        doubt=lambda row: doubt_of(settings, row.heartbeat_at, at, row.hostname, row.pid),
        at=at,
        since=clock.now() - round(settings.scheduler.scheduler_health_check_threshold * clock.SECOND),
    )


def doubt_of(
    settings: Settings, heartbeat_at: int | None, at: int, hostname: str | None, pid: int | None
) -> str | None:
    """What is suspicious of a running attempt."""
    section = settings.scheduler
    return suspicion(
        heartbeat_at,
        at,
        every=section.task_heartbeat_sec,
        timeout=section.task_instance_heartbeat_timeout,
        hostname=hostname,
        pid=pid,
    )
