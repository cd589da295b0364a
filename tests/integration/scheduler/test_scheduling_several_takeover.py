"""How soon another scheduler decides for the runs of a dead one: real processes, options as shipped."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from runtime.core.clock import now as clock_now
from runtime.db.engine import Database
from runtime.db.hints import send_hint
from runtime.db.schema import dag_run, executor_status, scheduler, task_attempt
from tests.database.builders import World, spec, task

MOST = 15.0
PATIENCE = 40.0
EXECUTOR = "quiet:executors.testing.ScriptedExecutor"
"""Takes everything and ends nothing: the tests are its workers."""


class Processes(World):
    """``hybrid scheduler`` processes on one PostgreSQL database; the test is their workers."""

    def __init__(self, url: str, home: Path) -> None:
        super().__init__(Database(url), registered=False)
        self.home = home
        self.environment = os.environ | {
            "HYBRID_HOME": str(home),
            "HYBRID__DATABASE__SQL_ALCHEMY_CONN": url,
            "HYBRID__CORE__EXECUTOR": EXECUTOR,
        }

    def clock(self) -> int:
        return clock_now()

    @contextmanager
    def scheduler(self, hostname: str = "") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
        """One that has begun, and its id; killed at the end.

        :param hostname: the host that it is to be believed to be on, where nobody here can see its process.
        """
        before = {row.id for row in self.rows(scheduler)}
        words = [sys.executable, "-m", "runtime.cli.main", "scheduler"]
        with (self.home / f"scheduler-{len(before)}.log").open("wb") as log:
            process = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)
        try:
            (identifier,) = self.until(lambda: {row.id for row in self.rows(scheduler)} - before, "a scheduler")
            self.until(lambda: self.rows(executor_status, executor_status.c.scheduler_id == identifier), "its executor")
            if hostname:
                with self.database.write() as connection:
                    connection.execute(update(scheduler).where(scheduler.c.id == identifier).values(hostname=hostname))
            yield identifier, process
        finally:
            process.kill()
            process.wait()

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
            select.select([], [], [], 0.01)
        return found

    def chain_of(self, owner: str) -> int:
        """A run of ``a`` and then ``b``, whose ``a`` was queued by the scheduler ``owner`` and runs; its id.

        Others may get a run first: they do not know yet that ``owner`` has joined them.
        """
        while True:
            run = self.trigger("chain").id
            send_hint(self.database, self.home)
            (found,) = self.until(lambda run=run: self.rows(task_attempt, task_attempt.c.dag_run_id == run), "its a")
            if found.scheduler_id == owner:
                assert self.start(found.id).granted
                return run
            self.until(lambda other=found.scheduler_id: self.knows(other), "a look at who else is there")

    def knows(self, identifier: str) -> bool:
        """Whether this scheduler has renewed its lease, and looked at the others, since the last one of them began."""
        rows = self.rows(scheduler)
        return next(row.heartbeat_at for row in rows if row.id == identifier) > max(row.started_at for row in rows)

    def end_a(self, run: int) -> None:
        """The worker of ``a`` reports, to nobody in particular."""
        self.finish(self.ti("a", run).attempt_id)

    def next_by(self, run: int) -> str | None:
        """Who has queued ``b``."""
        found = self.rows(task_attempt, task_attempt.c.dag_run_id == run, task_attempt.c.try_number == 1)
        return next((row.scheduler_id for row in found if row.task_instance_id == self.ti("b", run).id), None)


@pytest.fixture
def processes(new_url: Callable[..., str], home: Path) -> Iterator[Processes]:
    made = Processes(new_url("postgresql"), home)
    yield made
    made.database.close()


@pytest.mark.timed
def test_a_killed_scheduler_is_replaced_soon(processes: Processes) -> None:
    """From SIGKILL until another one has applied a report and queued the next task. One is of this host, of the other
    only its lease tells, which was renewed a moment ago: the worst case."""
    processes.save(spec("chain", task("a"), task("b", "a")))
    with ExitStack() as stack:
        near, near_process = stack.enter_context(processes.scheduler())
        run_near = processes.chain_of(near)
        far, far_process = stack.enter_context(processes.scheduler("elsewhere"))
        run_far = processes.chain_of(far)
        heir, _ = stack.enter_context(processes.scheduler())

        def expiry() -> int:
            return processes.row(scheduler, scheduler.c.id == far).lease_expires_at

        before = expiry()
        processes.until(lambda: expiry() > before, "a renewal")
        killed = time.monotonic()
        near_process.kill()
        far_process.kill()
        for run in (run_near, run_far):
            processes.end_a(run)
        seconds = {}
        for name, run in (("this host", run_near), ("another host", run_far)):
            assert processes.until(lambda run=run: processes.next_by(run), f"b of {name}") == heir
            seconds[name] = time.monotonic() - killed
    print(f"a dead scheduler's runs are decided by another one after {seconds} s")
    assert processes.row(dag_run, dag_run.c.id == run_far).lease_epoch == 2
    assert seconds["this host"] <= MOST / 3
    assert seconds["another host"] <= MOST
