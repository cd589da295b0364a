"""``hybrid tasks state``, ``set-state`` and ``failed-deps``: one task instance, named as in Airflow, DAG TASK RUN."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from runtime.cli.command import Verb, add_output, confirm, load_settings
from runtime.cli.output import emit, emit_one
from runtime.cli.run_names import METAVAR, find_run
from runtime.core import clock

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.engine import Database

STATES = ("success", "failed", "skipped")
COLUMNS = ("dag_id", "run_id", "task_id", "map_index", "old_state", "state")


def run_id_of(database: Database, settings: Settings, args: Namespace) -> str:
    """The id of the run that ``args.run`` names. Raises ``NotFoundError``."""
    with database.read() as connection:
        return str(find_run(connection, args.dag_id, args.run, settings.core.default_timezone).run_id)


def _state(args: Namespace) -> int:
    from runtime.db import queries
    from runtime.db.engine import open_database

    settings = load_settings()
    database = open_database(settings)
    try:
        run_id = run_id_of(database, settings, args)
        with database.read() as connection:
            row = queries.task_state(connection, args.dag_id, run_id, args.task_id, map_index=args.map_index)
    finally:
        database.close()
    if args.output in ("json", "yaml"):
        emit_one({"dag_id": args.dag_id, "run_id": run_id, **row}, args.output)
    else:
        print(row["state"])
    return 0


def _set_state(args: Namespace) -> int:
    args.state = args.new_state
    return set_state(args)


def set_state(args: Namespace) -> int:
    """Mark what ``args`` name ``args.state``; asks unless ``-y`` where it is more than one task instance."""
    from runtime.core.states import TaskState
    from runtime.db.engine import open_database
    from runtime.db.hints import send_hint
    from runtime.db.marking import Mark, mark_tasks

    settings = load_settings()
    database = open_database(settings)
    try:
        mark = Mark(
            dag_id=args.dag_id,
            run_id=run_id_of(database, settings, args),
            task_id=args.task_id,
            state=TaskState(args.state),
            upstream=args.upstream,
            downstream=args.downstream,
            past=args.past,
            future=args.future,
        )
        if args.past or args.future:
            runs = " and ".join(name for name in ("past", "future") if getattr(args, name))
            confirm(f"Mark task {args.task_id} {args.state} in all {runs} runs of DAG {args.dag_id}?", yes=args.yes)
        rows = database.transact(
            lambda connection: mark_tasks(connection, mark, now=clock.now(), actor=getpass.getuser())
        )
        send_hint(database, settings.home)
    finally:
        database.close()
    rows.sort(key=lambda row: (row.logical_date or 0, row.run_id, row.task_id, row.map_index))
    emit([_marked(args, row) for row in rows], args.output, COLUMNS)
    if not rows and args.output in ("table", "plain"):
        print(f"hybrid: it is {args.state} already; nothing was changed", file=sys.stderr)
    return 0


def _marked(args: Namespace, row: Any) -> dict[str, Any]:
    return {
        "dag_id": args.dag_id,
        "run_id": row.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
        "old_state": row.state,
        "state": args.state,
    }


def _failed_deps(args: Namespace) -> int:
    """As ``why``, with the arguments in Airflow's order."""
    from runtime.cli.commands.tasks import why
    from runtime.db.engine import open_database

    settings = load_settings()
    database = open_database(settings)
    try:
        args.run_id = run_id_of(database, settings, args)
    finally:
        database.close()
    return why(args)


def add_instance(parser: ArgumentParser, *, required: bool = True) -> None:
    """Add DAG, TASK and the run, in Airflow's order."""
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument("task_id", metavar="TASK")
    parser.add_argument(
        "run", metavar=METAVAR, nargs=None if required else "?", help="id of a run, or its logical date (ISO-8601)"
    )


def _state_arguments(parser: ArgumentParser) -> None:
    add_instance(parser)
    parser.add_argument("--map-index", type=int, default=-1, metavar="N", help="of a mapped task")
    add_output(parser)


def add_mark_options(parser: ArgumentParser) -> None:
    """Add which relatives are marked, too."""
    parser.add_argument("-u", "--upstream", action="store_true", help="all that it waits for, too")
    parser.add_argument("-d", "--downstream", action="store_true", help="all that waits for it, too")
    parser.add_argument("--past", action="store_true", help="in runs of earlier logical dates, too")
    parser.add_argument("--future", action="store_true", help="in runs of later logical dates, too")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _set_state_arguments(parser: ArgumentParser) -> None:
    add_instance(parser)
    parser.add_argument("new_state", metavar="STATE", choices=STATES, help=", ".join(STATES))
    add_mark_options(parser)
    add_output(parser)


def _failed_deps_arguments(parser: ArgumentParser) -> None:
    add_instance(parser)
    add_output(parser)


VERBS = {
    "state": Verb("print the state of a task instance", _state, _state_arguments),
    "set-state": Verb("mark a task instance success, failed or skipped by hand", _set_state, _set_state_arguments),
    "failed-deps": Verb("as `why`, with the arguments in Airflow's order", _failed_deps, _failed_deps_arguments),
}
