"""Arguments that are more than a word: moments and JSON."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from runtime.cli.command import UsageError
from runtime.core import clock

LONGEST_CONF = 1_000_000
"""Characters: every attempt of the run is sent all of it."""
_SHOWN = 200


def parse_moment(name: str, text: str | None, zone: str) -> int | None:
    """ISO-8601 to microseconds; one without a zone is taken in ``zone``. Raises :class:`UsageError`."""
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
        value = clock.micros(given if given.tzinfo else given.replace(tzinfo=ZoneInfo(zone)))
        clock.moment(value)  # The first and last hours of the calendar exist in some zones and not in UTC.
        return value
    except (ValueError, OverflowError):
        raise UsageError(f"{name} {text!r} is no ISO-8601 date and time such as 2026-01-31T06:00+00:00") from None


def parse_range(start: str | None, end: str | None, zone: str) -> tuple[int | None, int | None]:
    """``--start-date`` and ``--end-date``, both inclusive. Raises :class:`UsageError`, also where the end is first."""
    first, last = parse_moment("--start-date", start, zone), parse_moment("--end-date", end, zone)
    if first is not None and last is not None and last < first:
        raise UsageError(f"--end-date {end} is before --start-date {start}")
    return first, last


def parse_conf(text: str | None, name: str = "--conf") -> dict[str, Any]:
    """A JSON object; ``None`` is the empty one. Raises :class:`UsageError` that says where it is wrong."""
    if text is None:
        return {}
    if len(text) > LONGEST_CONF:
        raise UsageError(
            f"{name} has {len(text):,} characters; at most {LONGEST_CONF:,} are kept with a run: "
            "put the data where the tasks can read it, and its place here"
        )
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
    try:
        conf = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{name} is no JSON: {error.msg} at character {error.pos + 1} of {shown}") from None
    except RecursionError:
        raise UsageError(f"{name} is nested too deep") from None
    if not isinstance(conf, dict):
        raise UsageError(f"{name} must be a JSON object such as '{{\"day\": 1}}', not {shown}")
    return conf
