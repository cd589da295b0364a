"""How the executors are, as the live schedulers last wrote it."""

from __future__ import annotations

from typing import Any

from runtime.config import Settings
from runtime.core import clock
from runtime.core.errors import DatabaseError

HEALTH = ("unavailable", "degraded", "paused", "draining", "healthy")
"""Worst first: several schedulers may see one executor differently, and the worst is what matters."""


def live_figures(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Executor → ``open_slots, queued, running`` summed over schedulers, the worst ``health`` and its ``reason``."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        total = found.setdefault(
            row["name"], {"open_slots": 0, "queued": 0, "running": 0, "health": row["health"], "reason": row["reason"]}
        )
        for key in ("open_slots", "queued", "running"):
            total[key] += row[key]
        if _badness(row["health"]) < _badness(total["health"]):
            total["health"], total["reason"] = row["health"], row["reason"]
    return found


def _badness(health: str) -> int:
    return HEALTH.index(health) if health in HEALTH else -1


def read_statuses(settings: Settings) -> list[dict[str, Any]]:
    """Rows of live schedulers; none where there is no database to ask: the list works without it."""
    from runtime.db.engine import open_database
    from runtime.db.queries import executor_statuses

    try:
        database = open_database(settings)
    except DatabaseError:
        return []
    with database.read() as connection:
        since = clock.now() - int(settings.scheduler.scheduler_health_check_threshold * clock.SECOND)
        return executor_statuses(connection, since=since)
