"""The executor with a host around it that is made of files, and workers to go with it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from executors.celery.executor import CeleryExecutor
from executors.context import ExecutorContext
from executors.events import ExecutorEvent
from executors.workload import CodeReference, TaskInstanceKey, Workload

PATIENCE = 30.0
ROOT = Path(__file__).resolve().parents[3]


class HostedCeleryExecutor(CeleryExecutor):
    """Told of reports, as the scheduler does it; a revoked attempt's worker is refused its next heartbeat."""

    @property
    def table(self) -> Path:
        return Path(self.context.worker_config["table"])

    def sync(self) -> None:
        super().sync()
        for key in list(self.running):
            if (self.table / f"{key.attempt_id}.reported").exists():
                self.reported(key)
            elif key in self.deliveries and (self.table / f"{key.attempt_id}.started").exists():
                self.started(key)

    def revoke_task(self, ti):
        super().revoke_task(ti)
        (self.table / f"{ti.key.attempt_id}.refused").touch()


def make_executor(
    url: str,
    table: Path,
    parallelism: int = 0,
    name: str = "CeleryExecutor",
    cls: type[CeleryExecutor] = HostedCeleryExecutor,
    **options: str,
) -> CeleryExecutor:
    """Not started."""
    table.mkdir(exist_ok=True)
    own = {"broker_url": url, "result_interval": "0.1", **options}
    return cls(parallelism, context=ExecutorContext(name=name, options=own, worker_config={"table": str(table)}))


def make_workload(table: Path, *command: str, task_id: str = "task", queue: str = "default", **fields: Any) -> Workload:
    """An attempt that runs ``command``, once a worker of that table has its message."""
    key = TaskInstanceKey("dag", task_id, "run", attempt_id=str(uuid.uuid4()))
    enter(table, key, command or ("true",))
    given = {"env": {"HYBRID_START_TICKET": "ticket"}, **fields}
    return Workload(key, tuple(command) or ("true",), CodeReference("file.py", "0"), queue=queue, **given)


def enter(table: Path, key: TaskInstanceKey, command: tuple[str, ...]) -> None:
    """Say what the attempt runs."""
    (table / f"{key.attempt_id}.json").write_text(json.dumps(command))


def starts(table: Path) -> list[str]:
    """The attempts that were started, as often as they were."""
    journal = table / "journal"
    return [line.split()[0] for line in journal.read_text().splitlines()] if journal.exists() else []


@contextmanager
def worker(options: Mapping[str, str], table: Path, name: str = "CeleryExecutor", concurrency: int = 3):
    """A worker process that is ready; it ends with the block."""
    table.mkdir(exist_ok=True)
    words = [sys.executable, str(Path(__file__).with_name("side_worker.py")), name, str(table), str(concurrency)]
    env = {**os.environ, "OPTIONS": json.dumps(dict(options)), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    log = table / f"worker-{uuid.uuid4()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        ready = table / f"ready-{process.pid}"
        wait_until(lambda: ready.exists() or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(condition: Callable[[], object], told: Callable[[], str] = str) -> None:
    """Raises ``AssertionError`` with what ``told`` says where it never comes true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {told()}"
        select.select([], [], [], 0.01)


def drive(executor: CeleryExecutor, condition: Callable[[], object]) -> list[ExecutorEvent]:
    """Heartbeats, whatever they raise, until it comes true; the events."""
    events: list[ExecutorEvent] = []

    def beat() -> object:
        try:
            executor.heartbeat()
        except Exception as error:
            print(error)
        events.extend(executor.get_event_buffer())
        return condition()

    wait_until(beat, executor.debug_dump)
    return events
