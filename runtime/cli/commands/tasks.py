"""``hybrid tasks …``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from runtime.cli.command import Verb, add_output, confirm, load_settings
from runtime.cli.output import emit, with_iso_times
from runtime.core import clock
from runtime.db import queries
from runtime.db.engine import open_database
from runtime.db.runs import clear_tasks

STATE_COLUMNS = ("task_id", "map_index", "try_number", "state", "executor", "pool", "start_date", "duration", "pid")
STATE_KEYS = (
    *("task_id", "map_index", "try_number", "state", "executor", "executor_reason", "queue", "pool"),
    *("priority_weight", "scheduled_at", "queued_at", "start_date", "end_date", "duration", "hostname", "pid"),
    *("external_executor_id", "infra_losses"),
)


def _list(args: Namespace) -> int:
    with open_database(load_settings()).read() as connection:
        spec = queries.dag_spec(connection, args.dag_id)
    records = [
        {
            "task_id": task.task_id,
            "operator": task.operator,
            "upstream": list(task.upstream),
            "trigger_rule": task.trigger_rule,
            "retries": task.retries,
            "executor": task.executor,
            "queue": task.queue,
            "pool": task.pool,
            "priority_weight": task.priority_weight,
        }
        for task in spec.tasks
    ]
    emit(records, args.output, ("task_id", "operator", "upstream", "trigger_rule", "executor", "queue", "pool"))
    return 0


def state_record(row: dict[str, Any]) -> dict[str, Any]:
    """A row of :func:`queries.states_for_run` as printed: ``duration`` in seconds added, moments as ISO-8601."""
    start, end = row["start_date"], row["end_date"]
    duration = (end - start) / clock.SECOND if start is not None and end is not None else None
    full = {**row, "duration": duration}
    return with_iso_times({key: full[key] for key in STATE_KEYS})


def _states(args: Namespace) -> int:
    with open_database(load_settings()).read() as connection:
        rows = queries.states_for_run(connection, args.dag_id, args.run_id)
    emit([state_record(row) for row in rows], args.output, STATE_COLUMNS)
    return 0


def _logs(args: Namespace) -> int:
    from runtime.log.attempt_logs import read

    settings = load_settings()
    with open_database(settings).read() as connection:
        found = queries.dispatches(
            connection, args.dag_id, args.run_id, args.task_id, map_index=args.map_index, try_number=args.try_number
        )
    base, ids = settings.logging.base_log_folder, (args.dag_id, args.run_id, args.task_id)
    texts = {
        log.dispatch_number: log
        for log in read(base, *ids, map_index=args.map_index, try_number=found[0]["try_number"])
    }
    for attempt in found:
        log = texts.get(attempt["dispatch_number"])
        if len(found) > 1 or log is None:
            print(_heading(attempt, logged=log is not None), file=sys.stderr, flush=True)
        if log is not None:
            print(log.text, end="", flush=True)
    return 0


def _heading(attempt: dict[str, Any], *, logged: bool) -> str:
    reason = f": {attempt['reason']}" if attempt["reason"] else ""
    nothing = "" if logged else "; it logged nothing that is on this host"
    where = f"try {attempt['try_number']}, dispatch {attempt['dispatch_number']} on {attempt['executor']}"
    return f"── {where}: {attempt['state']}{reason}{nothing}"


def _clear(args: Namespace) -> int:
    from runtime.db.hints import send_hint

    settings = load_settings()
    database = open_database(settings)
    which = "failed task instances" if args.only_failed else "task instances"
    tasks = f" of tasks matching {args.task_regex!r}" if args.task_regex else ""
    runs = f"run {args.run_id}" if args.run_id else "all runs"
    with database.read() as connection:
        queries.dag_spec(connection, args.dag_id)
    confirm(f"Clear {which}{tasks} in {runs} of DAG {args.dag_id}, so that they run again?", yes=args.yes)
    with database.write() as connection:
        count = clear_tasks(
            connection,
            dag_id=args.dag_id,
            run_id=args.run_id,
            task_regex=args.task_regex,
            only_failed=args.only_failed,
            now=clock.now(),
        )
    database.close()
    send_hint(database, settings.home)
    print(f"cleared {count} task instance{'' if count == 1 else 's'}")
    return 0


def _dag(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")


def _run(parser: ArgumentParser) -> None:
    _dag(parser)
    parser.add_argument("run_id", metavar="RUN")


def _list_arguments(parser: ArgumentParser) -> None:
    _dag(parser)
    add_output(parser)


def _states_arguments(parser: ArgumentParser) -> None:
    _run(parser)
    add_output(parser)


def _logs_arguments(parser: ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("task_id", metavar="TASK")
    parser.add_argument("--map-index", type=int, default=-1, metavar="N", help="of a mapped task")
    parser.add_argument("--try", dest="try_number", type=int, metavar="N", help="which try (default: the newest)")


def _clear_arguments(parser: ArgumentParser) -> None:
    _dag(parser)
    parser.add_argument("-t", "--task-regex", metavar="REGEX", help="only tasks whose id matches")
    parser.add_argument("-r", "--run-id", metavar="RUN", help="only this run (default: all)")
    parser.add_argument("--only-failed", action="store_true", help="only failed and upstream_failed ones")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


VERBS = {
    "list": Verb("list the tasks of a DAG's newest version", _list, _list_arguments),
    "states-for-dag-run": Verb("show every task instance of a run: state, executor, times", _states, _states_arguments),
    "logs": Verb("print the log of a task instance's try", _logs, _logs_arguments),
    "clear": Verb("make finished task instances run again", _clear, _clear_arguments),
}
