"""``hybrid tasks …``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from executors.names import did_you_mean
from runtime.cli.command import UsageError, Verb, add_output, elsewhere, load_settings
from runtime.cli.output import emit, with_iso_times
from runtime.cli.waiting_reasons import UPSTREAM, doubt_of, reasons_of_run
from runtime.core import clock
from runtime.core.errors import NotFoundError

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.core.specs import DagSpec, TaskSpec

STATE_COLUMNS = ("task_id", "map_index", "try_number", "state", "executor", "pool", "start_date", "duration", "pid")
TELLING_COLUMNS = ("waiting_on", "suspicion")
"""Shown where one of the rows has something to tell."""
STATE_KEYS = (
    *("task_id", "map_index", "try_number", "state", "executor", "executor_reason", "queue", "pool"),
    *("priority_weight", "scheduled_at", "queued_at", "start_date", "end_date", "duration", "hostname", "pid"),
    *("external_executor_id", "infra_losses", "waiting_on", "suspicion"),
)


def _list(args: Namespace) -> int:
    from runtime.db import queries
    from runtime.db.engine import open_database

    with open_database(load_settings()).read() as connection:
        spec = queries.dag_spec(connection, args.dag_id)
    if args.tree:
        print("\n".join(_tree(spec)))
        return 0
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


def _tree(spec: DagSpec) -> Iterator[str]:
    """From the tasks that wait for nothing down. One that has been shown is not opened again: "…" stands for it."""
    below: dict[str, list[TaskSpec]] = {task.task_id: [] for task in spec.tasks}
    for task in spec.tasks:
        for name in task.upstream:
            below[name].append(task)
    shown: set[str] = set()
    pending = [(task, 0) for task in reversed(spec.tasks) if not task.upstream]
    while pending:
        task, depth = pending.pop()
        again = task.task_id in shown and below[task.task_id]
        yield f"{'    ' * depth}<{task.operator} {task.task_id}>{' …' if again else ''}"
        if not again:
            shown.add(task.task_id)
            pending += [(one, depth + 1) for one in reversed(below[task.task_id])]


def state_record(row: dict[str, Any], reasons: list[str], settings: Settings, now: int) -> dict[str, Any]:
    """A row of :func:`queries.states_for_run` as printed: ``duration`` in seconds, the first of ``reasons`` to wait and
    ``suspicion`` added, moments as ISO-8601.
    """
    start, end = row["start_date"], row["end_date"]
    duration = (end - start) / clock.SECOND if start is not None and end is not None else None
    doubt = doubt_of(settings, row["heartbeat_at"], now, row["hostname"], row["pid"])
    full = {**row, "duration": duration, "waiting_on": next(iter(reasons), None), "suspicion": doubt}
    return with_iso_times({key: full[key] for key in STATE_KEYS})


def _states(args: Namespace) -> int:
    from runtime.db import queries
    from runtime.db.engine import database_clock, open_database

    settings = load_settings()
    with open_database(settings).read() as connection:
        rows = queries.states_for_run(connection, args.dag_id, args.run_id)
        reasons = reasons_of_run(settings, connection, args.dag_id, args.run_id)
        now = database_clock(connection)
    known = {(one.task_id, one.map_index): one.reasons for one in reasons}
    records = [state_record(row, known.get((row["task_id"], row["map_index"]), []), settings, now) for row in rows]
    if args.output not in ("json", "yaml"):
        for record in records:
            if (record["waiting_on"] or "").startswith(UPSTREAM):
                record["waiting_on"] = None
    telling = [name for name in TELLING_COLUMNS if any(record[name] for record in records)]
    emit(records, args.output, (*STATE_COLUMNS, *telling))
    return 0


def why(args: Namespace) -> int:
    """A line per reason; without one, what state it is in."""
    from runtime.db.engine import open_database

    settings = load_settings()
    with open_database(settings).read() as connection:
        found = reasons_of_run(settings, connection, args.dag_id, args.run_id)
    of_task = [one for one in found if one.task_id == args.task_id]
    if not of_task:
        near = did_you_mean(args.task_id, {one.task_id for one in found})
        raise NotFoundError(f"run {args.run_id} of DAG {args.dag_id} has no task {args.task_id!r}{near}")
    records = [
        {"task_id": one.task_id, "map_index": one.map_index, "state": one.state, "waiting_on": one.reasons}
        for one in of_task
    ]
    if args.output in ("json", "yaml"):
        emit(records, args.output, ("task_id", "map_index", "state", "waiting_on"))
        return 0
    for one in of_task:
        mapped = f"[{one.map_index}]" if one.map_index >= 0 else ""
        print(f"{one.task_id}{mapped} is {one.state}{':' if one.reasons else ', and waits for nothing'}")
        for reason in one.reasons:
            print(f"  {reason}")
    return 0


def _logs(args: Namespace) -> int:
    from runtime.cli.logs import print_logs

    return print_logs(load_settings(), args)


def _dag(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")


def _run(parser: ArgumentParser) -> None:
    _dag(parser)
    parser.add_argument("run_id", metavar="RUN")


def _why_arguments(parser: ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("task_id", metavar="TASK")
    add_output(parser)


def _list_arguments(parser: ArgumentParser) -> None:
    _dag(parser)
    parser.add_argument("--tree", action="store_true", help="each task below what it waits for")
    add_output(parser)


def _states_arguments(parser: ArgumentParser) -> None:
    _run(parser)
    add_output(parser)


def _logs_arguments(parser: ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("task_id", metavar="TASK")
    parser.add_argument("--map-index", type=int, default=-1, metavar="N", help="of a mapped task")
    parser.add_argument("--try", dest="try_number", type=int, metavar="N", help="which try (default: the newest)")


def _run_verb(args: Namespace) -> int:
    """One word is an attempt id, which executors are handed; three are DAG, TASK and run."""
    if len(args.words) == 1:
        args.attempt_id = args.words[0]
        return _run_attempt(args)
    if len(args.words) != 3:
        raise UsageError("name an attempt, or DAG TASK RUN_OR_DATE; see `hybrid tasks run --help`")
    from runtime.cli.commands.task_run import run_task

    args.dag_id, args.task_id, args.run = args.words
    return run_task(args)


def _run_attempt(args: Namespace) -> int:
    from runtime.core.ids import is_uuid
    from runtime.worker.single import run_attempt

    if not is_uuid(args.attempt_id):
        raise UsageError(f"{args.attempt_id!r} is no attempt id; a scheduler makes them, and hands over the command")
    return run_attempt(args.attempt_id)


def _add_run_options(parser: ArgumentParser) -> None:
    """Add the options of Airflow's ``tasks run``."""
    parser.add_argument("-f", "--force", action="store_true", help="although it has ended")
    parser.add_argument(
        "-A", "--ignore-all-dependencies", action="store_true", help="whatever its state and all its dependencies are"
    )
    parser.add_argument("-i", "--ignore-dependencies", action="store_true", help="likewise")
    parser.add_argument(
        "-I", "--ignore-depends-on-past", action="store_true", help="whatever the run before says; heed upstream tasks"
    )
    parser.add_argument("--depends-on-past", choices=("check", "ignore", "wait"), default="check", help="the same")
    parser.add_argument("-m", "--mark-success", action="store_true", help="run nothing, mark it success")
    parser.add_argument("-l", "--local", action="store_true", help="is refused: see `hybrid tasks test`")


def _run_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="ATTEMPT_ID | DAG TASK RUN_OR_DATE",
        nargs="+",
        help="an attempt, as executors are handed it; or a task instance, to be run now by its executor",
    )
    _add_run_options(parser)
    parser.epilog = (
        "With an attempt: needs a start ticket, in HYBRID_START_TICKET or in the file $HYBRID_HOME/run/ATTEMPT_ID. "
        "Exit codes: "
        "0 success or skipped, reported and accepted; 1 a failure was reported; 2 no ticket, or bad input; "
        "3 the start was refused, nothing was run; 4 the task API was not reached, or did not take the report, or "
        "was silent for so long that the task was killed; or, in an executor's container, it was stopped by a signal."
    )


VERBS = {
    "list": Verb("list the tasks of a DAG's newest version", _list, _list_arguments),
    "states-for-dag-run": Verb("show every task instance of a run: state, executor, times", _states, _states_arguments),
    "why": Verb("show what a task instance waits for", why, _why_arguments),
    "logs": Verb("print the log of a task instance's try", _logs, _logs_arguments),
    "failed-deps": elsewhere("as `why`, with the arguments in Airflow's order", "task_states", "failed-deps"),
    "state": elsewhere("print the state of a task instance", "task_states", "state"),
    "set-state": elsewhere("mark a task instance success, failed or skipped by hand", "task_states", "set-state"),
    "clear": elsewhere("make finished task instances run again", "task_clear", "clear"),
    "render": elsewhere("show a task's template fields as its run would see them", "task_test", "render"),
    "test": elsewhere("run one task in this terminal, and write nothing down", "task_test", "test"),
    "run": Verb("run one attempt, as executors do; or have a task instance run now", _run_verb, _run_arguments),
}
