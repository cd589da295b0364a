"""``hybrid dags test``: one run of one DAG, here and now, by the real scheduler and the real executors.

Everything is as in production but the database, which is a new one in a temporary folder with the deployment's
connections, variables and pools, and the task API, which this process serves itself: trying a DAG leaves nothing behind
in a deployment, and needs none.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from executors.errors import UnknownExecutorError
from executors.names import lookup, parse_executors
from runtime.config import Settings
from runtime.config.executors import load_registry
from runtime.core.clock import now as clock_now
from runtime.core.errors import HybridError, NotFoundError
from runtime.core.specs import DagSpec
from runtime.core.states import RUN_FINISHED, RunState
from runtime.core.task_api import URL_VARIABLE
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database
from runtime.db.hints import HintSocket
from runtime.db.migrate import migrate
from runtime.db.queries import dag_spec
from runtime.db.runs import create_manual_run
from runtime.db.schema import dag, dag_run, import_error, task_attempt, task_instance
from runtime.scheduler.assembly import Assembly, assemble
from runtime.scheduler.launch_environment import variables, with_usable_home
from runtime.scheduler.lending import lend, make_room, with_key
from runtime.scheduler.tickets import needs_tickets
from runtime.scheduler.waking import Waker

if TYPE_CHECKING:
    from runtime.tokens.tokens import Tokens

OnChange = Callable[[dict[str, Any]], None]
Parse = Callable[[DatabaseDagStore], object]
"""Parses the DAGs folder into the store, once."""
Serve = Callable[[Settings, Database, "Tokens"], AbstractContextManager[str]]
"""Serves the task API until the context ends; yields its URL. Wakes the schedulers of the settings' home."""
END_SECONDS = 10.0


def run_dag_once(
    settings: Settings,
    parse: Parse,
    serve: Serve,
    dag_id: str,
    logical_date: int | None,
    conf: dict[str, Any],
    on_change: OnChange,
) -> RunState:
    """Run the DAG on the executors that its tasks name, and return how the run ended.

    :param serve: called only where one of these executors reports over HTTP.
    :param on_change: told of each change of a task instance: task_id, map_index, state, try_number, executor, reason.

    Raises :class:`NotFoundError` (no such DAG) and :class:`HybridError` (it has an import error).
    """
    with tempfile.TemporaryDirectory(prefix="hybrid-test-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'hybrid.db'}"
        deployment = settings
        settings = replace(with_key(settings), database=replace(settings.database, sql_alchemy_conn=url))
        migrate(settings)
        database = Database(url)
        try:
            lend(deployment, database)
            parse(DatabaseDagStore(database, paused_at_creation=False))
            run_id = _create(database, dag_id, logical_date, conf)
            with database.read() as connection:
                spec = dag_spec(connection, dag_id)
            with database.write() as connection:
                make_room(connection, spec.tasks)
            settings = replace(settings, core=replace(settings.core, executor=executors_of(spec, settings)))
            return _run(settings, database, folder, serve, run_id, on_change)
        finally:
            database.close()


def executors_of(spec: DagSpec, settings: Settings) -> str:
    """The part of ``[core] executor`` that the tasks of a DAG need, at least one entry."""
    names = parse_executors(settings.core.executor)
    wanted = set()
    for task in spec.tasks:
        try:
            wanted.add(lookup(names, task.executor) if task.executor else names[0])
        except UnknownExecutorError:
            wanted.add(names[0])
    return ", ".join(name.entry for name in names if name in wanted) or names[0].entry


def _create(database: Database, dag_id: str, logical_date: int | None, conf: dict[str, Any]) -> int:
    with database.write() as connection:
        errors = connection.execute(select(import_error)).all()
        try:
            run = create_manual_run(
                connection,
                dag_id=dag_id,
                run_id=None,
                conf=conf,
                logical_date=logical_date,
                now=clock_now(),
                even_if_paused=True,
            )
        except NotFoundError as error:
            if not errors:
                raise
            broken = "; ".join(f"{row.rel_path}: {row.error.strip().splitlines()[0]}" for row in errors)
            raise HybridError(f"{error} (files with import errors: {broken})") from None
        # The folder's other DAGs have schedules of their own; a run that a task of this one triggers shall go on.
        connection.execute(update(dag).values(next_run_after=None, is_paused=False))
    return run.id


def _run(
    settings: Settings, database: Database, folder: Path, serve: Serve, run_id: int, on_change: OnChange
) -> RunState:
    registry = load_registry(settings)
    waker = Waker(HintSocket(folder, "dags-test"))
    try:
        if not any(needs_tickets(executor.cls) for executor in registry):
            assembly = assemble(settings, database, registry, waker, _no_tokens)
            return _drive(assembly, database, run_id, on_change)
        from runtime.tokens.tokens import Tokens

        tokens = Tokens(secrets.token_hex(64).encode(), lifetime=settings.execution_api.jwt_expiration_time)
        # Its reports wake us, and not the schedulers of a deployment that has the same home.
        with _reachable(serve(replace(settings, home=folder), database, tokens), settings, folder) as reachable:
            assembly = assemble(reachable, database, registry, waker, lambda: tokens)
            return _drive(assembly, database, run_id, on_change)
    finally:
        waker.close()


@contextmanager
def _reachable(server: AbstractContextManager[str], settings: Settings, folder: Path) -> Iterator[Settings]:
    """Serve, and have every process that is started from here find the server and its start ticket."""
    settings, values = with_usable_home(settings, folder)
    with server as url, variables({**values, URL_VARIABLE: url}):
        yield replace(settings, core=replace(settings.core, execution_api_server_url=url))


def _no_tokens() -> Tokens:
    raise AssertionError("none of the executors needs tickets")


def _drive(assembly: Assembly, database: Database, run_id: int, on_change: OnChange) -> RunState:
    """Run the scheduler until the run has ended; afterwards its executors have, too."""
    try:
        for lane in assembly.lanes.values():
            lane.start()
        assembly.scheduler.begin()
        return _until_ended(assembly, database, run_id, on_change)
    finally:
        for lane in assembly.lanes.values():
            lane.terminate()
        for lane in assembly.lanes.values():
            lane.join(END_SECONDS)


def _until_ended(assembly: Assembly, database: Database, run_id: int, on_change: OnChange) -> RunState:
    shown: dict[str, tuple[str, int]] = {}
    hinted = True
    while True:
        assembly.scheduler.step(hinted=hinted)
        _show_changes(database, run_id, shown, on_change)
        with database.read() as connection:
            state = RunState(connection.execute(select(dag_run.c.state).where(dag_run.c.id == run_id)).scalar_one())
        if state in RUN_FINISHED:
            return state
        hinted = assembly.waker.wait(assembly.scheduler.pause)


def _show_changes(database: Database, run_id: int, shown: dict[str, tuple[str, int]], on_change: OnChange) -> None:
    query = (
        select(task_instance, task_attempt.c.executor)
        .join(task_attempt, task_attempt.c.id == task_instance.c.attempt_id, isouter=True)
        .where(task_instance.c.dag_run_id == run_id, task_instance.c.state.not_in(("none", "scheduled", "queued")))
        .order_by(task_instance.c.start_date, task_instance.c.end_date, task_instance.c.id)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        mark = (row.state, row.try_number)
        if shown.get(row.id) != mark:
            shown[row.id] = mark
            on_change(
                {
                    "task_id": row.task_id,
                    "map_index": row.map_index,
                    "state": row.state,
                    "try_number": row.try_number,
                    "executor": row.executor,
                    "reason": row.reason,
                }
            )
