"""One attempt's talk with the task service: start, heartbeats, finish. Moments are seconds of ``CLOCK_BOOTTIME``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from runtime.core.messages import Finish, Finished, Heartbeat, HeartbeatReply, Reply, RunContext, Start, Started
from runtime.worker.linux import boottime
from runtime.worker.loop import NEVER
from runtime.worker.protocol import Result
from runtime.worker.reporter import Reporter
from runtime.worker.settings import FENCE_MARGIN, WorkerSettings

_REPEAT = 1.0
"""Seconds, on average, after which a start or a report that got no answer is sent again."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where this worker runs."""

    hostname: str
    boot_id: str


class End(NamedTuple):
    """How the attempt ended for the executor. ``ok``: the task service has taken its report, whatever that says."""

    ok: bool
    reason: str


class Session:
    """Asks and remembers; what is to be done about the answers is its owner's business.

    :param on_started: called once when the start is granted (``run``) or refused (``refusal``).
    :param on_lost: called once with the reason and whether every second counts: the attempt must stop. Where every
        second counts nobody waits for its report any more; ``lost`` says so.

    ``accepted`` is the outcome that the task service has taken.
    """

    def __init__(
        self,
        attempt_id: str,
        settings: WorkerSettings,
        host: Host,
        reporter: Reporter,
        on_started: Callable[[], None],
        on_lost: Callable[[str, bool], None],
    ) -> None:
        self.attempt_id = attempt_id
        self.nonce = os.urandom(8).hex()
        self.run: RunContext | None = None
        self.refusal: str | None = None
        self.lost: str | None = None
        self.accepted: str | None = None
        self.end: End | None = None
        self._reporter = reporter
        self._host = host
        self._period = settings.heartbeat_sec
        self._patience = max(1.0, settings.heartbeat_timeout - FENCE_MARGIN)
        self._start_patience = settings.start_patience
        self._on_started = on_started
        self._on_lost = on_lost
        self._start: Start | None = None
        self._start_until = NEVER
        self._report: Finish | None = None
        self._beat_at = self._fence_at = self._repeat_at = NEVER

    @property
    def answered(self) -> bool:
        """Whether the start was granted, refused, or given up."""
        return self.run is not None or self.refusal is not None or self.lost is not None

    @property
    def wake_at(self) -> float:
        """When :meth:`tick` has something to do."""
        return min(self._beat_at, self._fence_at, self._repeat_at)

    def start(self, pid: int, pid_started: int, file_hash: str) -> None:
        """Ask whether ``pid`` may run the attempt. Raises ``ConnectionError``."""
        now = boottime()
        self._fence_at = now + self._start_patience + self._patience
        self._start_until = now + self._start_patience
        host = self._host
        self._start = Start(self.attempt_id, self.nonce, host.hostname, pid, pid_started, host.boot_id, file_hash)
        self._ask_start(now)

    def withdraw(self, reason: str) -> None:
        """Ask for the start no more. An answer that is under way still counts: it may be a yes."""
        if not self.answered:
            self._start_until = 0.0
            if self._repeat_at != NEVER:
                self._lose(reason, urgent=True)

    def finish(self, result: Result) -> None:
        """Report the end; ``end`` is set when the answer is there. Raises ``ConnectionError``."""
        self._report = Finish(
            self.attempt_id,
            self.nonce,
            result.outcome,
            result.reason,
            result.retry,
            result.retry_delay,
            result.return_value,
            result.skip,
            bool(result.calls),
        )
        self._fence_at = NEVER  # nothing runs that would have to be killed
        self._reporter.send(self._report, self._finished)

    def leave(self, result: Result, reason: str) -> None:
        """Report the end only where the service wants the attempt stopped; else close without a report.

        For an attempt that others have stopped: its failure is not the task's own. Raises ``ConnectionError``.
        """
        self._beat_at = self._fence_at = NEVER
        self._reporter.send(Heartbeat(self.attempt_id, self.nonce), lambda reply: self._left(reply, result, reason))

    def tick(self, now: float) -> None:
        """Send a heartbeat, repeat what got no answer, or give up, if it is time. Raises ``ConnectionError``."""
        if now >= self._repeat_at:
            self._repeat_at = NEVER
            if self._report is None:
                self._ask_start(now)
            else:
                self._reporter.send(self._report, self._finished)
        if now >= self._fence_at:
            self._lose(f"no heartbeat was acknowledged for {self._patience:g} s", urgent=True)
        elif now >= self._beat_at:
            self._beat_at = NEVER  # one at a time: a silent service is not flooded
            self._reporter.send(Heartbeat(self.attempt_id, self.nonce), lambda reply: self._beaten(reply, now))

    def close(self, end: End) -> None:
        """It is over without a report."""
        self.end = end
        self._beat_at = self._fence_at = self._repeat_at = NEVER

    def _ask_start(self, now: float) -> None:
        assert self._start is not None
        self._reporter.send(self._start, lambda reply: self._started(reply, now))

    def _started(self, reply: Reply | None, asked_at: float) -> None:
        if self.lost is not None:
            return
        if reply is None:
            self._start_again()
            return
        if isinstance(reply, Started) and reply.granted and reply.context is not None:
            self.run = reply.context
            self._acknowledged(asked_at)
        else:
            self._fence_at = NEVER
            self.refusal = getattr(reply, "reason", "") or "the task service gave no reason"
        self._on_started()

    def _start_again(self) -> None:
        now = boottime()
        if now < self._start_until:
            self._repeat_at = now + _pause()
        else:
            waited = f" for {self._start_patience:g} s" if self._start_patience else ""
            self._lose(f"the task service gave no answer{waited}", urgent=True)

    def _beaten(self, reply: Reply | None, asked_at: float) -> None:
        if self.end is not None or self.lost is not None:
            return
        if isinstance(reply, HeartbeatReply) and not reply.go_on:
            if self._report is None:
                # It is told of the end all the same: an attempt that was cleared is waited for until it is quiet.
                self._beat_at = NEVER
                self._on_lost(reply.reason or "the task service said stop", False)
        elif isinstance(reply, HeartbeatReply):
            self._acknowledged(asked_at)
        else:
            self._beat_at = boottime() + min(1.0, self._period)

    def _left(self, reply: Reply | None, result: Result, reason: str) -> None:
        if self.end is not None or self.lost is not None:
            return
        if isinstance(reply, HeartbeatReply) and not reply.go_on:
            self.finish(result)
        else:
            self.close(End(False, reason))

    def _acknowledged(self, asked_at: float) -> None:
        # From the moment of asking: the service may have written it down at once and its answer have taken long.
        self._beat_at = asked_at + self._period
        if self._report is None:
            self._fence_at = asked_at + self._patience

    def _finished(self, reply: Reply | None) -> None:
        if self.end is not None or self.lost is not None:
            return
        if isinstance(reply, Finished):
            assert self._report is not None
            self.accepted = self._report.outcome if reply.accepted else None
            self.close(End(reply.accepted, "" if reply.accepted else f"the report was refused: {reply.reason}"))
        else:
            self._repeat_at = boottime() + _pause()

    def _lose(self, reason: str, *, urgent: bool) -> None:
        self._beat_at = self._fence_at = self._repeat_at = NEVER
        self.lost = reason
        self._on_lost(reason, urgent)


def _pause() -> float:
    """Not the same for all: an API that comes back must not meet every worker in one moment."""
    return _REPEAT * (0.75 + os.urandom(1)[0] / 512)
