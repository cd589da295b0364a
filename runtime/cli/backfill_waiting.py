"""``backfill create --wait``: look at a backfill until it is over, with a progress bar where somebody watches."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runtime.cli.output import colours, stderr_is_terminal
from runtime.cli.waiting import FIRST_POLL, SLOWEST_POLL, warn_without_scheduler
from runtime.db.backfills import backfill_progress, require_backfill

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.engine import Database

_OPEN = ("waiting", "queued", "running")


def wait_for_backfill(settings: Settings, database: Database, identifier: int, total: int) -> dict[str, int]:
    """Return how many of its dates came to which end, when it is over."""
    warn_without_scheduler(settings, database)
    counts: dict[str, int] = {}
    if not stderr_is_terminal():
        return deque(_progress(database, identifier), maxlen=1)[0]
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color=not colours(sys.stderr))
    columns = (TextColumn("backfill"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[states]}"), console=console, transient=True) as progress:
        bar = progress.add_task("", total=total, states="")
        for counts in _progress(database, identifier):
            done = sum(number for state, number in counts.items() if state not in _OPEN)
            states = " · ".join(f"{number} {state}" for state, number in sorted(counts.items()))
            progress.update(bar, completed=done, states=states)
    return counts


def _progress(database: Database, identifier: int) -> Iterator[dict[str, int]]:
    """Counts by what became of the dates, until it is over."""
    pause = FIRST_POLL
    while True:
        with database.read() as connection:
            over = require_backfill(connection, identifier).completed_at is not None
            counts = backfill_progress(connection, identifier)
        yield counts
        if over:
            return
        time.sleep(pause)
        pause = min(pause * 1.3, SLOWEST_POLL)
