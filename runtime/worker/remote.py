"""Runs attempts over HTTP, one after the other, in the warm process of somebody else's worker (a Celery child, say).

Each attempt is a fork of this process, made before the thread that speaks HTTP is started, and that thread ends with
the attempt: a process with threads is never forked. Its connection stays, for the next attempt. What to run is known
only when the start is granted; the child has inherited the files of earlier attempts, and imports one that is not among
them by itself. This process imports such a file afterwards, for the next attempt.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from runtime.authoring.loader import LoadedFile
from runtime.core.ids import is_uuid
from runtime.core.messages import RunContext
from runtime.log.capture import AttemptLog
from runtime.worker.api_client import ApiClient, new_connection
from runtime.worker.attempt import Process
from runtime.worker.child import Child, fork_child
from runtime.worker.code import CodeCache
from runtime.worker.credentials import Credentials
from runtime.worker.endpoint import parse_endpoint
from runtime.worker.http_reporter import HttpReporter
from runtime.worker.linux import adopt_orphans, boot_id, boottime, set_dumpable, sweep_children
from runtime.worker.loop import Loop
from runtime.worker.session import Host
from runtime.worker.settings import WorkerSettings, read_settings
from runtime.worker.supervisor import Supervisor

log = logging.getLogger(__name__)
_LONGEST_WAIT = 1.0
"""While an attempt runs: ``poll`` sleeps by a clock that stands still while the host is suspended."""


def open_worker(
    config: Mapping[str, str], host: int | None = None, hear_host: Callable[[], None] = lambda: None
) -> RemoteWorker:
    """See :class:`RemoteWorker`. Raises ``ConfigError``."""
    settings = read_settings(config)
    return RemoteWorker(settings, config["task_api_url"], float(config["task_api_timeout"]), host, hear_host)


class RemoteWorker:
    """One per process, which has one thread while no attempt runs.

    :param timeout: seconds that one request may take.
    :param host: descriptor of whoever gives it attempts, which no attempt may inherit; ``hear_host`` is called when it
        is readable while an attempt runs.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        url: str,
        timeout: float,
        host: int | None = None,
        hear_host: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._host_line, self._hear_host = host, hear_host
        self._endpoint = parse_endpoint(url)
        self._timeout = timeout
        self._host = Host(socket.gethostname(), boot_id())
        self._code = CodeCache(settings)
        self._log = AttemptLog(settings.log_level)
        self._connection = new_connection(self._endpoint, timeout)
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._orders: list[str] = []
        adopt_orphans()
        set_dumpable(False)
        # Once: what attempts leave behind here would otherwise be frozen too, and never be collected.
        gc.collect()
        gc.freeze()

    def run(self, attempt_id: str, ticket: str) -> tuple[bool, str]:
        """Run one attempt; return when nothing of it runs any more and its report has been taken, or is hopeless.

        Returns whether the task API has taken a report, whatever that says, and else why not. Raises ``OSError`` where
        nothing has begun and another worker may do better: no process can be made, or the task API gave no answer to
        the start.
        """
        if not is_uuid(attempt_id):
            return False, "this is no attempt id"
        self._orders.clear()
        with suppress(BlockingIOError):
            os.eventfd_read(self._wakeup)
        loop = Loop()
        reporter = self._reporter(loop, Credentials(ticket))
        held = self._code.held()
        try:
            child = self._fork(reporter)
            attempt = Supervisor(
                attempt_id, self._settings, "", partial(_among, held), child, loop, self._host, reporter
            )
            self._watch(attempt, loop)
        finally:
            while not sweep_children():
                time.sleep(0.001)
            if not reporter.close():
                self._connection = new_connection(self._endpoint, self._timeout)
        session = attempt.session
        if session.run is None and session.refusal is None:
            raise ConnectionError(session.lost or "the task API was not asked")
        self._remember(session.run)
        assert attempt.end is not None
        return attempt.end

    def stop(self, reason: str, *, kill: bool = False) -> None:
        """Stop the attempt that runs, with the grace of a task that is killed, or at once. Safe in a signal handler."""
        self._orders.append("" if kill else reason)
        os.eventfd_write(self._wakeup, 1)

    def _reporter(self, loop: Loop, credentials: Credentials) -> HttpReporter:
        return HttpReporter(
            lambda: ApiClient(self._endpoint, credentials, self._timeout, self._connection),
            loop,
            patience=self._settings.heartbeat_timeout,
            say=lambda text: log.warning("%s", text),
        )

    def _fork(self, reporter: HttpReporter) -> Child:
        def prepare() -> None:
            set_dumpable(True)  # who looks for what an attempt left behind reads ``/proc/PID/environ``
            for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(number, signal.SIG_DFL)
            self._log.install()

        process = Process(self._settings, self._log, self._code.held())
        kept = self._connection.sock.fileno() if self._connection.sock is not None else None
        foreign = (reporter.fileno(), self._wakeup, kept, self._host_line)
        return fork_child(process, [number for number in foreign if number is not None], prepare)

    def _watch(self, attempt: Supervisor, loop: Loop) -> None:
        loop.watch(self._wakeup, lambda: self._obey(attempt))
        if self._host_line is not None:
            loop.watch(self._host_line, self._hear_host)
        attempt.start()
        while attempt.end is None:
            loop.turn(min(_LONGEST_WAIT, max(0.0, attempt.wake_at - boottime())))
            now = boottime()
            if now >= attempt.wake_at:
                attempt.tick(now)
        loop.unwatch(self._wakeup)
        if self._host_line is not None:
            loop.unwatch(self._host_line)

    def _obey(self, attempt: Supervisor) -> None:
        os.eventfd_read(self._wakeup)
        while self._orders:
            reason = self._orders.pop(0)
            attempt.stop(reason or "its worker was killed")
            if not reason:
                attempt.kill()

    def _remember(self, run: RunContext | None) -> None:
        """Import what this attempt had to import by itself."""
        if run is not None and self._settings.task_isolation != "spawn":
            self._code.get(run.rel_path, run.file_hash)


def _among(held: Mapping[str, LoadedFile], run: RunContext) -> LoadedFile | None:
    """Only in the version that was asked for: whoever imports another one decides what to do about that."""
    loaded = held.get(run.rel_path)
    return loaded if loaded is not None and loaded.file_hash == run.file_hash else None
