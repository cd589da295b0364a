"""Lists of records, as people or programs want them. JSON and YAML keep types; table and plain are for the eye."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from runtime.core.clock import iso

Record = dict[str, Any]

_TIMES = ("logical_date", "run_after", "start_date", "end_date", "scheduled_at", "queued_at", "started_at")
_COLOURS = {
    "success": "green",
    "healthy": "green",
    "running": "bright_green",
    "failed": "red",
    "unavailable": "red",
    "upstream_failed": "dark_orange",
    "up_for_retry": "yellow",
    "degraded": "yellow",
    "skipped": "magenta",
    "queued": "bright_black",
    "scheduled": "bright_black",
}
_YAML_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Texts that some YAML reader takes for something else."""
WIDTH = 200
"""Columns of a table off a terminal: nobody is there whose window it must fit."""


def with_iso_times(record: Record) -> Record:
    """A copy whose moments (microseconds) are ISO-8601 texts in UTC."""
    return {key: iso(value) if key in _TIMES else value for key, value in record.items()}


def emit(records: Sequence[Record], output: str, columns: Sequence[str]) -> None:
    """Print ``records`` as a list.

    :param output: ``json``, ``yaml``: all keys; ``table``, ``plain``: ``columns`` only.
    """
    if output in ("json", "yaml"):
        _print(_json(list(records)) if output == "json" else to_yaml(list(records)))
    elif output == "plain":
        _print(_plain(records, columns))
    elif records:
        _table(records, columns)
    else:
        _print("No data found")


def emit_one(record: Record, output: str) -> None:
    """Print one record as an object; table and plain show a line per key."""
    if output in ("json", "yaml"):
        _print(_json(record) if output == "json" else to_yaml(record))
        return
    width = max(map(len, record), default=0)
    _print("\n".join(f"{key:<{width}}  {cell(value)}".rstrip() for key, value in record.items()))


def cell(value: Any) -> str:
    """A value in a table: nothing for ``None``, lists joined by commas."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def to_yaml(value: Any, indent: str = "") -> str:
    """YAML 1.2 of JSON-like data. Texts are quoted wherever plain ones could mean something else."""
    if isinstance(value, dict) and value:
        return "\n".join(f"{indent}{_scalar(key)}:{_nested(item, indent)}" for key, item in value.items())
    if isinstance(value, list | tuple) and value:
        return "\n".join(f"{indent}- {to_yaml(item, indent + '  ').lstrip(' ')}" for item in value)
    return f"{indent}{_scalar(value)}"


def stderr_is_terminal() -> bool:
    return bool(sys.stderr) and sys.stderr.isatty()


def colours(stream: Any) -> bool:
    """Whether ``stream`` may be coloured: a terminal, and neither ``NO_COLOR`` nor ``TERM=dumb``."""
    return bool(stream) and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _nested(item: Any, indent: str) -> str:
    if isinstance(item, dict | list | tuple) and item:
        return "\n" + to_yaml(item, indent + "  ")
    return " " + _scalar(item)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = value.replace("_", "").isalpha() and value.lower() not in _YAML_WORDS
        return value if plain and value.isascii() else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _plain(records: Sequence[Record], columns: Sequence[str]) -> str:
    rows = [list(columns), *([cell(record[column]) for column in columns] for record in records)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def _table(records: Sequence[Record], columns: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = bool(sys.stdout) and sys.stdout.isatty()
    console = Console(no_color=not colours(sys.stdout), width=None if terminal else WIDTH, highlight=False)
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for record in records:
        cells = [cell(record[column]) for column in columns]
        table.add_row(*(Text(text, style=_COLOURS.get(text, "")) for text in cells))
    # Through print: rich answers a closed pipe with an exit of its own.
    with console.capture() as capture:
        console.print(table)
    _print(capture.get().rstrip("\n"))


def _print(text: str) -> None:
    print(text)
