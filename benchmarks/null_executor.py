"""An executor that executes nothing: what is left is the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from executors.base import BaseExecutor
from executors.workload import TaskInstanceKey


class NullExecutor(BaseExecutor):
    """Every workload has succeeded as soon as it is launched. Each has its start ticket, as any remote one."""

    ticket_file = False

    def execute_async(
        self,
        key: TaskInstanceKey,
        command: Sequence[str],
        queue: str | None = None,
        executor_config: Any | None = None,
    ) -> None:
        self.success(key)

    def sync(self) -> None:
        """There is no backend to look at."""
