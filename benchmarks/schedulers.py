"""Two ``hybrid scheduler`` processes on one PostgreSQL against one: tasks per second of an executor that does nothing.

Several runs wait at once. Both measurements are made in turns, each with processes of its own and after a warm-up, so
that a machine that is slow for a minute is slow for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks.figures import Figure, summary
from benchmarks.null_scheduler import ENVIRONMENT, save_dag
from benchmarks.plan import Plan
from benchmarks.postgres import POSTGRESQL, databases, kinds
from benchmarks.processes import BenchmarkError, environment, hybrid, last_lines, running
from runtime.config import load
from runtime.core import clock
from runtime.db.engine import Database, open_database
from runtime.db.hints import send_hint
from runtime.db.migrate import migrate
from runtime.db.runs import create_manual_run
from runtime.db.schema import dag_run, executor_status, run_is_open, scheduler, task_attempt

SHAPE = "layers"
_PATIENCE = 120.0
_LOOK = 0.005
"""Seconds between two looks at the DB: the resolution of a measurement of seconds."""


def schedulers(plan: Plan) -> Iterator[Figure]:
    """Nothing where there is no PostgreSQL: two schedulers on SQLite share one lock."""
    if POSTGRESQL not in kinds():
        return
    rates: dict[int, list[float]] = {1: [], 2: []}
    shares = []
    with databases(POSTGRESQL) as create:
        for _ in range(plan.sizes.repeats):
            for count, found in rates.items():
                rate, share = _measure(plan, create, count)
                found.append(rate)
                shares += [share] if count == 2 else []
    ratios = tuple(two / one for one, two in zip(rates[1], rates[2], strict=True))
    what = f"{plan.sizes.shared_runs} runs of {plan.sizes.shared_tasks} tasks"
    yield Figure("schedulers.one", f"one scheduler on PostgreSQL, {what}", "tasks/s", tuple(rates[1]))
    yield Figure("schedulers.two", "  two schedulers", "tasks/s", tuple(rates[2]))
    yield Figure("schedulers.ratio", "  two over one", "x", ratios, {"smaller_share_percent": summary(shares)})


def _measure(plan: Plan, create: Callable[[Path], str], count: int) -> tuple[float, float]:
    """Tasks per second of ``count`` schedulers, and the percentage of them that the one with the fewest had."""
    sizes = plan.sizes
    with plan.folder(f"schedulers-{count}") as home, ExitStack() as stack:
        variables = ENVIRONMENT | {"HYBRID_HOME": str(home), "HYBRID__DATABASE__SQL_ALCHEMY_CONN": create(home)}
        settings = load(home, env=variables)
        migrate(settings)
        database = open_database(settings)
        stack.callback(database.close)
        save_dag(database, SHAPE, sizes.shared_tasks, runs=sizes.shared_runs)
        outputs = [home / f"scheduler-{number}.out" for number in range(count)]
        for output in outputs:
            stack.enter_context(running(hybrid("scheduler"), env=environment(variables), output=output))
        _wait(lambda: _are_ready(database, count), "the schedulers to begin", outputs)
        _run(database, home, sizes.shared_runs, f"{SHAPE}-{sizes.shared_tasks}", outputs)
        before = _attempts(database)
        seconds = _run(database, home, sizes.shared_runs, f"{SHAPE}-{sizes.shared_tasks}", outputs)
        counts = {owner: total - before.get(owner, 0) for owner, total in _attempts(database).items()}
    smallest = min(counts.values()) if len(counts) == count else 0
    return sum(counts.values()) / seconds, 100 * smallest / sum(counts.values())


def _run(database: Database, home: Path, runs: int, dag_id: str, outputs: list[Path]) -> float:
    """Seconds from the insert of ``runs`` runs until all have ended."""
    began = time.perf_counter()
    with database.write() as connection:
        for number in range(runs):
            run_id = f"{clock.now()}-{number}"
            create_manual_run(connection, dag_id=dag_id, run_id=run_id, conf={}, logical_date=None, now=clock.now())
    send_hint(database, home)
    _wait(
        lambda: _one(database, select(func.count()).where(run_is_open).select_from(dag_run)) == 0,
        "the runs to end",
        outputs,
    )
    return time.perf_counter() - began


def _are_ready(database: Database, count: int) -> bool:
    """Whether so many have begun, each has an executor, and has looked who else is there: with each renewal."""
    latest = select(func.max(scheduler.c.started_at)).scalar_subquery()
    query = (
        select(func.count())
        .join_from(scheduler, executor_status, executor_status.c.scheduler_id == scheduler.c.id)
        .where(executor_status.c.health == "healthy", scheduler.c.heartbeat_at > latest)
    )
    return bool(_one(database, query) == count)


def _attempts(database: Database) -> dict[str, int]:
    """Attempts so far, by scheduler."""
    query = select(task_attempt.c.scheduler_id, func.count()).group_by(task_attempt.c.scheduler_id)
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def _one(database: Database, query: Any) -> Any:
    with database.read() as connection:
        return connection.execute(query).scalar_one()


def _wait(condition: Callable[[], bool], what: str, outputs: list[Path]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            said = "\n".join(last_lines(output) for output in outputs)
            raise BenchmarkError(f"waited {_PATIENCE:g} s for {what}; the schedulers said:\n{said}")
        time.sleep(_LOOK)
