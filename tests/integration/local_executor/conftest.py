"""Makes executors, and proves after each test that nothing of them is left."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from local_host import Host, alive

from executors import ExecutorContext
from executors.local.executor import LocalExecutor
from executors.local.zygote import children

Answer = Callable[[Sequence[bytes]], list[bytes]]
HostMaker = Callable[..., Host]


def answer_all(requests: Sequence[bytes]) -> list[bytes]:
    """A task service."""
    return [b"answer to " + request[:20] for request in requests]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostMaker]:
    """Make started executors; they are terminated after the test, and must leave no process, descriptor, thread."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    before = _resources()
    hosts: list[Host] = []
    seen: set[int] = set()

    def make(
        parallelism: int = 2,
        *,
        service: Answer = answer_all,
        entry: str = "local_entry:serve",
        start: bool = True,
        cls: type[LocalExecutor] = LocalExecutor,
        **options: str,
    ) -> Host:
        context = ExecutorContext(
            name="local", options=options, task_service=service, worker_entry=entry, worker_config={"home": "/h"}
        )
        made = Host(cls(parallelism, context=context))
        hosts.append(made)
        if start:
            made.executor.start()
        return made

    yield make
    for made in hosts:
        seen.update(made.worker_pids)
        made.executor.terminate()
    # What others left to the garbage collector may go meanwhile.
    assert not _resources() - before
    assert not [pid for pid in seen if alive(pid)]


def _resources() -> Counter[str]:
    """Descriptors, threads and children of this process."""
    fds = [f"{fd} {target}" for fd in os.listdir("/proc/self/fd") if (target := _target(fd))]
    threads = [f"thread {thread.name}" for thread in threading.enumerate()]
    return Counter([*fds, *threads, *(f"child {pid}" for pid in children())])


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""
