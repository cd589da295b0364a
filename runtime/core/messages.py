"""What a worker and the task service say to each other. One protocol, two transports: a local pipe, and HTTP.

Every request names its attempt and the ``nonce`` of this launch. *Start* is granted to one nonce only; the same nonce
may repeat start and finish after a lost reply and gets the same answer.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

DECISION = "skipmixin_key"
"""Key of the XCom in which the service keeps what a branch did not follow, as Airflow does: ``{"skipped": [ids]}``."""


class RunContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to run, and in which run: everything that templates and ``ti`` need. Moments are microseconds."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    max_tries: int
    """The ``retries`` of the task: tries 1 … ``max_tries`` + 1 are allowed."""
    dispatch_number: int
    rel_path: str
    file_hash: str
    run_type: str
    run_after: int
    logical_date: int | None = None
    data_interval_start: int | None = None
    data_interval_end: int | None = None
    run_start_date: int | None = None
    conf: dict[str, Any] = {}
    task_start_date: int | None = None
    executor: str = ""
    queue: str = "default"
    pool: str = "default_pool"


class Start(msgspec.Struct, frozen=True, tag="start", omit_defaults=True):
    """May I run this attempt? Sent before any user code of it runs."""

    attempt_id: str
    nonce: str
    hostname: str
    pid: int
    """The process that will run user code, and leader of its process group."""
    pid_started: int
    """Its start time in clock ticks since boot (``/proc/PID/stat`` field 22): tells a reused pid apart."""
    boot_id: str
    file_hash: str = ""
    """Of the file as this worker sees it."""


class Started(msgspec.Struct, frozen=True, tag="started", omit_defaults=True):
    """Yes, or no and why. A refused launch runs nothing and reports nothing."""

    granted: bool
    reason: str = ""
    context: RunContext | None = None


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    attempt_id: str
    nonce: str


class HeartbeatReply(msgspec.Struct, frozen=True, tag="heartbeat_reply", omit_defaults=True):
    """``go_on`` false: stop the task now. Its :class:`Finish` then says that nothing of it runs any more."""

    go_on: bool
    reason: str = ""
    gone: bool = False
    """The attempt itself is over or replaced; else it is only not this launch's."""


class Finish(msgspec.Struct, frozen=True, tag="finish", omit_defaults=True):
    """The attempt has ended and nothing of it runs any more."""

    attempt_id: str
    nonce: str
    outcome: str
    """``success``, ``failed`` or ``skipped``."""
    reason: str = ""
    retry: bool = True
    """False: fail for good, whatever tries are left (:class:`FailTask`)."""
    retry_delay: float = 300.0
    """Seconds until the next try, if there is one."""
    return_value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """JSON of the XCom ``return_value``; absent where the task returned nothing."""
    skip: tuple[str, ...] = ()
    """Of a branch that succeeded: ids of the tasks of its run that it does not follow."""
    called_back: bool = False
    """The attempt's process has run the task's callbacks for this outcome; else somebody else has to."""


class Finished(msgspec.Struct, frozen=True, tag="finished", omit_defaults=True):
    accepted: bool
    state: str = ""
    """The task instance's state after the report."""
    reason: str = ""


class XComPull(msgspec.Struct, frozen=True, tag="xcom_pull", omit_defaults=True):
    """Read XComs of the same run (or of ``run_id``) by task, in the order of ``task_ids``."""

    attempt_id: str
    nonce: str
    task_ids: tuple[str, ...]
    key: str = "return_value"
    map_index: int | None = None
    """``None``: all map indexes of the task, ascending."""
    dag_id: str = ""
    run_id: str = ""


class XComValues(msgspec.Struct, frozen=True, tag="xcom_values", omit_defaults=True):
    """What was found: (task_id, map_index, JSON value) each."""

    values: tuple[tuple[str, int, msgspec.Raw], ...] = ()
    reason: str = ""
    """Why the request was refused; empty where it was not."""


class XComPush(msgspec.Struct, frozen=True, tag="xcom_push", omit_defaults=True):
    attempt_id: str
    nonce: str
    key: str
    value: msgspec.Raw


class VariableGet(msgspec.Struct, frozen=True, tag="variable_get"):
    """The value of a variable of the metadata DB."""

    attempt_id: str
    nonce: str
    key: str


class VariableSet(msgspec.Struct, frozen=True, tag="variable_set", omit_defaults=True):
    """Create or replace a variable."""

    attempt_id: str
    nonce: str
    key: str
    value: str
    description: str | None = None

    def __repr__(self) -> str:
        return f"VariableSet(attempt_id={self.attempt_id!r}, key={self.key!r})"


class VariableDelete(msgspec.Struct, frozen=True, tag="variable_delete"):
    """Answered by a :class:`Secret` without a value where there was none, else with an empty one."""

    attempt_id: str
    nonce: str
    key: str


class ConnectionGet(msgspec.Struct, frozen=True, tag="connection_get"):
    """A connection of the metadata DB, as JSON of its fields."""

    attempt_id: str
    nonce: str
    conn_id: str


class Secret(msgspec.Struct, frozen=True, tag="secret", omit_defaults=True):
    """What was asked for; ``None`` where it does not exist."""

    value: str | None = None
    reason: str = ""
    """Why the request was refused; empty where it was not."""

    def __repr__(self) -> str:
        return f"Secret(reason={self.reason!r})"


class TriggerRun(msgspec.Struct, frozen=True, tag="trigger_run", omit_defaults=True):
    """Start a run of a DAG. Sent again by the same try, after a lost reply or a re-launch, it finds the run there."""

    attempt_id: str
    nonce: str
    dag_id: str
    run_id: str = ""
    """Empty: made from the task instance and its try."""
    conf: dict[str, Any] = {}
    logical_date: int | msgspec.UnsetType | None = msgspec.UNSET
    """Microseconds; ``None``: the run has none; left out: now."""
    reset: bool = False
    """Clear the run where it exists, so that it runs again."""
    unless_paused: bool = False


class RunStateGet(msgspec.Struct, frozen=True, tag="run_state_get"):
    """How does a run stand?"""

    attempt_id: str
    nonce: str
    dag_id: str
    run_id: str


class TriggeredRun(msgspec.Struct, frozen=True, tag="triggered_run", omit_defaults=True):
    """A run: the one that was asked about, or started."""

    run_id: str = ""
    state: str = ""
    logical_date: int | None = None
    existed: bool = False
    """Refused, for it is there already and not this task's."""
    reason: str = ""
    """Why the request was refused; empty where it was not."""


class Done(msgspec.Struct, frozen=True, tag="done", omit_defaults=True):
    accepted: bool
    reason: str = ""


SecretRequest: TypeAlias = VariableGet | VariableSet | VariableDelete | ConnectionGet
RunRequest: TypeAlias = TriggerRun | RunStateGet
Asked: TypeAlias = XComPull | XComPush | SecretRequest | RunRequest
"""What user code asks while it runs."""
Request: TypeAlias = Start | Heartbeat | Finish | Asked
Reply: TypeAlias = Started | HeartbeatReply | Finished | XComValues | Secret | TriggeredRun | Done

encode = msgspec.json.Encoder().encode
_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def decode_request(data: bytes) -> Request:
    """Raises ``msgspec.DecodeError`` on anything else."""
    return _requests.decode(data)


def decode_reply(data: bytes) -> Reply:
    """Raises ``msgspec.DecodeError`` on anything else."""
    return _replies.decode(data)
