"""Tables. Moments are microseconds UTC (:mod:`runtime.core.clock`); ids that we make before an effect are UUIDv7 text.

``task_instance`` says what is true now; ``task_attempt`` and ``event`` are append-only history. A change here needs a
migration; a test proves that the migrations build exactly these tables.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

from runtime.core.states import AttemptState, RunState, TaskState

REVISION = "0006"
"""Newest migration; a DB at another one is refused."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
RowId = BigInteger().with_variant(Integer, "sqlite")
Micros = BigInteger
Id = String(36)
Name = String(250)


class FreeText(TypeDecorator[str]):
    """What users, executors and exceptions say: a NUL, which PostgreSQL cannot store, is written as ``\\0``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value if value is None else value.replace("\0", "\\0")


class Cut(TypeDecorator[str]):
    """Names that others choose, at most so long; SQLite would store longer ones, PostgreSQL would refuse the row."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value if value is None else value.replace("\0", "\\0")[: self._length]


def _one_of(column: str, values: type[RunState | TaskState | AttemptState]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(v)) for v in values)})", name=column)


dag = Table(
    "dag",
    metadata,
    Column("dag_id", Name, primary_key=True),
    Column("rel_path", String(1000), nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("version_id", Id),
    Column("schedule", String(250), nullable=False),
    Column("description", FreeText, nullable=False),
    Column("owner", Name, nullable=False),
    Column("tags", Text, nullable=False),
    Column("max_active_runs", Integer, nullable=False),
    Column("next_run_after", Micros),
    Column("next_logical_date", Micros),
    Column("next_interval_end", Micros),
    Column("last_parsed_at", Micros, nullable=False),
    Column("pause_reason", FreeText),
    Column("plan_wanted_at", Micros),
)
Index("ix_dag_rel_path", dag.c.rel_path)
Index("ix_dag_next_run_after", dag.c.next_run_after)

dag_version = Table(
    "dag_version",
    metadata,
    Column("id", Id, primary_key=True),
    Column("dag_id", Name, ForeignKey(dag.c.dag_id, ondelete="CASCADE"), nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("rel_path", String(1000), nullable=False),
    Column("file_hash", String(64), nullable=False),
    Column("spec", Text, nullable=False),
    Column("created_at", Micros, nullable=False),
    UniqueConstraint("dag_id", "version_number"),
)

import_error = Table(
    "import_error",
    metadata,
    Column("rel_path", String(1000), primary_key=True),
    Column("error", FreeText, nullable=False),
    Column("created_at", Micros, nullable=False),
)

scheduler = Table(
    "scheduler",
    metadata,
    Column("id", Id, primary_key=True),
    Column("hostname", Name, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_started", BigInteger, nullable=False),
    Column("boot_id", String(36), nullable=False),
    Column("started_at", Micros, nullable=False),
    Column("heartbeat_at", Micros, nullable=False),
    Column("lease_expires_at", Micros, nullable=False),
    Column("ended_at", Micros),
    Column("metrics", Text),
    Column("declared", Text),
    Column("clock_offset", BigInteger),
)

component = Table(
    "component",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("hostname", Name, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Micros, nullable=False),
    Column("heartbeat_at", Micros, nullable=False),
    Column("ended_at", Micros),
    Column("metrics", Text),
    Column("declared", Text),
    Column("clock_offset", BigInteger),
)

dag_run = Table(
    "dag_run",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("dag_id", Name, ForeignKey(dag.c.dag_id), nullable=False),
    Column("run_id", Name, nullable=False),
    Column("run_type", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("version_id", Id, ForeignKey(dag_version.c.id), nullable=False),
    Column("logical_date", Micros),
    Column("data_interval_start", Micros),
    Column("data_interval_end", Micros),
    Column("run_after", Micros, nullable=False),
    Column("conf", Text, nullable=False),
    Column("queued_at", Micros, nullable=False),
    Column("start_date", Micros),
    Column("end_date", Micros),
    Column("lease_owner", Id, ForeignKey(scheduler.c.id)),
    Column("lease_epoch", Integer, nullable=False),
    Column("reason", FreeText),
    Column("backfill_id", RowId),
    UniqueConstraint("dag_id", "run_id"),
    UniqueConstraint("dag_id", "logical_date"),
    _one_of("state", RunState),
)
run_is_open = text("dag_run.state IN ('queued', 'running')")
"""Condition of the partial index below. SQLite uses such an index only where a query has the very same words; this one
stands in every query that must not grow with history."""
_run_open = text("state IN ('queued', 'running')")
Index("ix_dag_run_open", dag_run.c.dag_id, sqlite_where=_run_open, postgresql_where=_run_open)

task_instance = Table(
    "task_instance",
    metadata,
    Column("id", Id, primary_key=True),
    Column("dag_run_id", RowId, ForeignKey(dag_run.c.id, ondelete="CASCADE"), nullable=False),
    Column("task_id", Name, nullable=False),
    Column("map_index", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("max_tries", Integer, nullable=False),
    Column("dispatch_number", Integer, nullable=False),
    Column("infra_losses", Integer, nullable=False),
    Column("attempt_id", Id),
    Column("pool", Name, nullable=False),
    Column("pool_slots", Integer, nullable=False),
    Column("priority_weight", Integer, nullable=False),
    Column("queue", Name, nullable=False),
    Column("scheduled_at", Micros),
    Column("queued_at", Micros),
    Column("start_date", Micros),
    Column("end_date", Micros),
    Column("retry_at", Micros),
    Column("reason", FreeText),
    UniqueConstraint("dag_run_id", "task_id", "map_index"),
    _one_of("state", TaskState),
)
task_instance_is_active = text("task_instance.state IN ('queued', 'running', 'restarting')")
_ti_active = text("state IN ('queued', 'running', 'restarting')")
Index("ix_task_instance_active", task_instance.c.pool, sqlite_where=_ti_active, postgresql_where=_ti_active)

task_attempt = Table(
    "task_attempt",
    metadata,
    Column("id", Id, primary_key=True),
    Column("task_instance_id", Id, ForeignKey(task_instance.c.id, ondelete="CASCADE"), nullable=False),
    Column("dag_run_id", RowId, nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("dispatch_number", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("executor", String(1000), nullable=False),
    Column("executor_reason", Text, nullable=False),
    Column("scheduler_id", Id, nullable=False),
    Column("version_id", Id, nullable=False),
    Column("external_id", Cut(250)),
    Column("start_nonce", String(64)),
    Column("hostname", Cut(250)),
    Column("pid", Integer),
    Column("pid_started", BigInteger),
    Column("boot_id", String(36)),
    Column("file_hash", String(64)),
    Column("queued_at", Micros, nullable=False),
    Column("started_at", Micros),
    Column("ended_at", Micros),
    Column("heartbeat_at", Micros),
    Column("reason", FreeText),
    _one_of("state", AttemptState),
)
Index("ix_task_attempt_task_instance_id", task_attempt.c.task_instance_id)
attempt_is_active = text("task_attempt.state IN ('queued', 'running')")
_attempt_active = text("state IN ('queued', 'running')")
Index(
    "ix_task_attempt_active",
    task_attempt.c.dag_run_id,
    sqlite_where=_attempt_active,
    postgresql_where=_attempt_active,
)

run_inbox = Table(
    "run_inbox",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("dag_run_id", RowId, nullable=False),
    Column("task_instance_id", Id),
    Column("attempt_id", Id),
    Column("kind", String(20), nullable=False),
    Column("created_at", Micros, nullable=False),
)
Index("ix_run_inbox_dag_run_id", run_inbox.c.dag_run_id)

xcom = Table(
    "xcom",
    metadata,
    Column("dag_run_id", RowId, ForeignKey(dag_run.c.id, ondelete="CASCADE"), primary_key=True),
    Column("task_id", Name, primary_key=True),
    Column("map_index", Integer, primary_key=True),
    Column("key", String(512), primary_key=True),
    Column("value", Text, nullable=False),
    Column("attempt_id", Id, nullable=False),
    Column("created_at", Micros, nullable=False),
)

pool = Table(
    "pool",
    metadata,
    Column("name", Name, primary_key=True),
    Column("slots", Integer, nullable=False),
    Column("description", FreeText, nullable=False),
)

connection = Table(
    "connection",
    metadata,
    Column("conn_id", Name, primary_key=True),
    Column("conn_type", String(500), nullable=False),
    Column("description", FreeText),
    Column("host", FreeText),
    Column("schema", FreeText),
    Column("login", FreeText),
    Column("port", Integer),
    Column("password", Text),
    Column("extra", Text),
)
"""``password`` and ``extra`` are Fernet tokens (:mod:`runtime.secrets.keyring`)."""

variable = Table(
    "variable",
    metadata,
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False),
    Column("description", FreeText),
)
"""``value`` is a Fernet token."""

event = Table(
    "event",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", Micros, nullable=False),
    Column("dag_run_id", RowId),
    Column("task_instance_id", Id),
    Column("attempt_id", Id),
    Column("old_state", String(20)),
    Column("new_state", String(20), nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", FreeText),
)
Index("ix_event_dag_run_id", event.c.dag_run_id)

executor_status = Table(
    "executor_status",
    metadata,
    Column("scheduler_id", Id, ForeignKey(scheduler.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", String(1000), primary_key=True),
    Column("class_name", String(1000), nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("health", String(20), nullable=False),
    Column("reason", FreeText),
    Column("parallelism", Integer, nullable=False),
    Column("open_slots", Integer, nullable=False),
    Column("queued", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("heartbeat_age", Double),
    Column("updated_at", Micros, nullable=False),
    Column("order_id", RowId),
)

executor_order = Table(
    "executor_order",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("name", String(1000), nullable=False),
    Column("mode", String(20), nullable=False),
    Column("parallelism", Integer),
    Column("at", Micros, nullable=False),
    Column("actor", Name, nullable=False),
)

callback_request = Table(
    "callback_request",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("created_at", Micros, nullable=False),
    Column("executor", String(1000), nullable=False),
    Column("request", Text, nullable=False),
    Column("claimed_until", Micros),
    Column("tries", Integer),
)
"""What an executor or a scheduler wants called; ``executor`` is empty where a scheduler does."""

backfill = Table(
    "backfill",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("dag_id", Name, ForeignKey(dag.c.dag_id, ondelete="CASCADE"), nullable=False),
    Column("from_date", Micros, nullable=False),
    Column("to_date", Micros, nullable=False),
    Column("conf", Text, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("reprocess_behavior", String(20), nullable=False),
    Column("run_backwards", Boolean, nullable=False),
    Column("max_active_runs", Integer, nullable=False),
    Column("next_ordinal", Integer, nullable=False),
    Column("created_at", Micros, nullable=False),
    Column("completed_at", Micros),
    Column("reason", FreeText),
)
_active = text("completed_at IS NULL")
Index("ix_backfill_active", backfill.c.dag_id, unique=True, sqlite_where=_active, postgresql_where=_active)

backfill_run = Table(
    "backfill_run",
    metadata,
    Column("backfill_id", RowId, ForeignKey(backfill.c.id, ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("logical_date", Micros, nullable=False),
    Column("data_interval_start", Micros, nullable=False),
    Column("data_interval_end", Micros, nullable=False),
    Column("run_after", Micros, nullable=False),
    Column("dag_run_id", RowId),
    Column("outcome", String(20)),
)
"""Its runs in order; those from ``backfill.next_ordinal`` on are still to be looked at."""

planned_run = Table(
    "planned_run",
    metadata,
    Column("dag_id", Name, ForeignKey(dag.c.dag_id, ondelete="CASCADE"), primary_key=True),
    Column("logical_date", Micros, primary_key=True),
    Column("data_interval_start", Micros, nullable=False),
    Column("data_interval_end", Micros, nullable=False),
    Column("run_after", Micros, nullable=False),
)
"""What a custom timetable has said of the runs to come: only the DAG processor's children run its code."""
