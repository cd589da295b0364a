"""``hybrid dags state``, ``details``, ``next-execution`` and ``delete``: what the database knows of one DAG."""

from __future__ import annotations

import getpass
import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runtime.cli.command import FORMATS, Verb, add_output, confirm, load_settings
from runtime.cli.output import emit, emit_one, with_iso_times
from runtime.cli.run_names import METAVAR, find_run
from runtime.core import clock

if TYPE_CHECKING:
    from runtime.core.timetables import DueRun

FIELDS = {
    "logical_date": "logical_date",
    "data_interval.start": "data_interval_start",
    "data_interval.end": "data_interval_end",
    "run_after": "run_after",
}
"""Airflow's name of each, and ours."""
MOST = 1000


def _state(args: Namespace) -> int:
    from runtime.db.engine import open_database

    settings = load_settings()
    database = open_database(settings)
    try:
        with database.read() as connection:
            run = find_run(connection, args.dag_id, args.run, settings.core.default_timezone)
    finally:
        database.close()
    conf = json.loads(run.conf)
    if args.output in ("json", "yaml"):
        record = {"dag_id": args.dag_id, "run_id": run.run_id, "state": run.state, "reason": run.reason, "conf": conf}
        emit_one(record, args.output)
    else:
        print(f"{run.state}, {json.dumps(conf)}" if conf else run.state)
    return 0


def _details(args: Namespace) -> int:
    from runtime.db.engine import open_database
    from runtime.db.queries import dag_details

    settings = load_settings()
    database = open_database(settings)
    try:
        with database.read() as connection:
            found = dag_details(connection, args.dag_id)
    finally:
        database.close()
    record = {**found, "fileloc": str(settings.core.dags_folder / found["relative_fileloc"])}
    times = {key: value for key, value in record.items() if key in _DETAIL_TIMES}
    emit_one({**record, **{key: clock.iso(value) for key, value in times.items()}}, args.output)
    return 0


_DETAIL_TIMES = (
    "last_parsed_time",
    "start_date",
    "end_date",
    "next_dagrun_logical_date",
    "next_dagrun_data_interval_end",
    "next_dagrun_run_after",
)


def _next_execution(args: Namespace) -> int:
    """A line per run, or with ``-o`` a list of records. Exit code 0 also where no run follows, as in Airflow."""
    from runtime.db.dags import next_runs
    from runtime.db.engine import open_database
    from runtime.db.runs import require_dag

    database = open_database(load_settings())
    try:
        with database.read() as connection:
            paused = require_dag(connection, args.dag_id).is_paused
            runs = next_runs(connection, args.dag_id, args.num_executions, clock.now())
    finally:
        database.close()
    if paused:
        print(f"hybrid: DAG {args.dag_id} is paused: none of these is made before it is unpaused", file=sys.stderr)
    if len(runs) < args.num_executions:
        print("hybrid: no further run follows by this schedule", file=sys.stderr)
    output = "table" if args.table else args.output
    if output:
        emit([_due(run) for run in runs], output, tuple(FIELDS.values()))
        return 0
    for line in _lines(runs, FIELDS[args.field or "logical_date"]):
        print(line)
    return 0


def _lines(runs: list[DueRun], field: str) -> Iterator[str]:
    yield from (str(clock.iso(getattr(run, field))) for run in runs)
    if not runs:
        yield "None"


def _due(run: DueRun) -> dict[str, Any]:
    return {name: clock.iso(getattr(run, name)) for name in FIELDS.values()}


def _delete(args: Namespace) -> int:
    from runtime.db.deleting import delete_dag
    from runtime.db.engine import open_database
    from runtime.db.queries import file_of

    settings = load_settings()
    database = open_database(settings)
    try:
        with database.read() as connection:
            path = settings.core.dags_folder / file_of(connection, args.dag_id)
        confirm(f"Delete DAG {args.dag_id} with all its runs, XComs and history?", yes=args.yes)
        found = database.transact(
            lambda connection: delete_dag(connection, args.dag_id, now=clock.now(), actor=getpass.getuser())
        )
    finally:
        database.close()
    emit(
        [{"table": name, "rows_deleted": count} for name, count in found.items()],
        args.output,
        ("table", "rows_deleted"),
    )
    if path.exists():
        print(
            f"hybrid: {path} is still there: it brings the DAG back when it changes, or a DAG processor starts",
            file=sys.stderr,
        )
    return 0


def _list_runs(args: Namespace) -> int:
    from runtime.cli.command import UsageError
    from runtime.cli.moments import parse_range
    from runtime.db.engine import open_database
    from runtime.db.queries import list_runs

    dag_id = args.dag_id_option or args.dag_id
    if dag_id is None or (args.dag_id and args.dag_id_option):
        raise UsageError("name one DAG; see `hybrid dags list-runs --help`")
    settings = load_settings()
    first, last = parse_range(args.start_date, args.end_date, settings.core.default_timezone)
    database = open_database(settings)
    try:
        with database.read() as connection:
            found = list_runs(
                connection,
                dag_id,
                state=args.state,
                limit=args.limit,
                start_date=first,
                end_date=last,
                backfills=not args.no_backfill,
            )
    finally:
        database.close()
    columns = ("run_id", "state", "run_type", "logical_date", "start_date", "end_date")
    emit([with_iso_times(run) for run in found], args.output, columns)
    return 0


def positive(text: str) -> int:
    """A whole number of an option, from 1 to :data:`MOST`."""
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 to {MOST}")
    return int(text)


def _dag_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")
    add_output(parser)


def _state_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument("run", metavar=METAVAR, help="id of a run, or its logical date (ISO-8601)")
    add_output(parser)


def _next_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument("-n", "--num-executions", type=positive, default=1, metavar="N", help="(default: 1)")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--field", choices=list(FIELDS), help="what to print of each (default: logical_date)")
    shown.add_argument("--table", action="store_true", help="all fields, as -o table")
    shown.add_argument("-o", "--output", choices=FORMATS, help="all fields, in this format")


def _delete_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_output(parser)


def _list_runs_arguments(parser: ArgumentParser) -> None:
    from runtime.core.states import RunState

    parser.add_argument("dag_id", metavar="DAG", nargs="?")
    parser.add_argument("-d", "--dag-id", dest="dag_id_option", metavar="DAG", help="the same, as in Airflow 2")
    parser.add_argument("--state", choices=[str(state) for state in RunState], help="only runs in this state")
    parser.add_argument("-s", "--start-date", metavar="T", help="only runs of this logical date or a later one")
    parser.add_argument("-e", "--end-date", metavar="T", help="only runs of this logical date or an earlier one")
    parser.add_argument("--no-backfill", action="store_true", help="without those of backfills")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the newest N")
    add_output(parser)


VERBS = {
    "list-runs": Verb("list the runs of a DAG, newest first", _list_runs, _list_runs_arguments),
    "state": Verb("print the state of a run, and its conf", _state, _state_arguments),
    "next-execution": Verb("print when a DAG's next runs are due", _next_execution, _next_arguments),
    "details": Verb("show everything that is known of a DAG", _details, _dag_arguments),
    "delete": Verb("delete a DAG with its history, not its file", _delete, _delete_arguments),
}
