"""What is left over where no table shows it: processes, messages, slots, files."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from deployment import wait_until_moment

from harness.plan import WORKERS
from harness.site import Site
from runtime.core.ids import is_uuid
from tests.redis_server import RedisServer

_MARK = b"HYBRID_ATTEMPT_ID="
_LOOK = 0.25
"""Seconds between two looks."""


def wait_until_idle(site: Site, patience: float) -> list[str]:
    """Wait until nothing is left of any attempt while everything still runs; what is left after ``patience`` seconds.

    What a killed Celery worker had taken is given out again when it is overdue, and kombu looks for that when a worker
    begins, and then only every 100 s. So the workers are restarted once, as an operator would.
    """
    deadline = time.monotonic() + patience
    restarted = False
    while left := list(left_over(site)):
        if time.monotonic() > deadline:
            return left
        if not restarted and site.has_overdue_messages():
            restarted = True
            for name in WORKERS:
                site.manager.end(name, signal.SIGTERM, 0.0)
        site.tend()
        wait_until_moment(time.monotonic() + _LOOK)
    return []


def left_over(site: Site) -> Iterator[str]:
    """One line for each thing."""
    yield from _rows(site)
    yield from of_attempts(site.processes())
    yield from in_broker(site.redis)
    yield from tickets(site.home / "run")


def _rows(site: Site) -> Iterator[str]:
    for row in site.query("SELECT * FROM run_inbox"):
        yield f"inbox row {row['id']} ({row['kind']}) of run {row['dag_run_id']}"
    live = site.query(
        "SELECT s.*, c.pid FROM executor_status s JOIN scheduler c ON c.id = s.scheduler_id WHERE c.ended_at IS NULL"
    )
    for row in live:
        if row["queued"] or row["running"]:
            yield f"{row['name']} of scheduler {row['pid']} holds {row['queued']} queued and {row['running']} running"


def of_attempts(processes: Iterable[psutil.Process]) -> Iterator[str]:
    """Those of them that belong to an attempt."""
    for process in processes:
        with suppress(psutil.Error, OSError):
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if any(entry.startswith(_MARK) for entry in environment.split(b"\0")):
                yield f"process {process.pid} of an attempt: {' '.join(process.cmdline())}"


def in_broker(redis: RedisServer) -> Iterator[str]:
    """Messages that nobody has taken, and those that somebody took and did not acknowledge."""
    if waiting := redis.call("LLEN", "default"):
        yield f"{waiting} messages in the queue of the broker"
    if held := redis.call("HLEN", "unacked"):
        yield f"{held} messages in the broker that a worker has taken and never acknowledged"


def tickets(folder: Path) -> Iterator[str]:
    """Files of launches."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if is_uuid(name.lstrip(".")[:36]):
                yield f"ticket {folder / name}"
