"""How the executors are, as the live schedulers last wrote it."""

from __future__ import annotations

from typing import Any

from runtime.config import Settings
from runtime.core import clock
from runtime.core.errors import DatabaseError


def read_figures(settings: Settings) -> dict[str, dict[str, Any]]:
    """By executor; empty where there is no database to ask: the list works without it."""
    from runtime.db.engine import open_database
    from runtime.db.queries import executor_figures

    try:
        database = open_database(settings)
    except DatabaseError:
        return {}
    with database.read() as connection:
        since = clock.now() - int(settings.scheduler.scheduler_health_check_threshold * clock.SECOND)
        return executor_figures(connection, since=since)
