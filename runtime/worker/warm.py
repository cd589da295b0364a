"""The worker process: takes one attempt after the other from its executor and supervises it. One thread, one poll."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType

import msgspec

from executors.local.channel import Channel, Kind
from executors.workload import Workload
from runtime.log.capture import AttemptLog
from runtime.worker.attempt import Process
from runtime.worker.child import Child, fork_child, spawn_child
from runtime.worker.code import CodeCache, hash_on_disk
from runtime.worker.inline import InlineAttempt
from runtime.worker.linux import adopt_orphans, boot_id, boottime, processors_are_busy, resident_bytes, sweep_children
from runtime.worker.loop import NEVER, Loop
from runtime.worker.rehearsal import Rehearsal
from runtime.worker.reporter import PipeReporter
from runtime.worker.session import End, Host
from runtime.worker.settings import WorkerSettings, read_settings
from runtime.worker.supervisor import Supervisor

log = logging.getLogger(__name__)
_LONGEST_WAIT = 1.0
"""While an attempt runs: ``poll`` sleeps by a clock that stands still while the host is suspended."""
_MEASURE_EVERY = 64
"""Attempts between two looks at the worker's own memory, and between two collections of its garbage: by itself the
collector would write to pages that the next fork shares."""
_PARTING_SECONDS = 5.0
_SPARE_PAUSE = 0.5
"""Seconds between two tries to fork ahead, while the processors are busy."""


def serve(sock: socket.socket, config: Mapping[str, str]) -> None:
    """Speak the frames of :mod:`executors.local.channel` over ``sock`` until STOP, SIGTERM or the executor's end.

    Nothing of an attempt is alive when it returns. Raises :class:`~runtime.core.errors.ConfigError`.
    """
    Worker(sock, read_settings(config)).run()


class Worker:
    """One process, one attempt at a time."""

    def __init__(self, sock: socket.socket, settings: WorkerSettings) -> None:
        self._settings = settings
        self._channel = Channel(sock)
        self._reporter = PipeReporter(self._channel)
        self._loop = Loop()
        self._code = CodeCache(settings)
        self._log = AttemptLog(settings.log_level)
        self._host = Host(socket.gethostname(), boot_id())
        self._attempt: Supervisor | InlineAttempt | None = None
        self._rehearsal = Rehearsal(settings, self._log)
        self._spare: Child | None = None
        self._spare_loads = 0
        self._leaving = False
        self._retiring = False
        self._count = 0
        self._rss = resident_bytes()
        self._wakeup, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Until there is nothing more to do here."""
        adopt_orphans()
        gc.disable()
        self._take_signals()
        self._log.install()
        self._loop.watch(self._channel.fileno(), self._executor_ready)
        self._loop.watch(self._wakeup, self._woken)
        try:
            self._send_idle()
            while not (self._leaving and self._attempt is None):
                self._turn()
            self._drop_spare()
            self._part()
        except ConnectionError:
            self._abandon()
        finally:
            signal.set_wakeup_fd(-1)

    def _turn(self) -> None:
        if self._attempt is None:
            self._prepare()
        self._loop.turn(self._patience())
        attempt = self._attempt
        if attempt is not None:
            now = boottime()
            if now >= attempt.wake_at:
                attempt.tick(now)
            if attempt.end is not None:
                self._take_end(attempt, attempt.end)
        self._loop.also_writable(self._channel.fileno(), self._channel.wants_write)

    def _patience(self) -> float:
        if self._attempt is None:
            return _SPARE_PAUSE if self._lacks_spare() else NEVER
        return min(_LONGEST_WAIT, max(0.0, self._attempt.wake_at - boottime()))

    # -- the executor ----------------------------------------------------------------------------------------------

    def _executor_ready(self) -> None:
        self._channel.flush()
        for kind, body in self._channel.receive():
            self._obey(kind, body)

    def _obey(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.REPLY:
            self._reporter.on_reply(body)
        elif kind is Kind.ASSIGN:
            self._assign(Workload.from_json(body))
        elif kind is Kind.STOP:
            self._leaving = True
        elif kind is Kind.KILL:
            order = msgspec.json.decode(body)
            if self._attempt is not None and self._attempt.session.attempt_id == order["attempt_id"]:
                self._attempt.stop(order.get("reason") or "killed by the executor", order.get("grace"))

    def _assign(self, workload: Workload) -> None:
        if self._attempt is not None:
            raise ConnectionError("ASSIGN to a busy worker")
        self._count += 1
        try:
            self._attempt = self._launch(workload)
        except OSError as error:
            self._send_end(workload.key.attempt_id, End(False, f"cannot start a process: {error.strerror}"))
            return
        self._attempt.start()

    def _launch(self, workload: Workload) -> Supervisor | InlineAttempt:
        attempt_id, code, settings = workload.key.attempt_id, workload.code, self._settings
        wanted = code.rel_path and settings.task_isolation != "spawn"
        loaded = self._code.get(code.rel_path, code.file_hash) if wanted else None
        self._retiring = self._retiring or self._code.threads_left
        if settings.task_isolation == "reuse":
            return InlineAttempt(
                attempt_id,
                settings,
                loaded,
                self._log,
                self._host,
                self._reporter,
                self._channel.fileno(),
                self._executor_ready,
            )
        file_hash = loaded.file_hash if loaded else hash_on_disk(settings.dags_folder, code.rel_path)
        if settings.task_isolation == "spawn" or self._code.threads_left:
            child, loaded = spawn_child(Process(settings, self._log, {}), attempt_id), None
        else:
            child = self._take_spare() or self._fork()
        return Supervisor(
            attempt_id, settings, file_hash, lambda _: loaded, child, self._loop, self._host, self._reporter
        )

    # -- the process of the next attempt -------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Fork the next attempt's process while nobody waits for it.

        Not while others want the processor: the rehearsal costs more time than it saves, only not at a bad moment.
        """
        if self._lacks_spare() and not processors_are_busy():
            with suppress(OSError):
                self._spare = self._fork(self._rehearsal.perform)
                self._spare_loads = self._code.loads
                self._loop.watch(self._spare.pidfd, self._drop_spare)

    def _lacks_spare(self) -> bool:
        wanted = self._settings.task_isolation == "fork" and self._code.loads and not self._leaving
        return bool(wanted) and self._spare is None

    def _fork(self, prelude: Callable[[], None] | None = None) -> Child:
        process = Process(self._settings, self._log, self._code.held())
        return fork_child(process, (self._channel.fileno(), self._wakeup, self._wakeup_writer), prelude)

    def _take_spare(self) -> Child | None:
        """The process that was forked ahead, if it holds the files as they are now."""
        if self._spare is None or self._spare_loads != self._code.loads:
            self._drop_spare()
            return None
        spare, self._spare = self._spare, None
        self._loop.unwatch(spare.pidfd)
        return spare

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._loop.unwatch(self._spare.pidfd)
            self._spare.kill()
            self._spare.reap()
            self._spare = None

    # -- the executor, again -------------------------------------------------------------------------------------------

    def _take_end(self, attempt: Supervisor | InlineAttempt, end: End) -> None:
        self._attempt = None
        if isinstance(attempt, InlineAttempt):
            self._retiring = self._retiring or attempt.spoiled or self._count >= self._settings.reuse_limit
        self._send_end(attempt.session.attempt_id, end)

    def _send_end(self, attempt_id: str, end: End) -> None:
        body = {"attempt_id": attempt_id, "ok": end.ok, "reason": end.reason}
        self._channel.send(Kind.ENDED, msgspec.json.encode(body), more=True)
        self._send_idle()

    def _send_idle(self) -> None:
        if self._count % _MEASURE_EVERY == 1:
            gc.collect()
            self._rss = resident_bytes()
        self._retiring = self._retiring or self._rss > self._settings.worker_memory_mb * 2**20
        self._leaving = self._leaving or self._retiring
        body = {"files": self._code.versions, "rss": self._rss, "retire": self._leaving}
        self._channel.send(Kind.IDLE, msgspec.json.encode(body))

    # -- the end ---------------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the scheduler's to hear, which then tells us
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        self._leaving = True

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
        if self._leaving and self._attempt is not None:
            self._attempt.stop("its worker got SIGTERM")

    def _part(self) -> None:
        """Send what is left to send: the peer may be slow, not absent."""
        deadline = time.monotonic() + _PARTING_SECONDS
        poller = select.poll()
        poller.register(self._channel.fileno(), select.POLLOUT)
        while self._channel.wants_write and time.monotonic() < deadline:
            poller.poll(100)
            self._channel.flush()

    def _abandon(self) -> None:
        """The executor is gone, and with it everybody who could be told: leave nothing behind."""
        if self._attempt is not None:
            self._attempt.kill()
        while not sweep_children():
            time.sleep(0.001)
