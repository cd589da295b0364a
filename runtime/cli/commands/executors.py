"""``hybrid executors …``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from executors.registry import BrokenExecutor, ConfiguredExecutor
from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.commands.executor_orders import ORDERS
from runtime.cli.output import emit
from runtime.config import Settings
from runtime.config.executors import survey_executors
from runtime.core import clock
from runtime.core.errors import DatabaseError

COLUMNS = ("name", "class", "is_default", "parallelism", "open_slots", "queued", "running", "health")
HEALTH = ("unavailable", "degraded", "paused", "draining", "healthy")
"""Worst first: several schedulers may see one executor differently, and the worst is what matters."""
ATTRIBUTES = (
    "is_local",
    "serve_logs",
    "is_production",
    "is_single_threaded",
    "change_sensor_mode_to_reschedule",
    "supports_pickling",
    "supports_sentry",
)
NOTHING = {"open_slots": None, "queued": None, "running": None, "health": None, "reason": None}


def _list(args: Namespace) -> int:
    settings = load_settings()
    entries = survey_executors(settings)
    live = live_figures(read_statuses(settings))
    rows = [_row(entry, live.get(entry.name.name, NOTHING)) for entry in entries]
    warnings = [entry.reason if isinstance(entry, BrokenExecutor) else entry.warning for entry in entries]
    for warning in filter(None, warnings):
        print(f"hybrid: warning: {warning}", file=sys.stderr)
    # A reason is too long for a column, and too important to be seen in JSON only.
    for row in rows:
        if row["reason"] and row["reason"] not in warnings:
            print(f"hybrid: executor {row['name']} is {row['health']}: {row['reason']}", file=sys.stderr)
    emit(rows, args.output, COLUMNS)
    return 0


def _row(entry: ConfiguredExecutor | BrokenExecutor, live: dict[str, Any]) -> dict[str, Any]:
    shown = {"name": entry.name.name, "class": entry.name.class_name, "is_default": entry.name.position == 1}
    if isinstance(entry, BrokenExecutor):
        figures = {**live, "health": "unavailable", "reason": entry.reason}
        return {**shown, "parallelism": None, **figures, **dict.fromkeys(ATTRIBUTES)}
    figures = live if entry.parallelism else {**live, "open_slots": None}  # unlimited
    return {
        **shown,
        "parallelism": entry.parallelism,
        **figures,
        **{name: bool(getattr(entry.cls, name)) for name in ATTRIBUTES},
    }


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


VERBS = {
    "list": Verb("list the configured executors, with live figures where a scheduler runs", _list, add_output),
    **ORDERS,
}
