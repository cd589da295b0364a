"""``@task``: a function becomes a task, its call an edge, its result an XCom."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn, overload

from runtime.authoring.calling import check_call
from runtime.authoring.dag import DAG, current_dag
from runtime.authoring.exceptions import ArgumentError
from runtime.authoring.python import PythonOperator
from runtime.authoring.xcom import XComArg

_LATER = ("partial", "expand", "expand_kwargs", "map")


class DecoratedOperator(PythonOperator):
    """What a call of a ``@task`` function makes."""

    operator_name: ClassVar[str] = "@task"

    def __init__(self, *, multiple_outputs: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple_outputs = multiple_outputs
        """With it the worker writes each item of the returned dictionary as an XCom of its own, too."""


class TaskFactory:
    """A function under ``@task``. Each call inside a DAG makes one task of it and returns its :class:`XComArg`."""

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._arguments = dict(arguments)

    def override(self, **arguments: Any) -> TaskFactory:
        """The same function with other task arguments."""
        changed = TaskFactory(self.function, {**self._arguments, **arguments})
        changed.__dict__.update({name: self.__dict__[name] for name in ("signature",) if name in self.__dict__})
        return changed

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        """Make a task. Raises :class:`ArgumentError` where the function could not be called so."""
        arguments = dict(self._arguments)
        dag = arguments.get("dag") or current_dag()
        task_id = arguments.pop("task_id", None) or self.function.__name__
        check_call(f"task {task_id!r}", self.signature, args, kwargs)
        if arguments.get("multiple_outputs") is None:
            arguments["multiple_outputs"] = self._returns_dict
        operator = DecoratedOperator(
            task_id=_unique(task_id, dag), python_callable=self.function, op_args=args, op_kwargs=kwargs, **arguments
        )
        return XComArg(operator)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @functools.cached_property
    def _returns_dict(self) -> bool:
        """Whether the annotation says so, which turns ``multiple_outputs`` on, as in Airflow."""
        if "return" not in getattr(self.function, "__annotations__", {}):
            return False
        try:
            kind = typing.get_type_hints(self.function).get("return")
        except Exception:  # an annotation may name anything, also what exists for type checkers only
            return False
        kind = typing.get_origin(kind) or kind
        return isinstance(kind, type) and issubclass(kind, Mapping)

    def __getattr__(self, name: str) -> NoReturn:
        if name in _LATER:
            raise ArgumentError(f"task {self.__dict__['function'].__name__!r}: .{name}() is not supported yet")
        raise AttributeError(f"a @task function has no attribute {name!r}")


def _unique(task_id: str, dag: DAG | None) -> str:
    """``name``, or ``name__1``, ``name__2``, … where a task of the DAG has it already."""
    if dag is None or not dag.has_task(task_id):
        return task_id
    number = dag.numbered.get(task_id, 0) + 1
    while dag.has_task(f"{task_id}__{number}"):
        number += 1
    dag.numbered[task_id] = number
    return f"{task_id}__{number}"


class _TaskDecorator:
    """``@task`` and ``@task(...)``; takes the arguments of an operator, and ``multiple_outputs``."""

    @overload
    def __call__(self, python_callable: Callable[..., Any]) -> TaskFactory: ...
    @overload
    def __call__(self, **arguments: Any) -> Callable[[Callable[..., Any]], TaskFactory]: ...
    def __call__(
        self, python_callable: Callable[..., Any] | None = None, **arguments: Any
    ) -> TaskFactory | Callable[[Callable[..., Any]], TaskFactory]:
        if python_callable is None:
            return functools.partial(_decorate, arguments=arguments)
        return _decorate(python_callable, arguments)

    @property
    def python(self) -> _TaskDecorator:
        """Airflow's long name of the same decorator."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"@task.{name} is not supported yet; use @task, or an operator")


def _decorate(function: Callable[..., Any], arguments: Mapping[str, Any]) -> TaskFactory:
    if isinstance(function, TaskFactory) or not callable(function):
        raise ArgumentError(f"@task decorates a function, not {function!r}")
    return TaskFactory(function, arguments)


task = _TaskDecorator()
