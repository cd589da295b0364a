"""``hybrid executors …``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.output import emit
from runtime.config import Settings
from runtime.config.executors import load_registry
from runtime.core import clock
from runtime.core.errors import DatabaseError

COLUMNS = ("name", "class", "is_default", "parallelism", "open_slots", "queued", "running", "health")
HEALTH = ("unavailable", "degraded", "paused", "draining", "healthy")
"""Worst first: several schedulers may see one executor differently, and the worst is what matters."""


def _list(args: Namespace) -> int:
    settings = load_settings()
    registry = load_registry(settings)
    for warning in registry.warnings:
        print(f"hybrid: warning: {warning}", file=sys.stderr)
    configured = [
        {
            "name": entry.name.name,
            "class": entry.name.class_name,
            "is_default": entry is registry.default,
            "parallelism": entry.parallelism,
        }
        for entry in registry
    ]
    live = live_figures(read_statuses(settings))
    nothing = {"open_slots": None, "queued": None, "running": None, "health": None}
    rows = [{**entry, **live.get(str(entry["name"]), nothing)} for entry in configured]
    for row in rows:
        if row["parallelism"] == 0:
            row["open_slots"] = None  # unlimited
    emit(rows, args.output, COLUMNS)
    return 0


def live_figures(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Executor → ``open_slots, queued, running`` summed over schedulers, and the worst ``health``."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        total = found.setdefault(row["name"], {"open_slots": 0, "queued": 0, "running": 0, "health": "healthy"})
        for key in ("open_slots", "queued", "running"):
            total[key] += row[key]
        total["health"] = min(total["health"], row["health"], key=_badness)
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


VERBS = {"list": Verb("list the configured executors, with live figures where a scheduler runs", _list, add_output)}
