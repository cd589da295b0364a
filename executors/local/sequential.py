"""SequentialExecutor: one task at a time, for looking at a problem closely. Not for production."""

from __future__ import annotations

from typing import ClassVar

from executors.context import ExecutorContext
from executors.local.executor import LocalExecutor


class SequentialExecutor(LocalExecutor):
    """A LocalExecutor with one slot, whatever ``parallelism`` says. Raises as that does on a negative one."""

    is_production: ClassVar[bool] = False
    is_single_threaded: ClassVar[bool] = True

    def __init__(self, parallelism: int = 1, *, context: ExecutorContext | None = None) -> None:
        super().__init__(min(parallelism, 1) or 1, context=context)
