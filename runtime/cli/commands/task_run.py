"""``hybrid tasks run DAG TASK RUN``: have one task instance run now, through its executor, and wait for its end."""

from __future__ import annotations

import getpass
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from runtime.cli.command import UsageError, load_settings
from runtime.cli.commands.task_states import run_id_of, set_state
from runtime.cli.waiting_reasons import reasons_of_run
from runtime.core import clock
from runtime.core.errors import HybridError
from runtime.core.states import TASK_FINISHED, TaskState

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.engine import Database

FIRST_POLL, SLOWEST_POLL = 0.05, 1.0
_HELD_BY = ("upstream: ", "depends_on_past: ", "wait_for_downstream: ")


def run_task(args: Namespace) -> int:
    """Exit code 0 where it ends well or is skipped, else 1."""
    if args.local:
        raise UsageError(
            "--local: attempts are started by the scheduler alone; `hybrid tasks test` runs a task in this terminal"
        )
    if args.mark_success:
        args.state, args.output, args.yes = "success", "table", True
        args.upstream = args.downstream = args.past = args.future = False
        return set_state(args)
    from runtime.db.engine import open_database

    settings = load_settings()
    database = open_database(settings)
    try:
        return _run(args, settings, database)
    finally:
        database.close()


def _run(args: Namespace, settings: Settings, database: Database) -> int:
    from runtime.cli.logs import print_logs
    from runtime.db.hints import send_hint
    from runtime.db.marking import start_now

    args.run_id = run_id_of(database, settings, args)
    ignore_all = args.ignore_all_dependencies or args.ignore_dependencies
    ignore_past = args.ignore_depends_on_past or args.depends_on_past == "ignore"
    if not (ignore_all or ignore_past):
        _check_dependencies(settings, database, args)
    _check_scheduler(settings, database)
    row = database.transact(
        lambda connection: start_now(
            connection,
            args.dag_id,
            args.run_id,
            args.task_id,
            ignore_all=ignore_all,
            ignore_past=ignore_past,
            force=args.force,
            now=clock.now(),
            actor=getpass.getuser(),
        )
    )
    send_hint(database, settings.home)
    ended = _wait(database, args, row)
    args.map_index, args.try_number = -1, None
    if ended["try_number"] > row.try_number:
        print_logs(settings, args)
    why = f": {ended['reason']}" if ended["reason"] else ""
    print(f"hybrid: task {args.task_id} of run {args.run_id} is {ended['state']}{why}", file=sys.stderr)
    return 0 if ended["state"] in (TaskState.SUCCESS, TaskState.SKIPPED) else 1


def _check_dependencies(settings: Settings, database: Database, args: Namespace) -> None:
    """Raise :class:`HybridError` where the task may not run yet."""
    with database.read() as connection:
        found = reasons_of_run(settings, connection, args.dag_id, args.run_id)
    for one in found:
        held = [reason for reason in one.reasons if one.state == TaskState.NONE and reason.startswith(_HELD_BY)]
        if one.task_id == args.task_id and held:
            raise HybridError(
                f"the dependencies of task {args.task_id} are not met: {'; '.join(held)}; "
                "--ignore-all-dependencies runs it all the same"
            )


def _check_scheduler(settings: Settings, database: Database) -> None:
    from runtime.db.queries import live_schedulers

    since = clock.now() - round(settings.scheduler.scheduler_health_check_threshold * clock.SECOND)
    with database.read() as connection:
        if not live_schedulers(connection, since=since):
            raise HybridError("no scheduler is running; start one with `hybrid scheduler`, or use `hybrid tasks test`")


def _wait(database: Database, args: Namespace, before: Any) -> dict[str, Any]:
    """How the task instance stands when its next try has ended."""
    from runtime.db.queries import task_state

    pause = FIRST_POLL
    while True:
        with database.read() as connection:
            row = task_state(connection, args.dag_id, args.run_id, args.task_id, map_index=-1)
        state = TaskState(row["state"])
        if state in TASK_FINISHED or (state is TaskState.UP_FOR_RETRY and row["try_number"] > before.try_number):
            return row
        time.sleep(pause)
        pause = min(pause * 1.3, SLOWEST_POLL)
