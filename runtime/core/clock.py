"""Time as the runtime keeps it: whole microseconds since 1970 in UTC.

One integer has no zone to forget, sorts and subtracts exactly, means the same in SQLite and PostgreSQL, and costs
nothing to store; ``datetime`` appears only where people and DAG authors meet it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def now() -> int:
    """The wall clock, in microseconds."""
    return time.time_ns() // 1000


def micros(moment: datetime) -> int:
    """Microseconds of an aware ``datetime``. Raises ``ValueError`` on a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(value: int) -> datetime:
    """The aware UTC ``datetime`` of a number of microseconds."""
    return _EPOCH + timedelta(microseconds=value)


def later(value: int, seconds: float) -> int:
    """The moment ``seconds`` after ``value``; never one that a ``datetime`` or a database column cannot hold."""
    return min(_LAST, value + round(min(max(seconds, 0.0), 1e12) * SECOND))


def iso(value: int | None) -> str | None:
    """ISO-8601 in UTC with microseconds, as the CLI and the API print it."""
    return None if value is None else moment(value).isoformat(timespec="microseconds")
