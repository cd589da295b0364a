"""Watches over one attempt in a child process, from its launch until nothing of it runs any more.

The worker's loop calls it when the child's line, its pidfd, an answer or a timer has something. All moments are seconds
of ``CLOCK_BOOTTIME``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

import msgspec

from executors.local.channel import Kind
from runtime.authoring.loader import LoadedFile
from runtime.authoring.retrying import delay_after
from runtime.core.messages import RunContext
from runtime.log.attempt_logs import append_line
from runtime.worker import protocol
from runtime.worker.attempt import log_path
from runtime.worker.callbacks import longest
from runtime.worker.child import Child
from runtime.worker.linux import boottime, sweep_children
from runtime.worker.loop import NEVER, Loop
from runtime.worker.protocol import Begin, Result
from runtime.worker.reporter import Reporter
from runtime.worker.session import End, Host, Session
from runtime.worker.settings import WorkerSettings
from runtime.worker.task import AttemptError, find_task

_FIRST_SWEEP_PAUSE = 0.002
_LONGEST_SWEEP_PAUSE = 0.25
_BACKSTOP = 0.25
"""Part of the grace that a task has to end by itself after its ``execution_timeout``."""
_RETRY_DELAY = 300.0
"""Where the task that would know is out of reach."""


class Supervisor:
    """One attempt in ``child``. Its methods raise ``ConnectionError`` when the executor is gone.

    :param find_loaded: the file that holds the task, if ``child`` has inherited it.
    """

    def __init__(
        self,
        attempt_id: str,
        settings: WorkerSettings,
        file_hash: str,
        find_loaded: Callable[[RunContext], LoadedFile | None],
        child: Child,
        loop: Loop,
        host: Host,
        reporter: Reporter,
    ) -> None:
        self.session = Session(attempt_id, settings, host, reporter, self._started, self._lost)
        self._settings = settings
        self._file_hash = file_hash
        self._find_loaded = find_loaded
        self._loaded: LoadedFile | None = None
        self._child = child
        self._loop = loop
        self._reporter = reporter
        self._begin: Begin | None = None
        self._result: Result | None = None
        self._exit_code: int | None = None
        self._quiet = False
        self._stopping: str | None = None
        self._evicted = False
        self.last_words: str | None = None
        """What it has added to the attempt's log, or would have if that could be written."""
        self._kill_at = self._limit_at = self._sweep_at = NEVER
        self._sweep_pause = _FIRST_SWEEP_PAUSE
        loop.watch(child.channel.fileno(), self._line_ready)
        loop.watch(child.pidfd, self._exited)

    @property
    def end(self) -> End | None:
        """Set when the attempt is over, reaped and reported."""
        return self.session.end

    @property
    def wake_at(self) -> float:
        """When :meth:`tick` has something to do."""
        return min(self._kill_at, self._limit_at, self._sweep_at, self.session.wake_at)

    def start(self) -> None:
        """Ask for the start."""
        self.session.start(self._child.pid, self._child.started, self._file_hash)

    def stop(self, reason: str, grace: float | None = None) -> None:
        """SIGTERM now, SIGKILL to all of its group after ``grace`` seconds. May be repeated with a shorter grace."""
        self.session.withdraw(reason)
        if self._exit_code is not None:
            return
        if self._stopping is None:
            self._stopping = reason
            # Without a go there is no user code to be gentle with.
            self._child.signal(signal.SIGTERM if self.session.run else signal.SIGKILL)
        wait = self._settings.killed_task_cleanup_time if grace is None else grace
        self._kill_at = min(self._kill_at, boottime() + wait)

    def evict(self, reason: str) -> None:
        """As :meth:`stop`, where the place is taken away that it runs in: that is no failure of the task's own. It is
        only reported where the task service has given the attempt up as well; else its executor tells what happened.
        """
        self._evicted = self._evicted or self._exit_code is None
        self.stop(reason)

    def kill(self) -> None:
        """SIGKILL it and its group at once."""
        self._kill_at = NEVER
        if self._exit_code is None:
            self._child.kill()

    def tick(self, now: float) -> None:
        """Do what is due."""
        self.session.tick(now)
        if now >= self._limit_at:
            self._limit_at = NEVER
            grace = self._settings.killed_task_cleanup_time
            self.stop(self._overdue(), grace * (1 - _BACKSTOP))
        if now >= self._kill_at:
            self.kill()
        if now >= self._sweep_at:
            self._sweep()

    # -- the child -------------------------------------------------------------------------------------------------

    def _line_ready(self) -> None:
        try:
            self._child.channel.flush()
            frames = self._child.channel.receive()
        except ConnectionError:
            self._loop.unwatch(self._child.channel.fileno())
            return
        for kind, body in frames:
            self._heard(kind, body)
        self._mind_the_line()

    def _heard(self, kind: Kind, body: bytes) -> None:
        try:
            if kind is Kind.ENDED:
                self._result = protocol.decode_result(body)
                self._limit_at = NEVER  # the time was the task's, not that of its callbacks
                if self._result.calls:
                    limit = longest(self._result.calls, self._settings.callback_timeout)
                    self._kill_at = min(self._kill_at, boottime() + limit)
            elif kind is Kind.CALL:
                self._relay(body)
            elif kind is Kind.IDLE:
                self._begin = protocol.decode_begin(body)
                self._set_limit(self._begin.execution_timeout)
        except msgspec.DecodeError:
            self.stop("it garbled its line to the supervisor", grace=0.0)

    def _relay(self, body: bytes) -> None:
        request = protocol.decode_asked(body)
        filled = msgspec.structs.replace(request, attempt_id=self.session.attempt_id, nonce=self.session.nonce)
        self._reporter.relay(filled, self._answer)

    def _answer(self, body: bytes) -> None:
        if self._exit_code is None:
            with suppress(ConnectionError):
                self._child.channel.send(Kind.REPLY, body)
            self._mind_the_line()

    def _mind_the_line(self) -> None:
        self._loop.also_writable(self._child.channel.fileno(), self._child.channel.wants_write)

    def _set_limit(self, seconds: float | None) -> None:
        if seconds:
            grace = self._settings.killed_task_cleanup_time
            self._limit_at = boottime() + seconds + grace * _BACKSTOP

    def _overdue(self) -> str:
        seconds = self._begin.execution_timeout if self._begin else None
        return f"ran longer than its execution_timeout of {seconds or 0:g} s and did not stop"

    def _exited(self) -> None:
        """The child is dead: read its last words and reap it."""
        self._drain()
        self._loop.unwatch(self._child.channel.fileno())
        self._loop.unwatch(self._child.pidfd)
        self._exit_code = self._child.reap()
        self._kill_at = self._limit_at = NEVER
        self._sweep()

    def _drain(self) -> None:
        with suppress(ConnectionError):
            while frames := self._child.channel.receive():
                for kind, body in frames:
                    self._heard(kind, body)

    def _sweep(self) -> None:
        """Whatever the child left behind is this worker's child now, in whatever session it is."""
        if sweep_children():
            self._sweep_at = NEVER
            self._quiet = True
            self._conclude()
            return
        self._sweep_at = boottime() + self._sweep_pause
        self._sweep_pause = min(_LONGEST_SWEEP_PAUSE, self._sweep_pause * 2)

    # -- the service -----------------------------------------------------------------------------------------------

    def _started(self) -> None:
        run = self.session.run
        if run is None:
            self.kill()
        elif self._exit_code is None and self._stopping is None:
            self._loaded = self._find_loaded(run)
            go = protocol.Go(self.session.attempt_id, run, self._loaded is not None)
            with suppress(ConnectionError):
                self._child.channel.send(Kind.REPLY, protocol.encode(go))
            self._mind_the_line()
        self._conclude()

    def _lost(self, reason: str, urgent: bool) -> None:
        if urgent:
            self.kill()
        else:
            self.stop(reason)
        self._conclude()

    def _conclude(self) -> None:
        """Report, once nothing of the attempt runs and the service has said whether it may."""
        if not self._quiet or not self.session.answered or self.session.end is not None:
            return
        session = self.session
        if session.run is None:
            session.close(End(False, f"not started: {session.refusal or session.lost}"))
            return
        reason = session.lost or self._stopping
        if reason or self._result is None:
            self._note(reason or describe_death(self._exit_code))
        if session.lost is not None:
            session.close(End(False, session.lost))
            return
        result = verdict(self._result, self._exit_code, self._stopping, self._retry_delay())
        if self._evicted and result.outcome == "failed":
            session.leave(result, f"{self._stopping}; its end is for its executor to tell")
        else:
            session.finish(result)

    def _note(self, reason: str) -> None:
        """Leave the last line of a log whose writer may have had no time to."""
        self.last_words = reason
        if self.session.run is not None:
            path = log_path(self._settings.base_log_folder, self.session.run)
            with suppress(OSError):
                append_line(path, "ERROR", "supervisor", reason)

    def _retry_delay(self) -> float:
        if self._begin is not None:
            return self._begin.retry_delay
        loaded, run = self._loaded, self.session.run
        if self._result is not None or loaded is None or run is None:
            return _RETRY_DELAY
        try:
            _, task = find_task(loaded, run)
        except AttemptError:
            return _RETRY_DELAY
        return delay_after(task, run)


def verdict(result: Result | None, exit_code: int | None, stopped: str | None, retry_delay: float) -> Result:
    """What is reported: the task's own word where it had one, and why it was stopped where that ended it."""
    if result is None:
        return Result("failed", stopped or describe_death(exit_code), retry_delay=retry_delay)
    if stopped and result.outcome == "failed":
        return msgspec.structs.replace(result, reason=stopped)
    return result


def describe_death(exit_code: int | None) -> str:
    """Why a process that reported nothing is gone: ``exited with code 3 before it reported``, ``killed by SIGSEGV``."""
    code = exit_code or 0
    if code >= 0:
        return f"exited with code {code} before it reported"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name} (out of memory?)" if -code == signal.SIGKILL else f"killed by {name}"
