"""``hybrid dags …``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from runtime.cli.command import Verb, add_output, elsewhere, load_settings
from runtime.cli.commands.backfill import CREATE as BACKFILL
from runtime.cli.daemon_log import log_to_stderr
from runtime.cli.moments import parse_conf, parse_moment
from runtime.cli.output import emit, emit_one, with_iso_times
from runtime.core import clock
from runtime.core.states import RunState
from runtime.db import queries
from runtime.db.engine import open_database
from runtime.db.runs import create_manual_run, set_paused


def _list(args: Namespace) -> int:
    settings = load_settings()
    database = open_database(settings)
    with database.read() as connection:
        found = queries.list_dags(connection)
    folder = settings.core.dags_folder
    records = [
        {
            "dag_id": dag["dag_id"],
            "is_paused": dag["is_paused"],
            "schedule": dag["schedule"],
            "fileloc": str(folder / dag["rel_path"]),
            "tags": dag["tags"],
        }
        for dag in found
    ]
    emit(records, args.output, ("dag_id", "is_paused", "schedule", "fileloc", "tags"))
    return 0


def _list_import_errors(args: Namespace) -> int:
    settings = load_settings()
    with open_database(settings).read() as connection:
        found = queries.list_import_errors(connection)
    records = [{"filepath": str(settings.core.dags_folder / row["rel_path"]), "error": row["error"]} for row in found]
    emit(records, args.output, ("filepath", "error"))
    return 1 if records else 0


def _pause(args: Namespace, *, paused: bool) -> int:
    from runtime.db.hints import send_hint

    settings = load_settings()
    database = open_database(settings)
    with database.write() as connection:
        set_paused(connection, args.dag_id, paused)
    send_hint(database, settings.home)
    emit([{"dag_id": args.dag_id, "is_paused": paused}], args.output, ("dag_id", "is_paused"))
    return 0


def _trigger(args: Namespace) -> int:
    from runtime.db.hints import send_hint

    settings = load_settings()
    conf = parse_conf(args.conf)
    now = clock.now()
    logical_date = parse_moment("--logical-date", args.logical_date, settings.core.default_timezone)
    if logical_date is None:
        # As in Airflow 2: a run without one, which Airflow 3 makes, has no `ds`, and most templates use it.
        logical_date = now
    database = open_database(settings)
    with database.write() as connection:
        run = create_manual_run(
            connection, dag_id=args.dag_id, run_id=args.run_id, conf=conf, logical_date=logical_date, now=now
        )
    send_hint(database, settings.home)
    if args.wait:
        from runtime.cli.waiting import wait_for_run

        wait_for_run(settings, database, run.id, run.dag_id)
    with database.read() as connection:
        state = queries.run_state(connection, run.id)
    database.close()
    emit_one(with_iso_times({"dag_id": run.dag_id, "run_id": run.run_id, **state}), args.output)
    return 1 if args.wait and state["state"] == RunState.FAILED else 0


def _test(args: Namespace) -> int:
    from runtime.cli.foreground import serve_task_api, show_change
    from runtime.config.withholding import withhold_signing_key
    from runtime.processing.once import parse_into
    from runtime.scheduler.foreground import run_dag_once

    settings = load_settings()
    conf = parse_conf(args.conf)
    logical_date = parse_moment("DATE", args.date, settings.core.default_timezone)
    if logical_date is None:
        logical_date = clock.now()
    withhold_signing_key()
    log_to_stderr("ERROR")  # Import errors come back as the command's own error.
    parse = parse_into(settings)
    state = run_dag_once(settings, parse, serve_task_api, args.dag_id, logical_date, conf, show_change)
    print(f"{args.dag_id}: {state}")
    if state == RunState.SUCCESS:
        return 0
    print(f"hybrid: logs are below {settings.logging.base_log_folder}/dag_id={args.dag_id}", file=sys.stderr)
    return 1


def _dag(parser: ArgumentParser, **more: Any) -> None:
    parser.add_argument("dag_id", metavar="DAG", **more)


def _dag_arguments(parser: ArgumentParser) -> None:
    _dag(parser)
    add_output(parser)


def _trigger_arguments(parser: ArgumentParser) -> None:
    _dag(parser)
    parser.add_argument("-r", "--run-id", metavar="ID", help="name of the run (default: made from the time)")
    parser.add_argument("-c", "--conf", metavar="JSON", help="object that tasks read as dag_run.conf and params")
    parser.add_argument(
        "-l", "--logical-date", metavar="T", help="ISO-8601 (default: now); without a zone, in default_timezone"
    )
    parser.add_argument("--wait", action="store_true", help="wait for the end; exit 1 when the run fails")
    add_output(parser)


def _test_arguments(parser: ArgumentParser) -> None:
    _dag(parser)
    parser.add_argument("date", metavar="DATE", nargs="?", help="logical date, ISO-8601 (default: now)")
    parser.add_argument("-c", "--conf", metavar="JSON", help="object that tasks read as dag_run.conf and params")


VERBS = {
    "list": Verb("list the DAGs", _list, add_output),
    "trigger": Verb("start a run of a DAG", _trigger, _trigger_arguments),
    "test": Verb("run a whole DAG here and now, in the foreground", _test, _test_arguments),
    "pause": Verb("start no new runs and tasks of a DAG", lambda args: _pause(args, paused=True), _dag_arguments),
    "unpause": Verb("let a DAG run", lambda args: _pause(args, paused=False), _dag_arguments),
    "list-runs": elsewhere("list the runs of a DAG, newest first", "dag_facts", "list-runs"),
    "state": elsewhere("print the state of a run, and its conf", "dag_facts", "state"),
    "next-execution": elsewhere("print when a DAG's next runs are due", "dag_facts", "next-execution"),
    "details": elsewhere("show everything that is known of a DAG", "dag_facts", "details"),
    "show": elsewhere("draw a DAG: tasks, groups, executors", "dag_show", "show"),
    "delete": elsewhere("delete a DAG with its history, not its file", "dag_facts", "delete"),
    "report": elsewhere("parse every DAG file, and show how long each takes", "dag_files", "report"),
    "reserialize": elsewhere("parse every DAG file now, and store what it says", "dag_files", "reserialize"),
    "backfill": BACKFILL,
    "list-import-errors": Verb(
        "list DAG files with errors; exit 1 when there are any", _list_import_errors, add_output
    ),
}
