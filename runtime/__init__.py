"""Workflows whose tasks say where they run. ``from runtime import DAG, dag, task, chain`` is all that a DAG file needs.

The names are loaded when they are first used: ``import runtime`` costs nothing, which every command and process pays.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would cost every process 8 ms
if TYPE_CHECKING:
    from typing import Any

    from runtime.authoring.baseoperator import BaseOperator
    from runtime.authoring.bash import BashOperator
    from runtime.authoring.context import get_current_context
    from runtime.authoring.dag import DAG, dag
    from runtime.authoring.empty import EmptyOperator
    from runtime.authoring.exceptions import FailTask, SkipTask, TaskError, TaskTimeout
    from runtime.authoring.python import PythonOperator
    from runtime.authoring.relations import chain, cross_downstream
    from runtime.authoring.rules import TriggerRule, WeightRule
    from runtime.authoring.taskflow import task
    from runtime.authoring.xcom import XComArg

__all__ = [
    "DAG",
    "BaseOperator",
    "BashOperator",
    "EmptyOperator",
    "FailTask",
    "PythonOperator",
    "SkipTask",
    "TaskError",
    "TaskTimeout",
    "TriggerRule",
    "WeightRule",
    "XComArg",
    "chain",
    "cross_downstream",
    "dag",
    "get_current_context",
    "task",
]

_HOME = {
    "DAG": "dag",
    "BaseOperator": "baseoperator",
    "BashOperator": "bash",
    "EmptyOperator": "empty",
    "FailTask": "exceptions",
    "PythonOperator": "python",
    "SkipTask": "exceptions",
    "TaskError": "exceptions",
    "TaskTimeout": "exceptions",
    "TriggerRule": "rules",
    "WeightRule": "rules",
    "XComArg": "xcom",
    "chain": "relations",
    "cross_downstream": "relations",
    "dag": "dag",
    "get_current_context": "context",
    "task": "taskflow",
}
"""Name → module of :mod:`runtime.authoring`."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"runtime.authoring.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
