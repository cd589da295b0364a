"""A Celery worker of ours: its pool, its signals, what it answers to. Imports Celery."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from celery import signals
from celery.apps.worker import Worker
from celery.concurrency import prefork
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.platforms import EX_OK
from celery.worker import state
from celery.worker.control import Panel

from executors.celery.app import make_app
from executors.celery.consuming import HybridConsumer
from executors.celery.messages import DECLARE
from executors.celery.options import read_options
from executors.celery.orphans import adopt_orphans, kill_orphans
from executors.celery.tasks import Hand, add_task, find_entry
from executors.context import ExecutorContext

LOST_SECONDS = 2.0
"""For which the result of a process of the pool that was killed is waited for."""
UP_SECONDS = 60.0
"""In which a new process of the pool must say that it lives: on a busy machine Celery's 4 s are few."""
_DANGEROUS = ("pool_restart", "memdump", "memsample", "objgraph", "election", "rate_limit", "time_limit")
"""Commands by which who can write to the broker could make a worker import modules, or hold up its work."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerOptions:
    """What ``hybrid celery worker`` was told."""

    node: str
    """Its name: ``name@host``."""
    queues: Sequence[str]
    """The broker's names."""
    concurrency: int
    autoscale: tuple[int, int] | None = None
    """Most, and least, processes."""
    tend: Callable[[], None] = field(default=lambda: None)
    """Called about once a second, in the main thread."""


def run_worker(context: ExecutorContext, options: WorkerOptions, ready: Callable[[], None]) -> int:
    """Work until a signal, or a command, ends it; the exit code. Raises :class:`ExecutorConfigError`.

    :param ready: called when nothing of the configuration can be wrong any more; the broker need not answer yet.
    """
    settings = read_options(context.options, context.name)
    entry = find_entry(context.remote_worker_entry)
    app = make_app(context.options, context.name)
    app.conf.update(
        broker_connection_max_retries=None,
        worker_proc_alive_timeout=UP_SECONDS,
        worker_lost_wait=LOST_SECONDS,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Else a worker that has lost Redis and found it again fetches messages that must wait for what runs.
        worker_disable_prefetch=settings.broker.is_redis and settings.prefetch_multiplier == 1,
    )
    hand = Hand(lambda: entry(context.worker_config))
    add_task(app, hand)
    _use(hand)
    _answer_with(context.declared)
    worker = HybridWorker(
        app=app,
        hostname=options.node,
        queues=list(options.queues),
        concurrency=options.concurrency,
        autoscale=options.autoscale,
        pool_cls=prefork.TaskPool,
        consumer_cls=HybridConsumer,
        optimization="fair",
        loglevel=logging.getLogger().level,
        without_gossip=True,
        without_mingle=True,
    )
    worker.host_tends = options.tend
    adopt_orphans()
    ready()
    worker.start()
    return int(worker.exitcode or 0)


def _use(hand: Hand) -> None:
    """Celery's settings of a whole process."""
    warnings.simplefilter("ignore", SecurityWarning)  # of root, who could be made to unpickle things: nothing is here
    signals.setup_logging.connect(_keep_logging, weak=False)
    signals.worker_process_init.connect(hand.begin, weak=False)
    signals.worker_process_init.connect(_name_child, weak=False)
    for name in _DANGEROUS:
        Panel.data.pop(name, None)
    for name in ("celery.worker.strategy", "celery.app.trace"):  # two lines for each attempt
        logging.getLogger(name).setLevel(logging.WARNING)


def _answer_with(declare: Callable[[], Mapping[str, str]]) -> None:
    """Have the worker say what it runs with, to whoever asks; whatever comes with the question is not looked at."""

    def answer(state: Any, **_: Any) -> dict[str, Any]:
        return {"declared": dict(declare()), "now": time.time()}

    Panel.register(name=DECLARE, type="inspect")(answer)


def _keep_logging(**_: Any) -> None:
    """The host has set it up."""


def _name_child(sender: str = "", **_: Any) -> None:
    _set_title(f"hybrid celery-child {sender}")


class HybridWorker(Worker):  # type: ignore[misc]
    """A first signal lets what runs end, a second one stops it, a third one kills it."""

    host_tends: Callable[[], None] = staticmethod(lambda: None)
    _signals = 0

    def tend(self) -> None:
        """About once a second."""
        self.host_tends()
        kill_orphans()

    def on_start(self) -> None:
        """Before the pool is forked: what was imported is not to be copied by collections."""
        super().on_start()
        warnings.simplefilter("ignore", CPendingDeprecationWarning)  # Celery has just said "always"
        gc.collect()
        gc.freeze()

    def emit_banner(self) -> None:
        """One line in the log."""
        queues = ", ".join(sorted(self.app.amqp.queues.consume_from))
        most = self.max_concurrency or self.concurrency
        log.info("worker %s: %d processes, queues %s", self.hostname, most, queues)

    def set_process_status(self, info: str) -> None:
        """For ``ps``."""
        _set_title(f"hybrid celery-worker {self.hostname}")

    def install_platform_tweaks(self, worker: Any) -> None:
        """Instead of Celery's: it ignores a second SIGTERM."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals == 1:
            _say("stopping; running attempts may end (a second signal stops them)")
            state.should_stop = EX_OK
            return
        _say("stopping the running attempts" if self._signals == 2 else "killing the running attempts")
        for request in tuple(state.active_requests):
            with suppress(ProcessLookupError, TypeError):
                os.kill(request.worker_pid, signal.SIGTERM if self._signals == 2 else signal.SIGKILL)


def _say(text: str) -> None:
    """From within a signal handler, where logging may hold its lock."""
    with suppress(OSError):
        os.write(2, f"hybrid celery worker: {text}\n".encode())


def _set_title(title: str) -> None:
    with suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(title)
