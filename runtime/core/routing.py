"""Which executors a task instance may go to, in which order, and why. Pure; the answer is stored with each attempt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from executors.errors import UnknownExecutorError
from runtime.core.errors import ConfigError
from runtime.core.routes import FallbackPolicy, Rule
from runtime.core.specs import DagSpec, TaskSpec

NEVER = FallbackPolicy()
"""Tasks stay with the first executor of their chain."""
Lookup = Callable[[str], str]
"""From what people write to the configured instance's name. Raises :class:`UnknownExecutorError`."""


@dataclass(frozen=True, slots=True)
class Route:
    """``chain`` is empty where there is no executor for now: the task waits with ``reason``, or fails with it."""

    chain: tuple[str, ...]
    reason: str
    fails: bool = False


class Tried(NamedTuple):
    """A rule that was asked, and whether it matched: for ``hybrid executors explain``."""

    what: str
    decides: bool


@dataclass(frozen=True, slots=True)
class Router:
    """:param missing: ``[core] missing_executor``: ``hold``, ``reroute`` or ``fail``.

    :param rules: ``[core] executor_routes``, whose executors are configured; see :func:`checked`.
    :param fallback: ``[core] executor_fallback``.
    """

    default: str
    lookup: Lookup
    missing: str = "hold"
    rules: tuple[Rule, ...] = ()
    fallback: FallbackPolicy = NEVER

    def route(self, dag: DagSpec, task: TaskSpec) -> Route:
        """Task, ``default_args``, DAG (as the parse recorded it), else the first rule that matches, else the first of
        ``[core] executor``.
        """
        if task.executor is not None:
            return self._as_written((task.executor, *task.executor_fallback), task.executor_source or "task")
        for number, rule in enumerate(self.rules, 1):
            if rule.matches(dag, task):
                return Route(self._names(rule.executors), f"route {number}: {rule}")
        return Route((self.default,), "default: first in [core] executor")

    def explain(self, dag: DagSpec, task: TaskSpec) -> Iterator[Tried]:
        """Everything that is asked, in order, up to what decides."""
        for source in ("task", "default_args", "dag"):
            decides = task.executor is not None and (task.executor_source or "task") == source
            shown = f"executor={_shown((task.executor or '', *task.executor_fallback))}" if decides else "says nothing"
            yield Tried(f"{source}: {shown}", decides)
            if decides:
                return
        for number, rule in enumerate(self.rules, 1):
            decides = rule.matches(dag, task)
            yield Tried(f"route {number}: {rule}", decides)
            if decides:
                return
        yield Tried("default: first in [core] executor", True)

    def _as_written(self, written: tuple[str, ...], source: str) -> Route:
        """A chain goes on without the executors that are not configured, if at least one is."""
        known, problems = [], []
        for name in written:
            try:
                known.append(self.lookup(name))
            except UnknownExecutorError as error:
                problems.append(str(error))
        if not known:
            return self._missing(written[0], problems[0])
        chain = tuple(dict.fromkeys(known))
        return Route(chain, f"{source}: executor={_shown(written)}")

    def _missing(self, name: str, problem: str) -> Route:
        if self.missing == "reroute":
            return Route((self.default,), f"rerouted: executor {name!r} is not configured ([core] missing_executor)")
        return Route((), f"executor {name!r} is not configured: {problem}", fails=self.missing == "fail")

    def _names(self, written: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.lookup(name) for name in written))


def checked(rules: tuple[Rule, ...], lookup: Lookup) -> tuple[Rule, ...]:
    """``rules``, if all their executors are configured. Raises :class:`ConfigError` for the first that is not."""
    for number, rule in enumerate(rules, 1):
        for name in rule.executors:
            try:
                lookup(name)
            except UnknownExecutorError as error:
                raise ConfigError(f"[core] executor_routes, rule {number} {str(rule)!r}: {error}") from None
    return rules


def leaves(policy: FallbackPolicy, sick: Mapping[str, str], starting: Collection[str] = ()) -> Callable[[str], bool]:
    """Whether tasks may go on from an executor that has no slot for them: it is sick, or it is full. One that is just
    starting is waited for.
    """

    def may_leave(executor: str) -> bool:
        if executor in starting:
            return False
        return policy.unavailable if executor in sick else policy.full

    return may_leave


def fell_back(chain: tuple[str, ...], executor: str, sick: Mapping[str, str], left: tuple[str, ...] = ()) -> str:
    """Why ``executor`` and not the one that the chain begins with; empty where it is that one."""
    reasons = [f"{name} {_why(name, sick, left)}" for name in chain[: chain.index(executor)]]
    return f"; fallback: {', '.join(reasons)}" if reasons else ""


def _why(name: str, sick: Mapping[str, str], left: tuple[str, ...]) -> str:
    if name in left:
        return "did not start it"
    return f"is {sick[name]}" if name in sick else "is full"


def _shown(written: tuple[str, ...]) -> str:
    return repr(written[0]) if len(written) == 1 else repr(list(written))
