"""The executor with a host around it that is made of files: an attempt reports by leaving one."""

from __future__ import annotations

import json
import select
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from executors.context import ExecutorContext
from executors.events import ExecutorEvent, Failed, Lost, Succeeded
from executors.kubernetes.executor import KubernetesExecutor
from executors.workload import CodeReference, TaskInstanceKey, Workload

PATIENCE = 30.0
REPORT = '"$@" && touch "$HYBRID_TEST_REPORT"'


class HostedKubernetesExecutor(KubernetesExecutor):
    """Told of reports as the scheduler does it, which also looks for one before it believes in an end without."""

    @property
    def table(self) -> Path:
        return Path(self.context.worker_config["table"])

    def sync(self) -> None:
        try:
            super().sync()
        finally:
            for key in list(self.running):
                if self._has_reported(key):
                    self.reported(key)

    def _end(self, event: Succeeded | Failed | Lost) -> None:
        has_reported = not isinstance(event, Succeeded) and self._has_reported(event.key)
        super()._end(Succeeded(event.key) if has_reported else event)

    def _has_reported(self, key: TaskInstanceKey) -> bool:
        return (self.table / f"{key.attempt_id}.reported").exists()


def make_executor(
    kubeconfig: Path,
    table: Path,
    parallelism: int = 0,
    name: str = "KubernetesExecutor",
    cls: type[KubernetesExecutor] = HostedKubernetesExecutor,
    context: dict[str, Any] | None = None,
    **options: str,
) -> KubernetesExecutor:
    """Not started. ``context``: further fields of it."""
    table.mkdir(exist_ok=True)
    own = {
        "in_cluster": "False",
        "config_file": str(kubeconfig),
        "worker_container_repository": "tests/image",
        "delete_option_kwargs": json.dumps({"grace_period_seconds": 1}),
        **options,
    }
    config = {"table": str(table), "task_api_url": "http://127.0.0.1:1"}
    made = ExecutorContext(name=name, options=own, worker_config=config, **(context or {}))
    return cls(parallelism, context=made)


def reporting(table: Path, attempt_id: str, command: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    """A command, and its environment, that reports once ``command`` has ended well."""
    env = {"HYBRID_TEST_REPORT": str(table / f"{attempt_id}.reported"), "HYBRID_START_TICKET": "hidden-ticket"}
    return ("/bin/sh", "-c", REPORT, "sh", *command), env


def make_workload(table: Path, *command: str, task_id: str = "task", reports: bool = True, **fields: Any) -> Workload:
    """An attempt that runs ``command``, and reports its success unless it shall not."""
    key = TaskInstanceKey("dag", task_id, "run", attempt_id=str(uuid.uuid4()))
    words, env = reporting(table, key.attempt_id, command or ("true",))
    if not reports:
        words = command
    return Workload(key, words, CodeReference("file.py", "0"), env=env, **fields)


@contextmanager
def started(executor: KubernetesExecutor) -> Iterator[Any]:
    """Started; terminated in the end, with nothing of it left."""
    executor.start()
    try:
        yield executor
    finally:
        executor.terminate()
        closing = f"{executor.name}-closing"
        wait_until(lambda: closing not in {thread.name for thread in threading.enumerate()})


def python(text: str) -> tuple[str, ...]:
    """A command that runs it."""
    return (sys.executable, "-S", "-c", text)


def wait_until(condition: Callable[[], object], told: Callable[[], str] = str) -> None:
    """Raises ``AssertionError`` with what ``told`` says where it never comes true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {told()}"
        select.select([], [], [], 0.01)


def drive(executor: KubernetesExecutor, condition: Callable[[list[ExecutorEvent]], object]) -> list[ExecutorEvent]:
    """Heartbeats, whatever they raise, until it comes true of the events so far; all of them."""
    events: list[ExecutorEvent] = []

    def beat() -> object:
        try:
            executor.heartbeat()
        except Exception as error:
            print(error)
        events.extend(executor.get_event_buffer())
        return condition(events)

    wait_until(beat, executor.debug_dump)
    return events
