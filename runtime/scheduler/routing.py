"""Which executor a task instance goes to, and why. Pure; the answer is stored with each attempt, never NULL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from executors.errors import UnknownExecutorError
from runtime.core.specs import TaskSpec

Lookup = Callable[[str], str]
"""From what a task says to the configured instance's name. Raises :class:`UnknownExecutorError`."""


@dataclass(frozen=True, slots=True)
class Route:
    """``executor`` is ``None`` where there is none for now: the task waits with ``reason``, or fails with it."""

    executor: str | None
    reason: str
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Router:
    """:param missing: ``[core] missing_executor``: ``hold``, ``reroute`` or ``fail``."""

    default: str
    lookup: Lookup
    missing: str = "hold"

    def route(self, task: TaskSpec) -> Route:
        """Task, ``default_args``, DAG (as the parse recorded it), else the first of ``[core] executor``."""
        if task.executor is None:
            return Route(self.default, "default: first in [core] executor")
        try:
            return Route(self.lookup(task.executor), f"{task.executor_source or 'task'}: executor={task.executor!r}")
        except UnknownExecutorError as error:
            return self._missing(task.executor, str(error))

    def _missing(self, name: str, problem: str) -> Route:
        if self.missing == "reroute":
            return Route(self.default, f"rerouted: executor {name!r} is not configured ([core] missing_executor)")
        return Route(None, f"executor {name!r} is not configured: {problem}", fails=self.missing == "fail")
