"""Executors: the processes' side of the runtime. Nothing here imports ``runtime``.

An executor is handed data (a :class:`~executors.workload.Workload`) and answers with facts about processes
(:mod:`executors.events`). It knows no task states and no database, so it can be written, tested and shipped alone.
"""

from executors.base import BaseExecutor
from executors.callbacks import CallbackRequest
from executors.context import ExecutorContext
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload

__all__ = [
    "BaseExecutor",
    "CallbackRequest",
    "CodeReference",
    "ExecutorContext",
    "TaskInstanceKey",
    "TaskInstanceRef",
    "Workload",
]
