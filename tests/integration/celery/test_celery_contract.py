"""The executors' contract, kept by CeleryExecutor on a real Redis with real Celery workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery_host import enter, make_executor, worker

from executors.base import BaseExecutor
from executors.testing import ExecutorContract
from executors.workload import Workload
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def served(shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The table of a worker that reads the queues of ``shared_redis``."""
    table = tmp_path_factory.mktemp("table")
    with worker({"broker_url": shared_redis.url}, table):
        yield table


class TestCeleryExecutor(ExecutorContract):
    """Launches are commands that a worker finds in a table under the attempt's id."""

    adopts = True

    @pytest.fixture
    def executor(self, shared_redis: RedisServer, served: Path) -> Iterator[BaseExecutor]:
        self.table = served
        made = make_executor(shared_redis.url, served, 2)
        made.start()
        yield made
        made.terminate()

    def command_workload(self, deed: str, folder: Path, **fields: Any) -> Workload:
        workload = super().command_workload(deed, folder, **fields)
        enter(self.table, workload.key, workload.command)
        return workload if workload.env else replace(workload, env={"HYBRID_START_TICKET": "ticket"})
