"""The context of the task that runs: Airflow's names, and a way to it from anywhere in the task's code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

CONTEXT_KEYS = frozenset(
    {
        "conf",
        "conn",
        "dag",
        "dag_run",
        "data_interval_end",
        "data_interval_start",
        "ds",
        "ds_nodash",
        "exception",
        "expanded_ti_count",
        "logical_date",
        "macros",
        "map_index_template",
        "outlet_events",
        "params",
        "prev_data_interval_end_success",
        "prev_data_interval_start_success",
        "prev_end_date_success",
        "prev_start_date_success",
        "run_id",
        "start_date",
        "task",
        "task_instance",
        "task_instance_key_str",
        "templates_dict",
        "test_mode",
        "ti",
        "ts",
        "ts_nodash",
        "ts_nodash_with_tz",
        "var",
    }
)
"""Names under which a Python callable may ask for a part of the context."""

_current: ContextVar[Mapping[str, Any] | None] = ContextVar("hybrid_task_context", default=None)


@contextmanager
def active(context: Mapping[str, Any]) -> Iterator[None]:
    """Within it :func:`get_current_context` answers ``context``. Whoever calls ``execute`` wraps the call in it."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def get_current_context() -> Mapping[str, Any]:
    """The context of the task that runs. Raises ``RuntimeError`` outside of one."""
    context = _current.get()
    if context is None:
        raise RuntimeError("get_current_context() works only while a task runs; call it inside the task")
    return context
