"""``task_isolation = reuse``: attempts run in the worker process itself, one after the other.

There is no process to kill but the worker. A tick (SIGALRM) between the bytecodes of user code keeps up heartbeats,
obeys KILL and raises ``execution_timeout``; a task that holds the interpreter in C code is out of its reach, and one
that does not end within its grace takes the worker down. What a task changes in the process, the next finds changed.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import msgspec

from runtime.authoring.exceptions import TaskTimeout
from runtime.authoring.loader import LoadedFile
from runtime.core.messages import Asked
from runtime.log.attempt_logs import append_line
from runtime.log.capture import AttemptLog
from runtime.secrets.access import serve
from runtime.worker.attempt import log_path, run_logged
from runtime.worker.interrupts import Interrupts, TaskKilled
from runtime.worker.linux import boottime, started_ticks, sweep_children, thread_count
from runtime.worker.loop import NEVER
from runtime.worker.protocol import Begin, Result
from runtime.worker.reporter import Reporter
from runtime.worker.session import End, Host, Session
from runtime.worker.settings import WorkerSettings
from runtime.worker.supervisor import verdict
from runtime.worker.task import Job

TICK = 1.0
"""Seconds; a KILL or a heartbeat waits at most so long."""


class InlineAttempt(Interrupts):
    """One attempt in this process, driven by the worker like a :class:`~runtime.worker.supervisor.Supervisor`.

    :param socket: descriptor of the executor's socket.
    :param hear: takes what has arrived there; never blocks.
    """

    def __init__(
        self,
        attempt_id: str,
        settings: WorkerSettings,
        loaded: LoadedFile | None,
        log: AttemptLog,
        host: Host,
        reporter: Reporter,
        socket: int,
        hear: Callable[[], None],
    ) -> None:
        super().__init__()
        self.session = Session(attempt_id, settings, host, reporter, self._started, self._lost)
        self.spoiled = False
        """It left threads or children behind: the worker must not be used again."""
        self._settings = settings
        self._loaded = loaded
        self._log = log
        self._reporter = reporter
        self._hear = hear
        self._poller = select.poll()
        self._poller.register(socket, select.POLLIN)
        self._ready = False
        self._running = False
        self._hearing = False
        self._told = False
        self._stopping: str | None = None
        self._overdue: str | None = None
        self._kill_at = self._limit_at = NEVER
        self._outer_term = signal.getsignal(signal.SIGTERM)

    @property
    def end(self) -> End | None:
        """Set when the attempt is over and reported."""
        return self.session.end

    @property
    def wake_at(self) -> float:
        """When :meth:`tick` has something to do."""
        return 0.0 if self._ready else self.session.wake_at

    def start(self) -> None:
        """Ask for the start."""
        pid = os.getpid()
        self.session.start(pid, started_ticks(pid), self._loaded.file_hash if self._loaded else "")

    def stop(self, reason: str, grace: float | None = None) -> None:
        """Have the next tick raise in user code; if that does not end it within ``grace`` seconds, end the worker."""
        self._stopping = self._stopping or reason
        wait = self._settings.killed_task_cleanup_time if grace is None else grace
        self._kill_at = min(self._kill_at, boottime() + wait)

    def kill(self) -> None:
        """The executor is gone. User code is not running now: it would be this call that does."""

    def tick(self, now: float) -> None:
        """Do what is due; run the task, when it may."""
        self.session.tick(now)
        if self._ready:
            self._ready = False
            self._run()

    # -- running ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        run = self.session.run
        assert run is not None
        if self._stopping is not None:
            self.session.finish(verdict(None, None, self._stopping, _RETRY_DELAY))
            return
        job = Job(run, self._settings, self._loaded, self._ask, self, self._begin)
        kept = os.dup(1), os.dup(2)
        self._running = True
        result = run_logged(self.session.attempt_id, job, self._log, log_path(self._settings.base_log_folder, run))
        job.run_callbacks()
        serve(None, self._settings.secrets)
        self._running = False
        self._log.close()
        for fd, number in zip(kept, (1, 2), strict=True):
            os.dup2(fd, number)
            os.close(fd)
        self._clear_up()
        self._report(result)

    def _report(self, result: Result) -> None:
        if self.session.lost is not None:
            self.session.close(End(False, self.session.lost))
        else:
            self.session.finish(verdict(result, None, self._stopping, result.retry_delay))

    def _clear_up(self) -> None:
        while not sweep_children():
            self.spoiled = True
            time.sleep(0.001)
        self.spoiled = self.spoiled or thread_count() > 1

    def _begin(self, begin: Begin) -> None:
        """There is no supervisor to be told."""

    def arm(self, limit: float | None, what: str = "its execution_timeout") -> None:
        """See :meth:`Interrupts.arm`; the timer is that of the tick."""
        if self._stopping is not None and self._stopping == self._overdue:
            # That limit has done its work; what is armed now has one of its own.
            self._stopping, self._kill_at, self._told = None, NEVER, False
        self._overdue = None
        self._armed, self._limit, self._what = True, limit or 0.0, what
        self._limit_at = boottime() + limit if limit else NEVER
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGALRM, self._on_tick)
        signal.setitimer(signal.ITIMER_REAL, min(TICK, limit or TICK), TICK)

    def disarm(self) -> None:
        """See :meth:`Interrupts.disarm`."""
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGTERM, self._outer_term)

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        if callable(self._outer_term):
            self._outer_term(signum, frame)
        self.stop("its worker got SIGTERM")
        self._look()

    def _on_tick(self, signum: int, frame: FrameType | None) -> None:
        if not self._hearing:
            self._listen()
            self._look()

    def _listen(self) -> None:
        self._hearing = True
        try:
            self._hear()
            self.session.tick(boottime())
        except ConnectionError:
            self._leave("its executor is gone")
        finally:
            self._hearing = False

    def _look(self) -> None:
        now = boottime()
        if now >= self._kill_at:
            self._leave(f"{self._stopping}; it did not end in time, and its worker with it")
        if self._stopping is not None:
            self._interrupt_once(TaskKilled(self._stopping))
        elif now >= self._limit_at:
            self._limit_at = NEVER
            self._overdue = overdue = self._overdue_text()
            self.stop(overdue)
            self._interrupt_once(TaskTimeout(overdue))

    def _interrupt_once(self, error: BaseException) -> None:
        if not self._told:
            self._told = True
            self.interrupt(error)

    def _leave(self, reason: str) -> NoReturn:
        """User code does not return: end the process, the only thing that can be ended."""
        if self.session.run is not None:
            path = log_path(self._settings.base_log_folder, self.session.run)
            with suppress(OSError):
                append_line(path, "ERROR", "supervisor", reason)
        while not sweep_children():
            time.sleep(0.001)
        os._exit(1)

    # -- the service -----------------------------------------------------------------------------------------------

    def _ask(self, request: Asked) -> bytes:
        filled = msgspec.structs.replace(request, attempt_id=self.session.attempt_id, nonce=self.session.nonce)
        answers: list[bytes] = []
        self._hearing = True
        try:
            self._reporter.relay(filled, answers.append)
        finally:
            self._hearing = False
        while not answers:
            self._poller.poll(TICK * 1000)
            self._listen()
            self._look()
        return answers[0]

    def _started(self) -> None:
        if self.session.run is not None:
            self._ready = True
        else:
            self.session.close(End(False, f"not started: {self.session.refusal}"))

    def _lost(self, reason: str, urgent: bool) -> None:
        if not self._running:
            self.session.close(End(False, reason if self.session.run else f"not started: {reason}"))
        elif urgent:
            self._leave(reason)
        else:
            self.stop(reason)


_RETRY_DELAY = 300.0
"""Where the task that would know was never looked at."""
