"""An executor in memory that does what it is told, for tests of hosts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.workload import TaskInstanceKey, TaskInstanceRef


class Hang:
    """One scripted hang. Wait for ``entered`` to know that the executor is stuck; set ``released`` to let it go on."""

    def __init__(self, seconds: float | None) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()
        self._seconds = seconds

    def wait(self) -> None:
        self.entered.set()
        self.released.wait(self._seconds)


class ScriptedExecutor(BaseExecutor):
    """Runs nothing, in memory, and does what it was told to: hang, raise, succeed at once, or wait for :meth:`finish`.

    From code: :meth:`hang`, :meth:`raises`, :meth:`finish` and the attribute ``instant``; these are thread-safe. From
    ``[scripted_executor]``: ``instant = true``; ``hang_in`` (a method) and ``hang_sec`` (30; each call hangs);
    ``raise_in`` (a method) and ``raise_times`` (0: always). Methods are ``constructor`` and those that ``calls`` shows.
    From a task: ``executor_config={"end": "success"}``, or ``"failed"`` or ``"lost"``, ends its launches at once.
    """

    is_production: ClassVar[bool] = False
    conf_section: ClassVar[str | None] = "scripted_executor"

    def __init__(self, parallelism: int = 32, *, context: ExecutorContext | None = None) -> None:
        super().__init__(parallelism, context=context)
        self.calls: deque[tuple[str, TaskInstanceKey | None]] = deque(maxlen=10_000)
        """(method, key) of each call, oldest first."""
        self.instant = self.context.text("instant", "false", ("true", "false")) == "true"
        """Each launch ends successfully at once."""
        self._hangs: dict[str, Hang] = {}
        self._errors: dict[str, tuple[Exception, int | None]] = {}
        self._finished: deque[tuple[TaskInstanceKey, bool, str | None]] = deque()
        self._read_script()
        self._act("constructor")

    def hang(self, method: str, seconds: float | None = None) -> Hang:
        """Every call of ``method`` waits, at most ``seconds``, until ``released`` is set."""
        self._hangs[method] = hang = Hang(seconds)
        return hang

    def raises(self, method: str, error: Exception | None = None, times: int | None = None) -> None:
        """The next ``times`` calls of ``method`` raise (``None``: all; 0: no more)."""
        self._errors[method] = (error or RuntimeError(f"scripted in {method}"), times)

    def finish(self, key: TaskInstanceKey, ok: bool = True, info: str | None = None) -> None:
        """The next :meth:`sync` reports this end; asks the host for a heartbeat."""
        self._finished.append((key, ok, info))
        self.context.wake()

    def start(self) -> None:
        self._act("start")

    def heartbeat(self) -> None:
        self._act("heartbeat")
        super().heartbeat()

    def execute_async(
        self,
        key: TaskInstanceKey,
        command: Sequence[str],
        queue: str | None = None,
        executor_config: Any | None = None,
    ) -> None:
        self._act("execute_async", key)
        end = (executor_config or {}).get("end", "success" if self.instant else None)
        if end is not None:
            {"success": self.success, "failed": self.fail, "lost": self.lost}[end](
                key, None if end == "success" else "scripted"
            )

    def sync(self) -> None:
        self._act("sync")
        while self._finished:
            key, ok, info = self._finished.popleft()
            (self.success if ok else self.fail)(key, info)

    def try_adopt_task_instances(self, tis: Sequence[TaskInstanceRef]) -> Sequence[TaskInstanceRef]:
        self._act("try_adopt_task_instances")
        return super().try_adopt_task_instances(tis)

    def revoke_task(self, ti: TaskInstanceRef) -> None:
        self._act("revoke_task", ti.key)
        super().revoke_task(ti)

    def end(self) -> None:
        self._act("end")
        super().end()

    def terminate(self) -> None:
        self._act("terminate")
        for key in [*self.queued_tasks, *self.running]:
            self.lost(key, "the executor was terminated")

    def _read_script(self) -> None:
        if method := self.context.text("hang_in", ""):
            self.hang(method, self.context.integer("hang_sec", 30))
        if method := self.context.text("raise_in", ""):
            self.raises(method, times=self.context.integer("raise_times", 0) or None)

    def _act(self, method: str, key: TaskInstanceKey | None = None) -> None:
        self.calls.append((method, key))
        if method in self._hangs:
            self._hangs[method].wait()
        error, times = self._errors.get(method, (None, 0))
        if error is None or times == 0:
            return
        self._errors[method] = (error, None if times is None else times - 1)
        raise error
