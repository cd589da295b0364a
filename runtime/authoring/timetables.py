"""Timetables as ``schedule=`` takes them, under Airflow's names, and the base of those that users write."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

from runtime.authoring import arguments as check
from runtime.authoring.exceptions import ArgumentError
from runtime.core.clock import micros
from runtime.core.ids import is_id
from runtime.core.specs import TimetableSpec
from runtime.core.zones import zone, zone_name

_NO_TIME = dt.timedelta()


@dataclass(frozen=True, slots=True)
class DataInterval:
    """What a run covers. Aware moments."""

    start: dt.datetime
    end: dt.datetime

    @classmethod
    def exact(cls, at: dt.datetime) -> Self:
        return cls(at, at)


@dataclass(frozen=True, slots=True)
class DagRunInfo:
    """A run to come, and when it may start."""

    run_after: dt.datetime
    data_interval: DataInterval

    @classmethod
    def exact(cls, at: dt.datetime) -> Self:
        return cls(at, DataInterval.exact(at))

    @classmethod
    def interval(cls, start: dt.datetime, end: dt.datetime) -> Self:
        return cls(end, DataInterval(start, end))

    @property
    def logical_date(self) -> dt.datetime:
        return self.data_interval.start


@dataclass(frozen=True, slots=True)
class TimeRestriction:
    """What bounds the runs of a DAG: its dates, and whether it catches up."""

    earliest: dt.datetime | None
    latest: dt.datetime | None
    catchup: bool


class Timetable:
    """Subclass it and override :meth:`next_dagrun_info`. Its code runs in children of the DAG processor only, which
    plan a few runs ahead; it must answer the same for the same arguments, whenever it is asked.
    """

    summary: str = ""
    """What people see as the schedule; by default the name it is registered under, else that of the class."""
    registered_name: ClassVar[str] = ""

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The run after the one that covers ``last_automated_data_interval``; ``None`` where there is none any more.

        Must be overridden, and must move forward: a later start each time.
        """
        raise NotImplementedError(f"{type(self).__name__} has no next_dagrun_info(...)")

    def serialize(self) -> dict[str, Any]:
        """What it was made with, as plain JSON, for people; a change of it plans the runs anew."""
        return {}

    def spec(self, where: str, timezone: str) -> TimetableSpec:
        """It as data. Raises :class:`ArgumentError` where ``serialize()`` gives no JSON."""
        kind = type(self)
        name = kind.registered_name or kind.__qualname__
        arguments = check.plain_json(f"{where}: {name}.serialize()", self.serialize())
        return TimetableSpec(
            kind="custom", name=name, arguments=arguments, timezone=timezone, summary=self.summary or name
        )


class CronDataIntervalTimetable(Timetable):
    """A run for each interval between two ticks of a cron expression, when it has ended: what a string means, too."""

    def __init__(self, cron: str, timezone: str | dt.tzinfo | None = None) -> None:
        self.cron, self.timezone = cron, timezone

    def spec(self, where: str, timezone: str) -> TimetableSpec:
        text = check.text(where, "cron", self.cron)
        zone_text = _zone(where, self.timezone, timezone)
        return TimetableSpec(kind="cron", expression=_expression(where, text), timezone=zone_text, summary=text)


class DeltaDataIntervalTimetable(Timetable):
    """A run for each interval of one length, when it has ended: what a timedelta means, too."""

    def __init__(self, delta: dt.timedelta) -> None:
        self.delta = delta

    def spec(self, where: str, timezone: str) -> TimetableSpec:
        seconds = _length(where, "delta", self.delta)
        return TimetableSpec(kind="interval", seconds=seconds, timezone=timezone, summary=str(self.delta))


class MultipleCronTriggerTimetable(Timetable):
    """A run at each tick of any of several cron expressions; one where several tick.

    :param timezone: of the expressions; by default the DAG's.
    :param interval: what a run covers before its tick; by default nothing.
    :param run_immediately: of a DAG without ``start_date``, what its first run is: the last tick (``True``), the next
        one (``False``), the last one if it is no older than a timedelta, or (``None``) than a tenth of the time between
        the two.
    """

    def __init__(
        self,
        *crons: str,
        timezone: str | dt.tzinfo | None = None,
        interval: dt.timedelta = _NO_TIME,
        run_immediately: bool | dt.timedelta | None = False,
    ) -> None:
        self.crons, self.timezone, self.interval, self.run_immediately = crons, timezone, interval, run_immediately

    def spec(self, where: str, timezone: str) -> TimetableSpec:
        if not self.crons:
            raise ArgumentError(f"{where}: {type(self).__name__} needs a cron expression")
        texts = [check.text(where, "cron", cron) for cron in self.crons]
        soon = self.run_immediately
        if not (soon is None or isinstance(soon, bool | dt.timedelta)):
            raise ArgumentError(f"{where}: run_immediately must be True, False, None or a timedelta, not {soon!r}")
        return TimetableSpec(
            kind="cron trigger",
            arguments={
                "crons": [_expression(where, text) for text in texts],
                "interval": _length(where, "interval", self.interval),
                "run_immediately": soon.total_seconds() if isinstance(soon, dt.timedelta) else soon,
            },
            timezone=_zone(where, self.timezone, timezone),
            summary=", ".join(texts),
        )


class CronTriggerTimetable(MultipleCronTriggerTimetable):
    """A run at each tick of a cron expression; see :class:`MultipleCronTriggerTimetable`."""

    def __init__(
        self,
        cron: str,
        *,
        timezone: str | dt.tzinfo | None = None,
        interval: dt.timedelta = _NO_TIME,
        run_immediately: bool | dt.timedelta | None = False,
    ) -> None:
        super().__init__(cron, timezone=timezone, interval=interval, run_immediately=run_immediately)


class DeltaTriggerTimetable(Timetable):
    """A run every ``delta``, counted from the DAG's ``start_date``.

    :param interval: what a run covers before it starts; by default nothing.
    """

    def __init__(self, delta: dt.timedelta, *, interval: dt.timedelta = _NO_TIME) -> None:
        self.delta, self.interval = delta, interval

    def spec(self, where: str, timezone: str) -> TimetableSpec:
        return TimetableSpec(
            kind="delta trigger",
            seconds=_length(where, "delta", self.delta),
            arguments={"interval": _length(where, "interval", self.interval)},
            timezone=timezone,
            summary=str(self.delta),
        )


class EventsTimetable(Timetable):
    """A run at each of the moments that are listed.

    :param event_dates: those without a zone are in the DAG's.
    :param restrict_to_events: whether a run by hand covers the last event, not the moment it is made at.
    :param presorted: taken for Airflow's sake; they are sorted anyway.
    :param description: what people see as the schedule; by default how many events there are.
    """

    def __init__(
        self,
        event_dates: Iterable[dt.datetime],
        restrict_to_events: bool = False,
        presorted: bool = False,
        description: str | None = None,
    ) -> None:
        self.event_dates, self.restrict_to_events, self.description = list(event_dates), restrict_to_events, description

    def spec(self, where: str, timezone: str) -> TimetableSpec:
        moments = {self._moment(where, value, timezone) for value in self.event_dates}
        return TimetableSpec(
            kind="events",
            arguments={"dates": sorted(moments), "restrict": bool(self.restrict_to_events)},
            timezone=timezone,
            summary=self.description or f"{len(moments)} events",
        )

    def _moment(self, where: str, value: object, timezone: str) -> int:
        if not isinstance(value, dt.datetime):
            raise ArgumentError(f"{where}: event_dates must be datetimes, not {value!r}")
        return micros(value if value.tzinfo is not None else value.replace(tzinfo=zone(timezone)))


AnyTimetable = TypeVar("AnyTimetable", bound=type[Timetable])
_registered: dict[str, type[Timetable]] = {}


def register_timetable(name: str) -> Callable[[AnyTimetable], AnyTimetable]:
    """Decorate a :class:`Timetable` that can be made without arguments, so that ``schedule="name"`` means it.

    Raises :class:`ArgumentError` for a name that a schedule could mean otherwise.
    """
    if not is_id(name) or name.startswith("@"):
        raise ArgumentError(f"register_timetable: name {name!r} is not allowed; use letters, digits, - . _")

    def register(kind: AnyTimetable) -> AnyTimetable:
        kind.registered_name = name
        _registered[name] = kind
        return kind

    return register


def registered_timetable(where: str, name: str) -> Timetable | None:
    """An instance of the one registered under ``name``, by a module that was imported or by an entry point of the group
    ``runtime.timetables``; ``None`` where there is none. Raises :class:`ArgumentError` where it cannot be made.
    """
    if name not in _registered:
        from importlib.metadata import entry_points

        for point in entry_points(group="runtime.timetables", name=name):
            register_timetable(name)(point.load())
    if name not in _registered:
        return None
    try:
        return _registered[name]()
    except TypeError as error:
        raise ArgumentError(f"{where}: timetable {name!r} cannot be made without arguments: {error}") from None


def registered_names() -> list[str]:
    """Names that were registered in this process."""
    return sorted(_registered)


def _expression(where: str, text: str) -> str:
    from runtime.authoring.schedule import cron_expression

    return cron_expression(where, text)


def _zone(where: str, given: object, default: str) -> str:
    if given is None:
        return default
    if isinstance(given, str):
        zone(given)
        return given
    if isinstance(given, dt.tzinfo):
        return zone_name(given)
    raise ArgumentError(f"{where}: timezone of the timetable must be a name such as 'Europe/Berlin', not {given!r}")


def _length(where: str, name: str, value: object) -> float:
    if not isinstance(value, dt.timedelta):
        raise ArgumentError(f"{where}: {name} of the timetable must be a timedelta, not {value!r}")
    return check.seconds(where, name, value)
