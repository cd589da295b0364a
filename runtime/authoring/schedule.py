"""From ``schedule=``, dates and time zone as users write them to data."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo

from runtime.authoring.arguments import did_you_mean
from runtime.authoring.exceptions import ArgumentError
from runtime.core.clock import micros
from runtime.core.specs import TimetableSpec
from runtime.core.timetables import PRESETS
from runtime.core.zones import zone, zone_name

_LATER = ("@once", "@continuous")


def timetable_spec(where: str, schedule: object, timezone: str) -> TimetableSpec:
    """``schedule`` (cron expression, preset, timedelta or ``None``) as data; its meaning is checked with the DAG."""
    if schedule is None:
        return TimetableSpec(timezone=timezone)
    if isinstance(schedule, timedelta):
        return TimetableSpec(
            kind="interval", seconds=schedule.total_seconds(), timezone=timezone, summary=str(schedule)
        )
    if not isinstance(schedule, str):
        raise ArgumentError(
            f"{where}: schedule must be a cron expression, a preset, a timedelta or None, not {schedule!r}"
        )
    text = schedule.strip()
    if text in _LATER:
        raise ArgumentError(f"{where}: schedule {text!r} is not supported yet; use schedule=None and trigger the DAG")
    if text.startswith("@") and text not in PRESETS:
        hint = did_you_mean(text, PRESETS) or f"; presets are {', '.join(PRESETS)}"
        raise ArgumentError(f"{where}: unknown schedule preset {text!r}{hint}")
    return TimetableSpec(kind="cron", expression=PRESETS.get(text, text), timezone=timezone, summary=text)


def timezone_of(where: str, given: object, start_date: object, default: str) -> str:
    """Name of the DAG's zone: ``timezone=``, else that of ``start_date``, else the default."""
    if isinstance(given, str):
        zone(given)
        return given
    if isinstance(given, tzinfo):
        return zone_name(given)
    if given is not None:
        raise ArgumentError(f"{where}: timezone must be a name such as 'Europe/Berlin', not {given!r}")
    if isinstance(start_date, datetime) and start_date.tzinfo is not None:
        return zone_name(start_date.tzinfo)
    return default


def date_micros(where: str, name: str, value: object, timezone: str) -> int | None:
    """A date of the DAG in microseconds; one without a zone is in ``timezone``."""
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001  its zone comes below
    if not isinstance(value, datetime):
        raise ArgumentError(f"{where}: {name} must be a datetime, not {value!r}")
    return micros(value if value.tzinfo is not None else value.replace(tzinfo=zone(timezone)))
