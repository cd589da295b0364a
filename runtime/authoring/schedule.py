"""From ``schedule=``, dates and time zone as users write them to data."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo

from runtime.authoring.arguments import did_you_mean
from runtime.authoring.exceptions import ArgumentError
from runtime.authoring.timetables import Timetable, registered_names, registered_timetable
from runtime.core.clock import micros
from runtime.core.ids import is_id
from runtime.core.specs import TimetableSpec
from runtime.core.timetables import PRESETS
from runtime.core.zones import zone, zone_name

_ALONE = {"@once": "once", "@continuous": "continuous"}


def timetable_spec(where: str, schedule: object, timezone: str) -> tuple[TimetableSpec, Timetable | None]:
    """``schedule`` (cron expression, preset, timedelta, :class:`Timetable`, name of a registered one, or ``None``) as
    data, and the object where that is needed to tell the runs; its meaning is checked with the DAG.
    """
    if isinstance(schedule, str) and is_id(schedule.strip()):
        schedule = _registered(where, schedule.strip())
    if isinstance(schedule, Timetable):
        spec = schedule.spec(where, timezone)
        return spec, schedule if spec.kind == "custom" else None
    return _simple(where, schedule, timezone), None


def cron_expression(where: str, text: str) -> str:
    """The five fields that a cron expression or a preset means. Raises :class:`ArgumentError`."""
    if text.startswith("@") and text not in PRESETS:
        hint = did_you_mean(text, [*PRESETS, *_ALONE]) or f"; presets are {', '.join(PRESETS)}"
        raise ArgumentError(f"{where}: unknown schedule preset {text!r}{hint}")
    return PRESETS.get(text, text)


def _registered(where: str, name: str) -> Timetable:
    found = registered_timetable(where, name)
    if found is None:
        hint = (
            did_you_mean(name, [*registered_names(), *PRESETS, *_ALONE])
            or "; import the module that registers it, or write a cron expression"
        )
        raise ArgumentError(f"{where}: no timetable is registered as {name!r}{hint}")
    return found


def _simple(where: str, schedule: object, timezone: str) -> TimetableSpec:
    if schedule is None:
        return TimetableSpec(timezone=timezone)
    if isinstance(schedule, timedelta):
        return TimetableSpec(
            kind="interval", seconds=schedule.total_seconds(), timezone=timezone, summary=str(schedule)
        )
    if not isinstance(schedule, str):
        raise ArgumentError(
            f"{where}: schedule must be a cron expression, a preset, a timedelta, a timetable or None, not {schedule!r}"
        )
    text = schedule.strip()
    if text in _ALONE:
        return TimetableSpec(kind=_ALONE[text], timezone=timezone, summary=text)
    return TimetableSpec(kind="cron", expression=cron_expression(where, text), timezone=timezone, summary=text)


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
