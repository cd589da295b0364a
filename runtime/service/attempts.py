"""What the service knows of an attempt while it answers a batch, and the pure rules that judge a report against it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, select

from executors.workload import TaskInstanceKey, TaskInstanceRef
from runtime.core.clock import later
from runtime.core.messages import Finish, Finished, HeartbeatReply, RunContext, Start, Started
from runtime.core.states import AttemptState, TaskState
from runtime.db.run_context import COLUMNS
from runtime.db.schema import dag_run, dag_version, task_attempt, task_instance
from runtime.db.transitions import ENDED, OWING, Batch, Subject

_QUERY = (
    select(
        task_attempt.c.id,
        task_attempt.c.state,
        task_attempt.c.start_nonce,
        task_attempt.c.try_number,
        task_attempt.c.dispatch_number,
        task_attempt.c.executor,
        task_attempt.c.external_id,
        task_attempt.c.queued_at,
        task_attempt.c.hostname,
        task_attempt.c.pid,
        task_attempt.c.pid_started,
        task_attempt.c.boot_id,
        task_instance.c.id.label("ti_id"),
        task_instance.c.state.label("ti_state"),
        task_instance.c.attempt_id.label("ti_attempt_id"),
        task_instance.c.reason.label("ti_reason"),
        dag_run.c.id.label("dag_run_id"),
        *COLUMNS,
    )
    .join(task_instance, task_instance.c.id == task_attempt.c.task_instance_id)
    .join(dag_run, dag_run.c.id == task_attempt.c.dag_run_id)
    .join(dag_version, dag_version.c.id == task_attempt.c.version_id)
)
CALLED_BACK = frozenset({TaskState.FAILED, TaskState.UP_FOR_RETRY})
"""States whose callbacks are owed where the attempt's process died before it could run them."""
_OUTCOMES = ("success", "failed", "skipped")


@dataclass(slots=True)
class Attempt:
    """One attempt with its task instance; ``state`` and ``ti_state`` follow what this batch has decided so far."""

    row: Row[Any]
    state: AttemptState
    ti_state: TaskState
    nonce: str | None

    @property
    def is_current(self) -> bool:
        return bool(self.row.ti_attempt_id == self.row.id)

    @property
    def reference(self) -> TaskInstanceRef:
        """What its executor is told of it."""
        row = self.row
        key = TaskInstanceKey(row.dag_id, row.task_id, row.run_id, row.try_number, row.map_index, row.id)
        return TaskInstanceRef(
            key=key,
            queue=row.queue,
            external_executor_id=row.external_id,
            started=self.state is AttemptState.RUNNING,
        )

    @property
    def subject(self) -> Subject:
        row = self.row
        return Subject(row.ti_id, row.dag_run_id, self.ti_state, row.id, f"{row.dag_id}.{row.task_id} {row.run_id}")


def load_attempts(connection: Connection, ids: Sequence[str]) -> dict[str, Attempt]:
    """Read and, where the DB can, lock the attempts. Unknown ids are left out.

    In the order of their task instances, as everybody does: two who lock the same ones must not wait for each other.
    """
    query = (
        _QUERY.where(task_attempt.c.id.in_(ids))
        .order_by(task_instance.c.id, task_attempt.c.id)
        .with_for_update(of=[task_attempt, task_instance], key_share=True)
    )
    return {
        row.id: Attempt(cast("Row[Any]", row), AttemptState(row.state), TaskState(row.ti_state), row.start_nonce)
        for row in connection.execute(query)
    }


def judge_start(attempt: Attempt | None, request: Start, batch: Batch) -> Started:
    """Grant the start to one nonce, once; the same nonce gets the same answer again."""
    if attempt is None:
        return Started(False, "there is no such attempt")
    if not attempt.is_current:
        return Started(False, "a newer attempt has replaced this one")
    if attempt.state is AttemptState.RUNNING and attempt.nonce == request.nonce:
        return Started(True, context=_context(attempt, batch.at))
    if attempt.state is not AttemptState.QUEUED or attempt.ti_state is not TaskState.QUEUED:
        return Started(False, f"the attempt is {attempt.state} and the task instance {attempt.ti_state}")
    batch.start(
        attempt.subject,
        {
            "start_nonce": request.nonce,
            "hostname": request.hostname,
            "pid": request.pid,
            "pid_started": request.pid_started,
            "boot_id": request.boot_id,
            "file_hash": request.file_hash,
        },
    )
    attempt.state, attempt.ti_state, attempt.nonce = AttemptState.RUNNING, TaskState.RUNNING, request.nonce
    return Started(True, context=_context(attempt, batch.at))


def judge_running(attempt: Attempt | None, nonce: str) -> HeartbeatReply:
    """Whether this launch is the one that may run now."""
    if attempt is None:
        return HeartbeatReply(False, "there is no such attempt", gone=True)
    if attempt.nonce != nonce:
        return HeartbeatReply(False, "another launch of this attempt was granted the start")
    if attempt.state is not AttemptState.RUNNING or not attempt.is_current:
        return HeartbeatReply(False, f"the attempt is over: {attempt.row.ti_reason or attempt.state}", gone=True)
    if attempt.ti_state is not TaskState.RUNNING:
        return HeartbeatReply(False, f"the task instance is {attempt.ti_state}: {attempt.row.ti_reason}", gone=True)
    return HeartbeatReply(True)


def judge_finish(attempt: Attempt | None, request: Finish, batch: Batch) -> Finished:
    """Take the final report of the launch that was granted the start; a repeated one changes nothing."""
    if attempt is None:
        return Finished(False, reason="there is no such attempt")
    if attempt.nonce != request.nonce:
        return Finished(False, attempt.ti_state, "this launch was never granted the start")
    if request.outcome not in _OUTCOMES:
        return Finished(False, attempt.ti_state, f"outcome {request.outcome!r} is none of {', '.join(_OUTCOMES)}")
    outcome = AttemptState(request.outcome)
    if attempt.state is not AttemptState.RUNNING:
        return Finished(attempt.state is outcome, attempt.ti_state, f"the attempt is over: {attempt.state}")
    row = attempt.row
    batch.end_attempt(row.id, outcome, request.reason or None)
    attempt.state = outcome
    if attempt.is_current and attempt.ti_state in (TaskState.RUNNING, TaskState.RESTARTING):
        _end_task_instance(attempt, request, batch)
    return Finished(True, attempt.ti_state)


def _end_task_instance(attempt: Attempt, request: Finish, batch: Batch) -> None:
    row = attempt.row
    retry_at = None
    if attempt.ti_state is TaskState.RESTARTING:
        state = TaskState.NONE
    elif request.outcome != "failed":
        state = TaskState(request.outcome)
    elif request.retry and row.try_number <= row.max_tries:
        state, retry_at = TaskState.UP_FOR_RETRY, later(batch.at, request.retry_delay)
    else:
        state = TaskState.FAILED
    batch.end(attempt.subject, state, reason=request.reason or None, retry_at=retry_at)
    owing = state in CALLED_BACK and not request.called_back
    batch.notify(row.dag_run_id, OWING if owing else ENDED, row.ti_id, row.id)
    attempt.ti_state = state


def _context(attempt: Attempt, at: int) -> RunContext:
    row = attempt.row
    return RunContext(
        dag_id=row.dag_id,
        run_id=row.run_id,
        task_id=row.task_id,
        map_index=row.map_index,
        try_number=row.try_number,
        max_tries=row.max_tries,
        dispatch_number=row.dispatch_number,
        rel_path=row.rel_path,
        file_hash=row.file_hash,
        run_type=row.run_type,
        run_after=row.run_after,
        logical_date=row.logical_date,
        data_interval_start=row.data_interval_start,
        data_interval_end=row.data_interval_end,
        run_start_date=row.run_start_date,
        conf=json.loads(row.conf) if row.conf != "{}" else {},
        task_start_date=at,
        executor=row.executor,
        queue=row.queue,
        pool=row.pool,
    )
