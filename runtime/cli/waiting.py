"""``dags trigger --wait``: look at a run until it is over, with a progress bar where somebody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runtime.cli.output import colours, stderr_is_terminal
from runtime.core import clock
from runtime.core.states import RUN_FINISHED, TASK_FINISHED, TaskState
from runtime.db import queries

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.engine import Database

FIRST_POLL, SLOWEST_POLL = 0.05, 1.0
"""Seconds between two looks: short runs are seen at once, long ones cost little."""


def wait_for_run(settings: Settings, database: Database, dag_run_id: int, title: str) -> None:
    """Return when the run is over. Says once on stderr when no scheduler is there to run it."""
    watch = _bar if stderr_is_terminal() else _silent
    warn_without_scheduler(settings, database)
    watch(database, dag_run_id, title)


def warn_without_scheduler(settings: Settings, database: Database) -> None:
    """Say on stderr when no scheduler is there to do what is waited for."""
    since = clock.now() - int(settings.scheduler.scheduler_health_check_threshold * clock.SECOND)
    with database.read() as connection:
        if not queries.live_schedulers(connection, since=since):
            print("hybrid: no scheduler is running; waiting for one (`hybrid scheduler`)", file=sys.stderr)


def _progress(database: Database, dag_run_id: int) -> Iterator[dict[str, int]]:
    """Counts by task state, until the run is over."""
    pause = FIRST_POLL
    while True:
        with database.read() as connection:
            counts = queries.run_progress(connection, dag_run_id)
            state = queries.run_state(connection, dag_run_id)["state"]
        yield counts
        if state in RUN_FINISHED:
            return
        time.sleep(pause)
        pause = min(pause * 1.3, SLOWEST_POLL)


def _silent(database: Database, dag_run_id: int, title: str) -> None:
    for _ in _progress(database, dag_run_id):
        pass


def _bar(database: Database, dag_run_id: int, title: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color=not colours(sys.stderr))
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[states]}"), console=console, transient=True) as progress:
        bar = progress.add_task(title, total=None, states="")
        for counts in _progress(database, dag_run_id):
            finished = sum(count for state, count in counts.items() if TaskState(state) in TASK_FINISHED)
            progress.update(bar, total=sum(counts.values()) or None, completed=finished, states=_summary(counts))


def _summary(counts: dict[str, int]) -> str:
    return " · ".join(f"{counts[state]} {state}" for state in map(str, TaskState) if counts.get(state))
