"""Workflows whose tasks say where they run. ``from runtime import DAG, dag, task, chain`` is all that a DAG file needs.

The names are loaded when they are first used: ``import runtime`` costs nothing, which every command and process pays.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would cost every process 8 ms
if TYPE_CHECKING:
    from typing import Any

    from runtime.authoring.baseoperator import BaseOperator
    from runtime.authoring.bash import BashOperator
    from runtime.authoring.branching import BaseBranchOperator, BranchPythonOperator, ShortCircuitOperator, SkipMixin
    from runtime.authoring.context import get_current_context
    from runtime.authoring.dag import DAG, dag
    from runtime.authoring.empty import EmptyOperator
    from runtime.authoring.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowSkipException,
        AirflowTaskTimeout,
        FailTask,
        SkipTask,
        TaskError,
        TaskTimeout,
    )
    from runtime.authoring.groups import TaskGroup, task_group
    from runtime.authoring.latest_only import LatestOnlyOperator
    from runtime.authoring.params import Param
    from runtime.authoring.python import PythonOperator
    from runtime.authoring.relations import Label, chain, chain_linear, cross_downstream
    from runtime.authoring.rules import TriggerRule, WeightRule
    from runtime.authoring.secrets import BaseHook, Connection, Variable, mask_secret
    from runtime.authoring.setups import setup, teardown
    from runtime.authoring.taskflow import task
    from runtime.authoring.timetables import (
        CronDataIntervalTimetable,
        CronTriggerTimetable,
        DagRunInfo,
        DataInterval,
        DeltaDataIntervalTimetable,
        DeltaTriggerTimetable,
        EventsTimetable,
        MultipleCronTriggerTimetable,
        TimeRestriction,
        Timetable,
        register_timetable,
    )
    from runtime.authoring.trigger_dagrun import TriggerDagRunOperator
    from runtime.authoring.xcom import XComArg

__all__ = [
    "DAG",
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseBranchOperator",
    "BaseHook",
    "BaseOperator",
    "BashOperator",
    "BranchPythonOperator",
    "Connection",
    "CronDataIntervalTimetable",
    "CronTriggerTimetable",
    "DagRunInfo",
    "DataInterval",
    "DeltaDataIntervalTimetable",
    "DeltaTriggerTimetable",
    "EmptyOperator",
    "EventsTimetable",
    "FailTask",
    "Label",
    "LatestOnlyOperator",
    "MultipleCronTriggerTimetable",
    "Param",
    "PythonOperator",
    "ShortCircuitOperator",
    "SkipMixin",
    "SkipTask",
    "TaskError",
    "TaskGroup",
    "TaskTimeout",
    "TimeRestriction",
    "Timetable",
    "TriggerDagRunOperator",
    "TriggerRule",
    "Variable",
    "WeightRule",
    "XComArg",
    "chain",
    "chain_linear",
    "cross_downstream",
    "dag",
    "get_current_context",
    "mask_secret",
    "register_timetable",
    "setup",
    "task",
    "task_group",
    "teardown",
]

_HOME = {
    "DAG": "dag",
    "AirflowException": "exceptions",
    "AirflowFailException": "exceptions",
    "AirflowSkipException": "exceptions",
    "AirflowTaskTimeout": "exceptions",
    "BaseBranchOperator": "branching",
    "BaseHook": "secrets",
    "BaseOperator": "baseoperator",
    "BashOperator": "bash",
    "BranchPythonOperator": "branching",
    "Connection": "secrets",
    "CronDataIntervalTimetable": "timetables",
    "CronTriggerTimetable": "timetables",
    "DagRunInfo": "timetables",
    "DataInterval": "timetables",
    "DeltaDataIntervalTimetable": "timetables",
    "DeltaTriggerTimetable": "timetables",
    "EmptyOperator": "empty",
    "EventsTimetable": "timetables",
    "FailTask": "exceptions",
    "Label": "relations",
    "LatestOnlyOperator": "latest_only",
    "MultipleCronTriggerTimetable": "timetables",
    "Param": "params",
    "PythonOperator": "python",
    "ShortCircuitOperator": "branching",
    "SkipMixin": "branching",
    "SkipTask": "exceptions",
    "TaskError": "exceptions",
    "TaskGroup": "groups",
    "TaskTimeout": "exceptions",
    "TimeRestriction": "timetables",
    "Timetable": "timetables",
    "TriggerDagRunOperator": "trigger_dagrun",
    "TriggerRule": "rules",
    "Variable": "secrets",
    "WeightRule": "rules",
    "XComArg": "xcom",
    "chain": "relations",
    "chain_linear": "relations",
    "cross_downstream": "relations",
    "dag": "dag",
    "get_current_context": "context",
    "mask_secret": "secrets",
    "register_timetable": "timetables",
    "setup": "setups",
    "task": "taskflow",
    "task_group": "groups",
    "teardown": "setups",
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
