"""Makes schedulers, on each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.db.engine import Database
from tests.integration.scheduler.scheduling import Scheduling


@pytest.fixture
def scheduling(database: Database) -> Iterator[Callable[..., Scheduling]]:
    """Make a scheduler; its lanes are closed after the test."""
    made: list[Scheduling] = []

    def make(executors: dict[str, int] | None = None, **options: Any) -> Scheduling:
        made.append(Scheduling(database, executors, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def s(scheduling: Callable[..., Scheduling]) -> Scheduling:
    """A scheduler with one executor of 16 slots."""
    return scheduling()
