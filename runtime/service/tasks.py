"""The service itself: a batch of requests in, their answers out, one transaction for all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection, bindparam, update
from sqlalchemy.exc import OperationalError

from executors.context import NoStats, Stats
from runtime.core.messages import (
    DECISION,
    Asked,
    Done,
    Finish,
    Heartbeat,
    HeartbeatReply,
    Reply,
    Request,
    RunRequest,
    RunStateGet,
    Secret,
    Start,
    TriggeredRun,
    TriggerRun,
    VariableSet,
    XComPull,
    XComPush,
    XComValues,
    decode_request,
    encode,
)
from runtime.core.states import AttemptState, TaskState
from runtime.db.engine import Database, database_clock
from runtime.db.schema import task_attempt
from runtime.db.transitions import Batch
from runtime.service import branches, xcoms
from runtime.service.attempts import Attempt, judge_finish, judge_running, judge_start, load_attempts
from runtime.service.figures import count_batch, is_fenced_off, time_queued

if TYPE_CHECKING:
    from runtime.secrets.keyring import Keyring

log = logging.getLogger(__name__)
_HEARTBEAT = (
    update(task_attempt)
    .where(task_attempt.c.id == bindparam("b_id"), task_attempt.c.state == "running")
    .values(heartbeat_at=bindparam("v_at"))
)


class TaskService:
    """Answers workers. Thread-safe as far as the database is.

    :param on_report: called after a commit that gave a run's owner something to apply; must not block.
    :param stats: told what was committed; by default nobody.
    :param keyring: to decrypt connections and variables with; without it they are refused.
    :param clock: microseconds; by default the database's, for schedulers of several hosts judge what is written here.
    """

    def __init__(
        self,
        database: Database,
        *,
        on_report: Callable[[], None] = lambda: None,
        stats: Stats | None = None,
        keyring: Keyring | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._on_report = on_report
        self._stats = stats or NoStats()
        self._clock = clock

    def __call__(self, requests: Sequence[bytes]) -> list[bytes]:
        """Answer each request, in order. One that is no request gets a :class:`Done` that says so.

        Raises ``OperationalError`` while the database is not to be had; then nothing was changed, and the batch may be
        sent again.
        """
        decoded = [_decode(data) for data in requests]
        try:
            return self._answer(decoded)
        except OperationalError:
            raise
        except Exception as error:
            log.exception("a batch of %d requests failed, each is tried alone", len(decoded))
            return [encode(_failed(error))] if len(decoded) == 1 else [self([data])[0] for data in requests]

    def _answer(self, decoded: Sequence[Request | None]) -> list[bytes]:
        transaction, replies = self._database.transact(lambda connection: self._judge(connection, decoded))
        if transaction.batch.inbox or transaction.triggered:
            self._on_report()
        transaction.count(self._stats, replies)
        return [encode(reply) for reply in replies]

    def _judge(self, connection: Connection, decoded: Sequence[Request | None]) -> tuple[_Transaction, list[Reply]]:
        at = database_clock(connection) if self._clock is None else self._clock()
        transaction = _Transaction(connection, at, decoded, self._keyring)
        replies = [transaction.answer(request) for request in decoded]
        transaction.write()
        return transaction, replies


class _Transaction:
    def __init__(
        self, connection: Connection, at: int, requests: Sequence[Request | None], keyring: Keyring | None
    ) -> None:
        self.batch = Batch(at, "worker")
        self._keyring = keyring
        self._connection = connection
        self._attempts = load_attempts(connection, [r.attempt_id for r in requests if r is not None])
        self.triggered = False
        """Whether a run may have begun, which some scheduler should look for."""
        self._started: list[Attempt] = []
        self._beating: list[str] = []
        self._values: list[xcoms.Value] = []

    def answer(self, request: Request | None) -> Reply:
        if request is None:
            return Done(False, "this is no request of the task service's protocol")
        attempt = self._attempts.get(request.attempt_id)
        if isinstance(request, Start):
            return self._start(attempt, request)
        if isinstance(request, Finish):
            return self._finish(attempt, request)
        allowed = judge_running(attempt, request.nonce)
        if not allowed.go_on or attempt is None:
            return _refusal(request, allowed)
        return self._while_running(attempt, request)

    def write(self) -> None:
        """Write what the answers promised."""
        xcoms.clear(self._connection, self._started)
        xcoms.write(self._connection, self._values, self.batch.at)
        if self._beating:
            beats = [{"b_id": identifier, "v_at": self.batch.at} for identifier in self._beating]
            self._connection.execute(_HEARTBEAT, beats)
        self.batch.write(self._connection)

    def count(self, stats: Stats, replies: Sequence[Reply]) -> None:
        """Add what was committed to the figures."""
        count_batch(stats, self.batch)
        time_queued(stats, self.batch.at, self._started)
        if fenced_off := sum(map(is_fenced_off, replies)):
            stats.incr("attempts.fenced_off", fenced_off)

    def _start(self, attempt: Attempt | None, request: Start) -> Reply:
        was_queued = attempt is not None and attempt.state is AttemptState.QUEUED
        reply = judge_start(attempt, request, self.batch)
        if attempt is not None and was_queued and reply.granted:
            # Not when it is repeated: that one may come late, when this very attempt has pushed its own values.
            self._started.append(attempt)
        elif reply.granted:
            # Its launch begins to count now: what the first answer's heartbeat began has been running since.
            self._beating.append(request.attempt_id)
        return reply

    def _finish(self, attempt: Attempt | None, request: Finish) -> Reply:
        was_running = attempt is not None and judge_running(attempt, request.nonce).go_on
        reply = judge_finish(attempt, request, self.batch)
        if attempt is not None and was_running and isinstance(request.return_value, msgspec.Raw):
            value = bytes(request.return_value).decode()
            self._values.append(xcoms.Value(attempt, xcoms.RETURN_VALUE, value))
        if request.skip and attempt is not None and was_running and attempt.ti_state is TaskState.SUCCESS:
            branches.skip(self._connection, self.batch, attempt, request.skip)
            self._values.append(xcoms.Value(attempt, DECISION, branches.decision(request.skip)))
        return reply

    def _while_running(self, attempt: Attempt, request: Heartbeat | Asked) -> Reply:
        if isinstance(request, Heartbeat):
            self._beating.append(request.attempt_id)
            return HeartbeatReply(True)
        if isinstance(request, XComPush):
            self._values.append(xcoms.Value(attempt, request.key, bytes(request.value).decode()))
            return Done(True)
        if isinstance(request, TriggerRun | RunStateGet):
            return self._of_run(attempt, request)
        if not isinstance(request, XComPull):
            from runtime.service import secrets

            return secrets.answer(self._connection, self._keyring, request)
        # What this batch has pushed so far must be readable: a task may pull its own push.
        xcoms.write(self._connection, self._values, self.batch.at)
        self._values.clear()
        return xcoms.pull(self._connection, attempt, request)

    def _of_run(self, attempt: Attempt, request: RunRequest) -> TriggeredRun:
        from runtime.service import triggers

        if isinstance(request, RunStateGet):
            return triggers.state_of(self._connection, request)
        self.triggered = True
        return triggers.trigger(self._connection, attempt, request, self.batch.at)


def _failed(error: Exception) -> Done:
    return Done(False, f"the request could not be carried out: {type(error).__name__}")


def _decode(data: bytes) -> Request | None:
    try:
        return decode_request(data)
    except msgspec.DecodeError as error:
        log.warning("dropped a request that is none: %s", error)
        return None


def _refusal(request: Heartbeat | Asked, verdict: HeartbeatReply) -> Reply:
    if isinstance(request, Heartbeat):
        return verdict
    if isinstance(request, XComPull):
        return XComValues(reason=verdict.reason)
    if isinstance(request, XComPush | VariableSet):
        return Done(False, verdict.reason)
    if isinstance(request, TriggerRun | RunStateGet):
        return TriggeredRun(reason=verdict.reason)
    return Secret(reason=verdict.reason)
