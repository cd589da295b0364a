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
    retry_exponential_backoff: float = 0.0
    """Factor by which each retry waits longer than the one before; 0: all wait ``retry_delay``."""
    max_retry_delay: float | None = None
    depends_on_past: bool = False
    wait_for_downstream: bool = False
    ignore_first_depends_on_past: bool = True
    max_active_tis_per_dag: int | None = None
    max_active_tis_per_dagrun: int | None = None
    callbacks: tuple[str, ...] = ()
    """Kinds that it has: ``execute``, ``success``, ``failure``, ``retry``, ``skipped``."""
    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False
    """Of a teardown: its failure fails the run."""
    decides: bool = False
    """A branch: it may decide which of its downstream tasks are skipped."""
    group: str | None = None
    """Id of the innermost task group that it stands in."""
    doc_md: str | None = None
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


class GroupSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One task group of a DAG: how tasks are shown together."""

    group_id: str
    parent: str | None = None
    tooltip: str = ""
    ui_color: str = ""
    ui_fgcolor: str = ""


class TimetableSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """When runs are due.

    ``kind`` is ``none``, ``cron``, ``interval``, ``once``, ``continuous``, ``cron trigger``, ``delta trigger``,
    ``events`` or ``custom``; what the last four need besides stands in ``arguments``.
    """

    kind: str = "none"
    expression: str = ""
    """Five-field cron expression, for ``cron``."""
    seconds: float = 0.0
    """Length of the interval, for ``interval``."""
    name: str = ""
    """Registered name, for ``custom``."""
    arguments: dict[str, Any] = {}
    """Plain JSON. ``cron trigger``: ``crons`` (list), ``interval`` and ``run_immediately`` (true, false, seconds or
    null). ``delta trigger``: ``interval``. ``events``: ``dates`` (microseconds, ascending), ``restrict``."""
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
    max_consecutive_failed_dag_runs: int = 0
    """The DAG is paused after so many scheduled runs have failed in a row; 0: never."""
    has_on_success_callback: bool = False
    has_on_failure_callback: bool = False
    params: dict[str, Any] = {}
    """Default values."""
    param_schemas: dict[str, dict[str, Any]] = {}
    """JSON schema by name, of those that have one."""
    groups: tuple[GroupSpec, ...] = ()
    edge_labels: dict[str, dict[str, str]] = {}
    """Label by upstream task id, then downstream task id."""
    tags: tuple[str, ...] = ()
    description: str = ""
    doc_md: str | None = None
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
