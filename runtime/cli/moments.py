"""Arguments that are more than a word: moments and JSON."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from runtime.cli.command import UsageError
from runtime.core import clock


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


def parse_conf(text: str | None) -> dict[str, Any]:
    """A JSON object; ``None`` is the empty one. Raises :class:`UsageError` that says where it is wrong."""
    if text is None:
        return {}
    try:
        conf = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--conf is no JSON: {error.msg} at character {error.pos + 1} of {text!r}") from None
    if not isinstance(conf, dict):
        raise UsageError(f"--conf must be a JSON object such as '{{\"day\": 1}}', not {text!r}")
    return conf
