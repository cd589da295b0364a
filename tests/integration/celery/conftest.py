"""Redis servers and executors that end with their test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.redis_server import RedisServer

sys.path.insert(0, str(Path(__file__).parent))

from celery_host import make_executor
from worker_host import Broker

from executors.celery.executor import CeleryExecutor
from tests.integration.worker_http.conftest import api, office, tokens, world

__all__ = ["api", "office", "tokens", "world"]


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One for tests that do it no harm."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One for this test alone, which may kill it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """What stands for the task API."""
    folder = tmp_path / "table"
    folder.mkdir()
    return folder


@pytest.fixture
def started() -> Iterator[Callable[..., CeleryExecutor]]:
    """Makes executors that are started, and terminated in the end; arguments as of ``make_executor``."""
    made: list[CeleryExecutor] = []

    def make(*args: object, **options: Any) -> CeleryExecutor:
        made.append(make_executor(*args, **options))
        made[-1].start()
        return made[-1]

    yield make
    for executor in made:
        executor.terminate()


@pytest.fixture
def broker(own_redis: RedisServer) -> Iterator[Broker]:
    """Writes to ``own_redis``."""
    made = Broker(own_redis)
    yield made
    made.close()
