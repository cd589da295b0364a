"""The one task of a worker, and the pool's processes that perform it. Imports Celery."""

from __future__ import annotations

import importlib
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from celery.exceptions import Reject
from celery.worker.request import Request

from executors.celery.messages import TASK_NAME
from executors.errors import ExecutorConfigError

if TYPE_CHECKING:
    from celery import Celery

STOPPED = "its Celery worker was stopped"
_PAUSE = 1.0
"""Seconds for which a process that cannot run anything keeps from taking the next message."""

log = logging.getLogger(__name__)


class Runner(Protocol):
    """What ``context.remote_worker_entry`` makes: one per process."""

    def run(self, attempt_id: str, ticket: str) -> tuple[bool, str]:
        """Run one attempt to its end. Raises ``OSError`` where nothing has begun and another worker may do better."""

    def stop(self, reason: str, *, kill: bool = False) -> None:
        """Stop it, with a task's grace or at once, and have it reported. Safe in a signal handler."""


def find_entry(path: str) -> Callable[[Mapping[str, str]], Runner]:
    """Import ``module:function``. Raises :class:`ExecutorConfigError`."""
    module, _, function = path.partition(":")
    if not function:
        raise ExecutorConfigError("this host has no entry point for remote workers")
    entry: Callable[[Mapping[str, str]], Runner] = getattr(importlib.import_module(module), function)
    return entry


class Hand:
    """Runs attempts in one process of the pool.

    :param make: called in that process, once.
    """

    def __init__(self, make: Callable[[], Runner]) -> None:
        self._make = make
        self._runner: Runner | None = None

    def begin(self, **_: Any) -> None:
        """Get ready: for Celery's signal ``worker_process_init``."""
        self._runner = self._make()

    def run(self, attempt_id: str, ticket: str) -> None:
        """Run one attempt. What became of it is said by its report; a second message of it must say nothing at all,
        so that Celery may store nothing of its returning. Raises Celery's ``Reject`` where the message must go back.
        """
        try:
            if self._runner is None:
                self.begin()
            assert self._runner is not None
            with _signal_stops(self._runner):
                ok, reason = self._runner.run(attempt_id, ticket)
        except OSError as error:
            log.warning("attempt %s goes back to its queue: %s", attempt_id, error)
            time.sleep(_PAUSE)
            raise Reject("nothing could be started", requeue=True) from None
        if not ok:
            log.info("attempt %s: %s", attempt_id, reason)


@contextmanager
def _signal_stops(runner: Runner) -> Iterator[None]:
    """Meanwhile SIGTERM stops the attempt; at other times it ends the process."""
    before = signal.signal(signal.SIGTERM, lambda *_: runner.stop(STOPPED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class TightLippedRequest(Request):  # type: ignore[misc]
    """What a worker tells of it, to whoever asks ``celery inspect active``, leaves the ticket out."""

    def info(self, safe: bool = False) -> dict[str, Any]:
        """As Celery's, where it is asked to be safe."""
        return {**super().info(safe=True), "args": self.argsrepr}


def add_task(app: Celery, hand: Hand) -> None:
    """Make ``hybrid.run`` the only task of ``app``: those that Celery adds by itself call others, as a message says."""
    app.task(
        hand.run,
        name=TASK_NAME,
        ignore_result=True,
        store_errors_even_if_ignored=True,  # the executor looks for attempts that an operator has revoked
        acks_late=True,
        acks_on_failure_or_timeout=True,
        reject_on_worker_lost=True,
        track_started=False,
        typing=False,
        Request=TightLippedRequest,
    )
    app.finalize()
    for name in set(app.tasks) - {TASK_NAME}:
        del app.tasks[name]
