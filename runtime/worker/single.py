"""The process of ``hybrid tasks run``: supervises one attempt in a child of its own and reports over HTTP."""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
import traceback
from contextlib import suppress
from enum import IntEnum
from types import FrameType
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from runtime.config import Settings, load
from runtime.config.plugins import use_plugins
from runtime.config.worker import remote_worker_config
from runtime.core.errors import HybridError
from runtime.core.messages import RunContext
from runtime.core.task_api import TICKET_VARIABLE
from runtime.log.attempt_logs import format_line
from runtime.log.capture import AttemptLog
from runtime.log.following import Follower
from runtime.worker.attempt import Process, log_path
from runtime.worker.child import Child, fork_child
from runtime.worker.credentials import Credentials, read_ticket, remove_ticket, take_ticket
from runtime.worker.endpoint import parse_endpoint
from runtime.worker.http_reporter import HttpReporter
from runtime.worker.linux import adopt_orphans, boot_id, boottime, set_dumpable, sweep_children
from runtime.worker.loop import Loop
from runtime.worker.session import Host, Session
from runtime.worker.settings import WorkerSettings, read_settings
from runtime.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from runtime.worker.api_client import ApiClient

CONTAINER_VARIABLE = "HYBRID_IS_EXECUTOR_CONTAINER"
"""``True`` where an executor has made this container for the attempt: people look for its log on stdout, and SIGTERM
says that the container is taken away."""
_LONGEST_WAIT = 1.0
"""While an attempt runs: ``poll`` sleeps by a clock that stands still while the host is suspended."""


class Exit(IntEnum):
    """Exit codes. An executor may take 0 for a success, so only an accepted report of one gives it."""

    ENDED_WELL = 0
    """``success`` or ``skipped`` was reported and accepted."""
    FAILED = 1
    """A failure was reported and accepted, whether or not there will be another try."""
    UNUSABLE = 2
    """No ticket, no attempt id, or a configuration that makes no sense."""
    REFUSED = 3
    """The start was refused: a second launch, or an attempt that is over. Nothing was run."""
    UNREPORTED = 4
    """The task API was not reached, did not take the report, or was silent for so long that the task was killed. In an
    executor's container also: it got SIGTERM, and nobody but the executor can tell why."""


def run_attempt(attempt_id: str) -> int:
    """Run one attempt and return an :class:`Exit`. For a process with one thread, which is this attempt's only."""
    # First of all: it looks for the environment where ``execve`` put it, and wipes that with everything in it.
    setproctitle(f"hybrid tasks run {attempt_id}")
    set_dumpable(False)
    ticket = take_ticket()
    try:
        settings = load()
        return _run(settings, attempt_id, ticket or read_ticket(settings.home / "run", attempt_id))
    except HybridError as error:
        _say(f"hybrid: {error}\n")
        return Exit.UNUSABLE
    except Exception:
        _say(traceback.format_exc())
        return Exit.UNREPORTED


def _run(settings: Settings, attempt_id: str, ticket: str) -> Exit:
    for warning in settings.warnings:
        _say(f"hybrid: warning: {warning}\n")
    folder = settings.home / "run"
    if not ticket:
        raise HybridError(
            f"there is no start ticket for attempt {attempt_id}; an executor passes {TICKET_VARIABLE} on, or runs the "
            f"command on the scheduler's host, where the ticket lies in {folder}"
        )
    try:
        return Launch(settings, attempt_id, ticket).run()
    finally:
        remove_ticket(folder, attempt_id)


class Launch:
    """One attempt, from the fork of its process to the task API's last word. Raises ``ConfigError``, ``OSError``."""

    def __init__(self, settings: Settings, attempt_id: str, ticket: str) -> None:
        workers = settings.workers
        use_plugins(settings)
        self._settings = read_settings(remote_worker_config(settings))
        self._timeout = workers.execution_api_timeout
        self._endpoint = parse_endpoint(settings.task_api_url)
        self._credentials = Credentials(ticket)
        self._attempt_id = attempt_id
        self._loop = Loop()
        self._reporter = HttpReporter(
            self._connect,
            self._loop,
            patience=self._settings.heartbeat_timeout,
            say=lambda text: _tell("WARNING", text),
        )
        self._in_container = os.environ.get(CONTAINER_VARIABLE, "").lower() in ("true", "1")
        self._follower: Follower | None = None
        self._signals: list[int] = []
        self._obeyed = 0
        self._wakeup, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop.watch(self._wakeup, self._hear_signals)

    def run(self) -> Exit:
        """Until nothing of the attempt runs and its report is taken, or cannot be any more."""
        adopt_orphans()
        self._take_signals()
        try:
            attempt = self._launch()
            self._watch(attempt)
            self._complete_copy(attempt)
            return _exit_code(attempt.session)
        finally:
            while not sweep_children():
                time.sleep(0.001)
            signal.set_wakeup_fd(-1)
            self._reporter.close()

    def _launch(self) -> Supervisor:
        """Fork the attempt's process, before this one gets its second thread."""
        host = Host(socket.gethostname(), boot_id())
        spare = 1 if self._in_container else None
        child = _fork(self._settings, (self._reporter.fileno(), self._wakeup, self._wakeup_writer), spare)
        return Supervisor(self._attempt_id, self._settings, "", lambda _: None, child, self._loop, host, self._reporter)

    def _connect(self) -> ApiClient:
        from runtime.worker.api_client import ApiClient

        return ApiClient(self._endpoint, self._credentials, self._timeout)

    def _watch(self, attempt: Supervisor) -> None:
        attempt.start()
        begun = False
        while attempt.end is None and self._obeyed < 3:
            self._loop.turn(min(_LONGEST_WAIT, max(0.0, attempt.wake_at - boottime())))
            self._obey(attempt)
            now = boottime()
            if now >= attempt.wake_at:
                attempt.tick(now)
            if attempt.session.run is not None and not begun:
                begun = True
                self._begin(attempt.session.run)

    def _begin(self, run: RunContext) -> None:
        setproctitle(f"hybrid task {run.dag_id}.{run.task_id} {run.run_id} try {run.try_number}")
        if self._in_container:
            self._follower = Follower(log_path(self._settings.base_log_folder, run))
            self._follower.start()

    def _complete_copy(self, attempt: Supervisor) -> None:
        """Of the log, on stdout; where that was its only place, the supervisor's own words follow here."""
        if self._follower is None:
            return
        self._follower.finish()
        if not self._follower.copied and attempt.last_words is not None:
            _tell("ERROR", attempt.last_words)

    # -- signals ---------------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)

    def _hear_signals(self) -> None:
        with suppress(BlockingIOError):
            self._signals += os.read(self._wakeup, 64)

    def _obey(self, attempt: Supervisor) -> None:
        """The first signal stops the task, the second kills it, the third does not wait for the report either."""
        if len(self._signals) == self._obeyed:
            return
        self._obeyed = len(self._signals)
        name = signal.Signals(self._signals[0]).name
        (attempt.evict if self._in_container else attempt.stop)(f"its supervisor got {name}")
        if self._obeyed == 1:
            _tell("INFO", f"got {name}: the task is stopped, and its end reported; a second signal kills it")
        else:
            attempt.kill()
            _tell("INFO", "got another signal: the task is killed; a third signal gives up its report")


def _ignore(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor says it all, and counts."""


def _fork(settings: WorkerSettings, foreign: tuple[int, ...], spare: int | None) -> Child:
    log = AttemptLog(settings.log_level, spare)

    def prepare() -> None:
        set_dumpable(True)  # who looks for what an attempt left behind reads ``/proc/PID/environ``
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        log.install()
        from runtime.authoring import taskflow  # noqa: F401  most DAG files need it, and now nobody waits for it

    gc.freeze()
    return fork_child(Process(settings, log, {}), foreign, prepare)


def _exit_code(session: Session) -> Exit:
    """What the executor is told, after a line that says why where it is bad."""
    end = session.end
    if end is None:
        _tell("ERROR", "the report was given up: a third signal")
        return Exit.UNREPORTED
    if session.accepted is not None:
        return Exit.FAILED if session.accepted == "failed" else Exit.ENDED_WELL
    _tell("ERROR", end.reason)
    return Exit.REFUSED if session.refusal is not None else Exit.UNREPORTED


def _tell(level: str, text: str) -> None:
    """A line of our own log."""
    _say(format_line(time.time_ns(), level, "tasks run", text))


def _say(text: str) -> None:
    """On stderr, where nobody has to listen."""
    with suppress(OSError):
        os.write(2, text.encode(errors="backslashreplace"))
