"""A metadata DB with DAGs, runs and attempts in it, made by the program's own functions, and what it holds then."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, insert, select, update

from executors.errors import UnknownExecutorError
from runtime.core import messages as m
from runtime.core.clock import SECOND, micros, moment
from runtime.core.ids import uuid7
from runtime.core.routes import parse_fallback, parse_routes
from runtime.core.routing import Router, checked
from runtime.core.specs import DagSpec, ParsedFile, TaskSpec, TimetableSpec
from runtime.core.states import TaskState
from runtime.db.clearing import clear_tasks
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database
from runtime.db.runs import CreatedRun, create_manual_run
from runtime.db.schema import dag, dag_run, event, pool, run_inbox, task_attempt, task_instance
from runtime.db.transitions import Batch, NewAttempt
from runtime.scheduler.leases import Identity, register
from runtime.scheduler.loading import GraphCache, claim, claimable_runs
from runtime.scheduler.runs import Instance, RunModel
from runtime.service.tasks import TaskService

START = micros(moment(0).replace(year=2026, month=3, day=1, hour=12))
DAY = 86_400 * SECOND
HOURLY = TimetableSpec(kind="cron", expression="0 * * * *", summary="@hourly")


def task(task_id: str, *upstream: str, **options: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="@task", upstream=upstream, **options)


def spec(dag_id: str, *tasks: TaskSpec, **options: Any) -> DagSpec:
    return DagSpec(dag_id=dag_id, tasks=tasks or (task("only"),), **options)


def router(*executors: str, missing: str = "hold", routes: str = "", fallback: str = "unavailable") -> Router:
    """As the registry would make it for instances of these names."""

    def lookup(text: str) -> str:
        if text not in executors:
            raise UnknownExecutorError(f"unknown executor {text!r}; configured: {', '.join(executors)}")
        return text

    rules = checked(parse_routes(routes), lookup)
    return Router(executors[0], lookup, missing, rules, parse_fallback(fallback))


class World:
    """One deployment's DB, and a clock that stands until a test moves it: ``at``, microseconds."""

    def __init__(self, database: Database, *, registered: bool = True) -> None:
        self.database = database
        self.at = START
        self.me = Identity()
        self.graphs = GraphCache()
        self.reports = 0
        """How often the task service said that a run's owner has something to apply."""
        self.service = TaskService(database, on_report=self._count_report, clock=self.clock)
        self._hashes = itertools.count()
        if registered:
            with database.write() as connection:
                register(connection, self.me, 3600.0)

    def clock(self) -> int:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += round(seconds * SECOND)

    # -- DAGs and runs

    def save(
        self, *specs: DagSpec, rel_path: str = "dags.py", file_hash: str | None = None, paused: bool = False
    ) -> None:
        """What the DAG processor does with a file of these DAGs."""
        parsed = ParsedFile(rel_path=rel_path, file_hash=file_hash or f"hash{next(self._hashes)}", dags=specs)
        DatabaseDagStore(self.database, paused_at_creation=paused).save(parsed)

    def trigger(self, dag_id: str, run_id: str | None = None, **options: Any) -> CreatedRun:
        options = {"conf": {}, "logical_date": None, "now": self.at} | options
        with self.database.write() as connection:
            return create_manual_run(connection, dag_id=dag_id, run_id=run_id, **options)

    def clear(self, dag_id: str, **options: Any) -> int:
        return self.database.transact(lambda connection: clear_tasks(connection, dag_id=dag_id, now=self.at, **options))

    def set_pool(self, name: str, slots: int) -> None:
        with self.database.write() as connection:
            if not connection.execute(update(pool).where(pool.c.name == name).values(slots=slots)).rowcount:
                connection.execute(insert(pool).values(name=name, slots=slots, description=""))

    def claim(self, run: CreatedRun | int) -> RunModel:
        """Take a run as a scheduler does, with its task instances, none of which is judged yet."""
        identifier = run if isinstance(run, int) else run.id
        with self.database.write() as connection:
            (row,) = claimable_runs(connection, 10, only=identifier)
            return claim(connection, row, self.me, self.graphs, self.at)

    def begin(self, *tasks: TaskSpec, dag_id: str = "d", **options: Any) -> RunModel:
        """A claimed run of a new DAG of these tasks."""
        self.save(spec(dag_id, *tasks, **options), rel_path=f"{dag_id}.py")
        return self.claim(self.trigger(dag_id))

    def queue(self, instance: Instance, executor: str = "one") -> str:
        """Commit an attempt of ``instance`` as the scheduler does before a hand-off; return its id."""
        batch = Batch(self.at, "test")
        same_try = instance.state is TaskState.SCHEDULED and instance.attempt_id is not None
        attempt = NewAttempt(
            id=uuid7(),
            try_number=instance.try_number + (not same_try),
            dispatch_number=instance.dispatch_number + 1 if same_try else 1,
            executor=executor,
            executor_reason="test",
            scheduler_id=self.me.id,
            version_id=instance.run.graph.version_id,
        )
        batch.queue(instance.subject, attempt, scheduled_at=None)
        with self.database.write() as connection:
            batch.write(connection)
        self.refresh(instance)
        return attempt.id

    def refresh(self, instance: Instance) -> Instance:
        """Make the instance say what the DB says."""
        row = self.row(task_instance, task_instance.c.id == instance.id)
        instance.state, instance.attempt_id = TaskState(row.state), row.attempt_id
        instance.try_number, instance.dispatch_number = row.try_number, row.dispatch_number
        instance.infra_losses, instance.max_tries = row.infra_losses, row.max_tries
        return instance

    # -- workers

    def ask(self, *requests: m.Request) -> list[Any]:
        """One batch of requests to the task service."""
        return [m.decode_reply(reply) for reply in self.service([m.encode(request) for request in requests])]

    def start(self, attempt_id: str, nonce: str = "n1") -> m.Started:
        (reply,) = self.ask(start(attempt_id, nonce))
        return reply

    def finish(self, attempt_id: str, outcome: str = "success", nonce: str = "n1", **options: Any) -> m.Finished:
        (reply,) = self.ask(m.Finish(attempt_id, nonce, outcome, **options))
        return reply

    # -- what the DB holds

    def rows(self, table: Any, *conditions: Any) -> Sequence[Row[Any]]:
        with self.database.read() as connection:
            return connection.execute(select(table).where(*conditions).order_by(*table.primary_key.columns)).all()

    def row(self, table: Any, *conditions: Any) -> Row[Any]:
        (found,) = self.rows(table, *conditions)
        return found

    def dag(self, dag_id: str) -> Row[Any]:
        return self.row(dag, dag.c.dag_id == dag_id)

    def run(self, identifier: int) -> Row[Any]:
        return self.row(dag_run, dag_run.c.id == identifier)

    def runs(self, dag_id: str) -> Sequence[Row[Any]]:
        return self.rows(dag_run, dag_run.c.dag_id == dag_id)

    def ti(self, task_id: str, run: int | None = None) -> Row[Any]:
        conditions = [] if run is None else [task_instance.c.dag_run_id == run]
        return self.row(task_instance, task_instance.c.task_id == task_id, *conditions)

    def states(self, run: int) -> dict[str, str]:
        return {row.task_id: row.state for row in self.rows(task_instance, task_instance.c.dag_run_id == run)}

    def attempt(self, identifier: str) -> Row[Any]:
        return self.row(task_attempt, task_attempt.c.id == identifier)

    def attempts(self, task_id: str, run: int | None = None) -> Sequence[Row[Any]]:
        return self.rows(task_attempt, task_attempt.c.task_instance_id == self.ti(task_id, run).id)

    def inbox(self) -> list[tuple[int, str]]:
        return [(row.dag_run_id, row.kind) for row in self.rows(run_inbox)]

    def story(self, instance_id: str) -> list[str]:
        """Each transition of a task instance: ``old>new``."""
        return [f"{row.old_state}>{row.new_state}" for row in self.rows(event, event.c.task_instance_id == instance_id)]

    def _count_report(self) -> None:
        self.reports += 1


def start(attempt_id: str, nonce: str = "n1", **options: Any) -> m.Start:
    launch = {"hostname": "worker", "pid": 4242, "pid_started": 99, "boot_id": "boot", "file_hash": "seen"} | options
    return m.Start(attempt_id, nonce, **launch)
