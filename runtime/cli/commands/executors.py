"""``hybrid executors …``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from executors.registry import BrokenExecutor, ConfiguredExecutor
from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.commands.executor_check import CHECK
from runtime.cli.commands.executor_explain import EXPLAIN
from runtime.cli.commands.executor_figures import read_figures
from runtime.cli.commands.executor_orders import ORDERS
from runtime.cli.output import emit
from runtime.config.executors import survey_executors

COLUMNS = ("name", "class", "is_default", "parallelism", "open_slots", "queued", "running", "health")
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
    live = read_figures(settings)
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


VERBS = {
    "list": Verb("list the configured executors, with live figures where a scheduler runs", _list, add_output),
    **CHECK,
    **EXPLAIN,
    **ORDERS,
}
