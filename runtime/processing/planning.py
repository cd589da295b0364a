"""What a custom timetable says of the runs to come. Runs user code: only in a child of the DAG processor."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from runtime.authoring.defaults import Defaults
from runtime.authoring.exceptions import DagFileError
from runtime.authoring.loader import load_file
from runtime.authoring.timetables import DataInterval, TimeRestriction, Timetable
from runtime.core.clock import iso, micros, moment
from runtime.core.timetables import DueRun, check_date
from runtime.db.plans import AHEAD, PlanWanted


def plan(dags_folder: Path, wanted: PlanWanted, defaults: Defaults) -> list[DueRun]:
    """The next runs of the DAG, at most :data:`AHEAD`; fewer where there are no more.

    Raises :class:`DagFileError`, and whatever the file and its timetable raise.
    """
    loaded = load_file(dags_folder, wanted.rel_path, defaults)
    dag = loaded.dags.get(wanted.dag_id)
    timetable = dag.custom_timetable if dag is not None else None
    if dag is None or timetable is None:
        raise DagFileError(f"{wanted.rel_path} has no DAG {wanted.dag_id!r} with a timetable of its own any more")
    restriction = TimeRestriction(_moment(dag.start_date), _moment(dag.end_date), dag.catchup)
    return plan_ahead(timetable, restriction, wanted.last_interval)


def plan_ahead(timetable: Timetable, restriction: TimeRestriction, last: tuple[int, int] | None) -> list[DueRun]:
    """Ask the timetable again and again, each time with its last answer.

    Raises :class:`DagFileError` for an answer that is none, or that does not move forward.
    """
    interval = None if last is None else DataInterval(moment(last[0]), moment(last[1]))
    runs: list[DueRun] = []
    while len(runs) < AHEAD:
        info = timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
        if info is None:
            break
        run = _due(type(timetable).__name__, info)
        before = runs[-1].logical_date if runs else last[0] if last else None
        if before is not None and run.logical_date <= before:
            raise DagFileError(
                f"{type(timetable).__name__}.next_dagrun_info() went from {iso(before)} to {iso(run.logical_date)}; "
                "each run must start later than the one before"
            )
        runs.append(run)
        interval = DataInterval(moment(run.data_interval_start), moment(run.data_interval_end))
    return runs


def _due(name: str, info: Any) -> DueRun:
    try:
        start, end, after = info.data_interval.start, info.data_interval.end, info.run_after
        for value in (start, end, after):
            check_date(f"{name}.next_dagrun_info()", micros(value))
        return DueRun(micros(start), micros(start), micros(end), micros(after))
    except (AttributeError, TypeError, ValueError) as error:
        raise DagFileError(f"{name}.next_dagrun_info() must return a DagRunInfo with aware dates: {error}") from None


def _moment(value: int | None) -> datetime | None:
    return None if value is None else moment(value)
