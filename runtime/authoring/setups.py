"""Setups and teardowns: tasks that make a resource and take it away, and the tasks between them that use it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from runtime.authoring.arguments import flag
from runtime.authoring.exceptions import ArgumentError
from runtime.authoring.relations import Relative
from runtime.authoring.rules import TriggerRule

if TYPE_CHECKING:
    from runtime.authoring.baseoperator import BaseOperator
    from runtime.authoring.taskflow import TaskFactory

_open: list[Scope] = []
"""``with`` blocks being executed, innermost last."""


class Scope:
    """The tasks of one ``with teardown:`` block."""

    def __init__(self, setups: Sequence[BaseOperator], teardowns: Sequence[BaseOperator]) -> None:
        self._setups = setups
        self._teardowns = teardowns
        self._tasks: list[BaseOperator] = []

    def add_task(self, task: Relative) -> None:
        """Put a task that was made elsewhere between the setup and the teardown, too."""
        self._tasks += [one for one in task.operators() if one not in self._tasks]

    def close(self) -> None:
        """The first tasks of the block run after its setups, its teardowns after the last ones."""
        ends = {task.task_id for task in (*self._setups, *self._teardowns)}
        inside = {task.task_id: task for task in self._tasks if task.task_id not in ends}
        first = [task for task in inside.values() if inside.keys().isdisjoint(task.upstream_task_ids)]
        last = [task for task in inside.values() if inside.keys().isdisjoint(task.downstream_task_ids)]
        for setup in self._setups:
            setup.set_downstream(first)
        for teardown in self._teardowns:
            teardown.set_upstream(last)


def current_scope() -> Scope | None:
    """That of the innermost ``with`` block."""
    return _open[-1] if _open else None


class Roles(Relative):
    """What a task, or its output, may be besides: a setup or a teardown, and a ``with`` block of what is between."""

    def as_setup(self) -> Self:
        """It makes a resource. Tasks between it and its teardowns run only when it has succeeded.

        Raises :class:`ArgumentError` where it is a teardown.
        """
        for task in self.operators():
            if task.is_teardown:
                raise ArgumentError(f"task {task.task_id!r} is a teardown already; it cannot be a setup, too")
            task.is_setup = True
        return self

    def as_teardown(
        self, *, setups: Roles | Sequence[Roles] | None = None, on_failure_fail_dagrun: bool | None = None
    ) -> Self:
        """It takes away what ``setups`` have made: runs after whatever comes before it, if one of them has succeeded.

        How it ends does not make the run's state, unless ``on_failure_fail_dagrun``. Raises :class:`ArgumentError`
        where it is a setup, or has a trigger rule of its own.
        """
        for task in self.operators():
            make_teardown(task, on_failure_fail_dagrun)
        for setup in setups if isinstance(setups, list | tuple) else () if setups is None else (setups,):
            if not isinstance(setup, Roles):
                raise ArgumentError(f"as_teardown: setups must be tasks, not {setup!r}")
            setup.as_setup().set_downstream(self)
        return self

    def __enter__(self) -> Scope:
        setups: list[BaseOperator] = []
        teardowns: list[BaseOperator] = []
        for task in self.operators():
            if not (task.is_setup or task.is_teardown):
                raise ArgumentError(
                    f"task {task.task_id!r} is neither setup nor teardown; `with` needs task.as_teardown(setups=…)"
                )
            setups += [task] if task.is_setup else [one for one in task.upstream_list if one.is_setup]
            teardowns += [task] if task.is_teardown else [one for one in task.downstream_list if one.is_teardown]
        if (outer := current_scope()) is not None:
            for task in (*setups, *teardowns):
                outer.add_task(task)
        _open.append(Scope(setups, teardowns))
        return _open[-1]

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        scope = _open.pop()
        if kind is None:
            scope.close()


def make_teardown(task: BaseOperator, on_failure_fail_dagrun: bool | None) -> None:
    """See :meth:`Roles.as_teardown`."""
    where = f"task {task.task_id!r}"
    if task.is_setup:
        raise ArgumentError(f"{where} is a setup already; it cannot be a teardown, too")
    if task.trigger_rule not in (TriggerRule.ALL_SUCCESS, TriggerRule.ALL_DONE_SETUP_SUCCESS):
        raise ArgumentError(f"{where}: a teardown cannot have the trigger rule {task.trigger_rule}; leave it out")
    task.is_teardown = True
    task.trigger_rule = TriggerRule.ALL_DONE_SETUP_SUCCESS
    if on_failure_fail_dagrun is not None:
        task.on_failure_fail_dagrun = flag(where, "on_failure_fail_dagrun", on_failure_fail_dagrun)


def setup(function: Callable[..., Any] | TaskFactory) -> Callable[..., Any]:
    """``@setup``: calls of the function, or of a ``@task`` function, make setups."""
    return _calling(function, lambda made: made.as_setup())


def teardown(
    function: Callable[..., Any] | TaskFactory | None = None, *, on_failure_fail_dagrun: bool = False
) -> Callable[..., Any]:
    """``@teardown``, ``@teardown(on_failure_fail_dagrun=True)``: calls of the function make teardowns."""
    if function is None:
        return functools.partial(teardown, on_failure_fail_dagrun=on_failure_fail_dagrun)
    return _calling(function, lambda made: made.as_teardown(on_failure_fail_dagrun=on_failure_fail_dagrun))


def _calling(function: Callable[..., Any] | TaskFactory, mark: Callable[[Any], Any]) -> Callable[..., Any]:
    from runtime.authoring.groups import GroupFactory
    from runtime.authoring.taskflow import TaskFactory, task

    if isinstance(function, GroupFactory):
        raise ArgumentError("task groups cannot be setups or teardowns; mark the tasks inside")
    factory = function if isinstance(function, TaskFactory) else task(function)
    return factory.marked(mark)
