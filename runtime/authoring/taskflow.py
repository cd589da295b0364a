"""``@task`` and its kinds: a function becomes a task, its call an edge, its result an XCom."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, overload

from runtime.authoring.baseoperator import BaseOperator
from runtime.authoring.bash import BashOperator
from runtime.authoring.branching import BranchPythonOperator, ShortCircuitOperator
from runtime.authoring.calling import call_arguments, check_call
from runtime.authoring.dag import DAG, current_dag
from runtime.authoring.exceptions import ArgumentError, TaskError
from runtime.authoring.groups import TaskGroup, current_group
from runtime.authoring.python import PythonOperator
from runtime.authoring.xcom import XComArg

_LATER = ("partial", "expand", "expand_kwargs", "map")


class DecoratedOperator(PythonOperator):
    """What a call of a ``@task`` function makes."""

    operator_name: ClassVar[str] = "@task"


class BranchOperator(BranchPythonOperator):
    """What a call of a ``@task.branch`` function makes."""

    operator_name: ClassVar[str] = "@task.branch"


class ShortCircuitDecorated(ShortCircuitOperator):
    """What a call of a ``@task.short_circuit`` function makes."""

    operator_name: ClassVar[str] = "@task.short_circuit"


class BashDecorated(BashOperator):
    """What a call of a ``@task.bash`` function makes: the function returns the command, which may hold templates."""

    operator_name: ClassVar[str] = "@task.bash"
    template_fields: ClassVar[Sequence[str]] = ("op_args", "op_kwargs", "env", "cwd")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any],
        op_kwargs: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        if "bash_command" in kwargs:
            raise ArgumentError(f"task {kwargs['task_id']!r}: its function returns the command; leave bash_command out")
        super().__init__(bash_command="<what the function returns>", **kwargs)
        self.python_callable = python_callable
        self.op_args, self.op_kwargs = tuple(op_args), dict(op_kwargs)

    def execute(self, context: Mapping[str, Any]) -> Any:
        """The last line of output. Raises :class:`TaskError` where the function returns no command."""
        kwargs = call_arguments(self.python_callable, self.op_args, self.op_kwargs, context)
        command = self.python_callable(*self.op_args, **kwargs)
        if not isinstance(command, str) or not command.strip():
            raise TaskError(f"the function of a @task.bash task must return a command, not {command!r}")
        where = f"task {self.task_id!r}, the command that it returned"
        self.bash_command = self._dag.templates.render_value(command, context, where)
        return super().execute(context)


class TaskFactory:
    """A function under ``@task``. Each call inside a DAG makes one task of it and returns its :class:`XComArg`."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        operator: type[BaseOperator] = DecoratedOperator,
        marks: Sequence[Callable[[XComArg], Any]] = (),
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._arguments = dict(arguments)
        self._operator = operator
        self._marks = marks

    def override(self, **arguments: Any) -> TaskFactory:
        """The same function with other task arguments."""
        return self._changed(TaskFactory(self.function, {**self._arguments, **arguments}, self._operator, self._marks))

    def marked(self, mark: Callable[[XComArg], Any]) -> TaskFactory:
        """The same function; ``mark`` is told of each task that is made."""
        return self._changed(TaskFactory(self.function, self._arguments, self._operator, (*self._marks, mark)))

    def _changed(self, made: TaskFactory) -> TaskFactory:
        made.__dict__.update({name: self.__dict__[name] for name in ("signature",) if name in self.__dict__})
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        """Make a task. Raises :class:`ArgumentError` where the function could not be called so."""
        arguments = dict(self._arguments)
        dag = arguments.get("dag") or current_dag()
        group = arguments.get("task_group") or current_group(dag)
        task_id = arguments.pop("task_id", None) or self.function.__name__
        check_call(f"task {task_id!r}", self.signature, args, kwargs)
        if self._operator is DecoratedOperator and arguments.get("multiple_outputs") is None:
            arguments["multiple_outputs"] = self._returns_dict
        arguments.setdefault("doc_md", self.function.__doc__)
        operator_class: Any = self._operator
        operator = operator_class(
            task_id=_unique(task_id, dag, group),
            python_callable=self.function,
            op_args=args,
            op_kwargs=kwargs,
            **arguments,
        )
        made = XComArg(operator)
        for mark in self._marks:
            mark(made)
        return made

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


def _unique(task_id: str, dag: DAG | None, group: TaskGroup | None) -> str:
    """``name``, or ``name__1``, ``name__2``, … where a task of the DAG has it already."""
    full = group.child_id(task_id) if group and isinstance(task_id, str) else task_id
    if dag is None or not dag.has_task(full):
        return task_id
    number = dag.numbered.get(full, 0) + 1
    while dag.has_task(f"{full}__{number}"):
        number += 1
    dag.numbered[full] = number
    return f"{task_id}__{number}"


class _TaskDecorator:
    """``@task`` and ``@task(...)``; takes the arguments of its operator."""

    def __init__(self, operator: type[BaseOperator]) -> None:
        self._operator = operator

    @overload
    def __call__(self, python_callable: Callable[..., Any]) -> TaskFactory: ...
    @overload
    def __call__(self, **arguments: Any) -> Callable[[Callable[..., Any]], TaskFactory]: ...
    def __call__(
        self, python_callable: Callable[..., Any] | None = None, **arguments: Any
    ) -> TaskFactory | Callable[[Callable[..., Any]], TaskFactory]:
        if python_callable is None:
            return functools.partial(_decorate, arguments=arguments, operator=self._operator)
        return _decorate(python_callable, arguments, self._operator)


class _Task(_TaskDecorator):
    """``@task`` itself, and its kinds: ``@task.branch`` and the like."""

    def __init__(self) -> None:
        super().__init__(DecoratedOperator)
        self.bash = _TaskDecorator(BashDecorated)
        self.branch = _TaskDecorator(BranchOperator)
        self.short_circuit = _TaskDecorator(ShortCircuitDecorated)

    @property
    def python(self) -> _Task:
        """Airflow's long name of the same decorator."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"@task.{name} is not supported yet; use @task, or an operator")


def _decorate(function: Callable[..., Any], arguments: Mapping[str, Any], operator: type[BaseOperator]) -> TaskFactory:
    if isinstance(function, TaskFactory) or not callable(function):
        raise ArgumentError(f"@task decorates a function, not {function!r}")
    return TaskFactory(function, arguments, operator)


task = _Task()
