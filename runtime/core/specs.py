"""What the scheduler knows of a DAG: data made from the DAG file in a child process, never the file's own objects.

Encoded as JSON into ``dag_version.spec``. Durations are seconds, moments are microseconds (:mod:`runtime.core.clock`).
"""

from __future__ import annotations

from typing import Any

import msgspec


class TaskSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One task of a DAG."""

    task_id: str
    operator: str
    """Class name, for people: ``PythonOperator``, ``@task``, ``BashOperator``."""
    upstream: tuple[str, ...] = ()
    trigger_rule: str = "all_success"
    retries: int = 0
    retry_delay: float = 300.0
    execution_timeout: float | None = None
    pool: str = "default_pool"
    pool_slots: int = 1
    priority_weight: int = 1
    """Effective weight, weight rule applied."""
    queue: str = "default"
    executor: str | None = None
    """As written on the task, in ``default_args`` or on the DAG; ``None`` where nobody said."""
    executor_fallback: tuple[str, ...] = ()
    """Where it goes on to, in order, as ``[core] executor_fallback`` has it."""
    executor_source: str | None = None
    """Who said so: ``task``, ``default_args`` or ``dag``."""
    executor_config: dict[str, Any] = {}
    owner: str = "hybrid"
    empty: bool = False
    """Nothing to execute (``EmptyOperator``): the scheduler ends it without an executor."""


class TimetableSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """When runs are due. ``kind`` is ``none``, ``cron`` or ``interval``."""

    kind: str = "none"
    expression: str = ""
    """Five-field cron expression, for ``cron``."""
    seconds: float = 0.0
    """Length of the interval, for ``interval``."""
    timezone: str = "UTC"
    summary: str = "None"
    """As the author wrote it: ``@daily``, ``0 3 * * *``, ``1:00:00``."""


class DagSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of one DAG."""

    dag_id: str
    tasks: tuple[TaskSpec, ...]
    timetable: TimetableSpec = TimetableSpec()
    start_date: int | None = None
    end_date: int | None = None
    catchup: bool = False
    max_active_runs: int = 16
    max_active_tasks: int = 16
    dagrun_timeout: float | None = None
    is_paused_upon_creation: bool | None = None
    params: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    description: str = ""
    owner: str = "hybrid"


class ParsedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the parsing child answers for one file: its DAGs, or the one error."""

    rel_path: str
    file_hash: str
    dags: tuple[DagSpec, ...] = ()
    error: str | None = None
    dependencies: tuple[str, ...] = ()
    """Other files below the DAGs folder that it imported, relative: a change of one re-parses this file."""
    warnings: tuple[str, ...] = ()


def encode(value: DagSpec | ParsedFile) -> bytes:
    return msgspec.json.encode(value)


_dag_decoder = msgspec.json.Decoder(DagSpec)
_file_decoder = msgspec.json.Decoder(ParsedFile)


def decode_dag(data: bytes | str) -> DagSpec:
    """Raises ``msgspec.ValidationError`` where ``data`` is no DAG."""
    return _dag_decoder.decode(data)


def decode_file(data: bytes | str) -> ParsedFile:
    """Raises ``msgspec.ValidationError`` where ``data`` is no answer of a parsing child."""
    return _file_decoder.decode(data)
