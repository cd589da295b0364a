"""An executor that passes each launch on to whoever listens: with it the benchmark is the worker of a deployment."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from executors.base import BaseExecutor
from executors.workload import TaskInstanceKey
from runtime.core.task_api import TICKET_VARIABLE

SOCKET = "BENCH_RELAY"
"""Environment variable with the path of a datagram socket, which gets ``[attempt id, start ticket]``."""


class RelayExecutor(BaseExecutor):
    """Launches nothing, and learns nothing of what becomes of it."""

    ticket_file = False

    def start(self) -> None:
        self._outlet = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._outlet.connect(os.environ[SOCKET])

    def execute_async(
        self,
        key: TaskInstanceKey,
        command: Sequence[str],
        queue: str | None = None,
        executor_config: Any | None = None,
    ) -> None:
        ticket = self.workload(key).env[TICKET_VARIABLE]
        self._outlet.send(json.dumps([key.attempt_id, ticket]).encode())

    def sync(self) -> None:
        """There is no backend to look at."""
