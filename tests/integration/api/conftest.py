"""A real server over a real database, and attempts that it may be asked about."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from calling import KEY, Caller

from runtime.api.embedded import serve
from runtime.config import Settings, load
from runtime.db.engine import Database
from runtime.scheduler.runs import Instance
from runtime.tokens.tokens import Tokens
from tests.database.builders import World, task


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Return when the condition holds; fail after half a minute."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            select.select([], [], [], 0.01)

    return wait


@pytest.fixture
def options(home: Path) -> Settings:
    """Settings for a server: defaults, with a home for its hints."""
    return load()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(KEY)


@pytest.fixture
def api(
    options: Settings, database: Database, tokens: Tokens, wait_until: Callable[[Callable[[], object]], None]
) -> Iterator[Caller]:
    """A server; when it has ended no thread of it is left."""
    before = set(threading.enumerate())
    with serve(options, database, tokens) as url:
        yield Caller(url, tokens)
    wait_until(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def instance(world: World) -> Instance:
    """Of a task with one retry, nothing of it has been dispatched."""
    return next(iter(world.begin(task("t", retries=1)).instances.values()))


@pytest.fixture
def queued(world: World, instance: Instance) -> str:
    """Id of an attempt that may start."""
    return world.queue(instance)


@pytest.fixture
def running(world: World, queued: str) -> str:
    """Id of an attempt that launch ``n1`` was granted."""
    assert world.start(queued).granted
    return queued
