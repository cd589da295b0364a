"""A real deployment: ``hybrid standalone`` on SQLite in a home of its own, driven through its metadata DB."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select

from benchmarks.processes import BenchmarkError, environment, hybrid, last_lines, running
from runtime.config import load
from runtime.core import clock
from runtime.core.states import RUN_FINISHED, RunState
from runtime.db import queries
from runtime.db.engine import Database, open_database
from runtime.db.hints import send_hint
from runtime.db.runs import create_manual_run, set_paused
from runtime.db.schema import dag_run

Answer = TypeVar("Answer")

BANNER = b"hybrid is ready"
START_TIMEOUT = 60.0
RUN_TIMEOUT = 180.0
_LOOK = 0.002
"""Seconds between two looks at a start-up: it is what the figure is exact to."""
_POLL = 0.05
"""Seconds between two looks at a run: its times come from the DB, and a look costs the two cores next to nothing."""


@dataclass(frozen=True)
class Deployment:
    """A running one; see :func:`deployed`."""

    home: Path
    process: subprocess.Popen[bytes]
    database: Database
    started_at: int
    """Microseconds UTC: before its process was started."""
    ready_seconds: float

    def wait_for_dags(self, *names: str) -> None:
        """Until they are parsed. Raises :class:`BenchmarkError`."""
        self.until(f"DAGs {', '.join(names)}", lambda: set(names) <= self._dags(), START_TIMEOUT, _LOOK)

    def _dags(self) -> set[str]:
        with self.database.read() as connection:
            return {str(row["dag_id"]) for row in queries.list_dags(connection)}

    def unpause(self, dag_id: str) -> None:
        """As ``hybrid dags unpause`` does."""
        with self.database.write() as connection:
            set_paused(connection, dag_id, False)

    def run(self, dag_id: str, runs: int = 1) -> list[int]:
        """Trigger ``runs`` runs, each as ``hybrid dags trigger`` does, and wait for them; their row ids.

        Raises :class:`BenchmarkError` when one fails or takes longer than ``RUN_TIMEOUT``.
        """
        created = [self.trigger(dag_id) for _ in range(runs)]
        self.until(f"{runs} runs of {dag_id}", lambda: self._over(created), RUN_TIMEOUT, _POLL)
        return created

    def trigger(self, dag_id: str) -> int:
        with self.database.write() as connection:
            run = create_manual_run(connection, dag_id=dag_id, run_id=None, conf={}, logical_date=None, now=clock.now())
        send_hint(self.database, self.home)
        return run.id

    def _over(self, runs: Sequence[int]) -> bool:
        with self.database.read() as connection:
            states = connection.execute(select(dag_run.c.state).where(dag_run.c.id.in_(runs))).scalars().all()
        if RunState.FAILED in states:
            raise BenchmarkError(f"a run has failed; the deployment said:\n{last_lines(_output(self.home))}")
        return all(state in RUN_FINISHED for state in states)

    def until(self, what: str, done: Callable[[], bool], seconds: float, pause: float) -> None:
        """Wait for ``done``. Raises :class:`BenchmarkError` when it takes longer than ``seconds`` or all ends."""
        _wait(self.process, _output(self.home), what, done, seconds, pause)


@contextmanager
def deployed(
    home: Path,
    *,
    dags: Path,
    options: Mapping[str, str] | None = None,
    sizes: Mapping[str, str] | None = None,
    words: Sequence[str] = (),
) -> Iterator[Deployment]:
    """Start ``hybrid standalone`` in a new ``home`` and end it afterwards.

    :param dags: folder whose DAG files are copied there.
    :param options: ``"section.option"`` → value.
    :param sizes: environment of the DAG files.
    :param words: further arguments of ``hybrid standalone``.
    """
    shutil.copytree(dags, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    variables = _variables(options or {})
    env = environment({"HYBRID_HOME": str(home), **variables, **(sizes or {})})
    started_at, started = clock.now(), time.monotonic()
    with running(hybrid("standalone", *words), env=env, output=_output(home)) as process:
        _wait(process, _output(home), "hybrid standalone", lambda: _is_ready(home), START_TIMEOUT, _LOOK)
        ready = time.monotonic() - started
        database = open_database(load(home, env=variables))
        try:
            yield Deployment(home, process, database, started_at, ready)
        finally:
            database.close()


def _variables(options: Mapping[str, str]) -> dict[str, str]:
    named = {"scheduler.shutdown_grace": "1", "api.port": "0", **options}
    return {f"HYBRID__{name.replace('.', '__').upper()}": value for name, value in named.items()}


def _output(home: Path) -> Path:
    return home / "standalone.log"


def _is_ready(home: Path) -> bool:
    return BANNER in _output(home).read_bytes()


def _wait(
    process: subprocess.Popen[bytes],
    output: Path,
    what: str,
    done: Callable[[], bool],
    seconds: float,
    pause: float,
) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if process.poll() is not None:
            raise BenchmarkError(f"hybrid standalone ended with exit code {process.returncode}:\n{last_lines(output)}")
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what}: not there after {seconds:g} s; the log says:\n{last_lines(output)}")
        time.sleep(pause)
