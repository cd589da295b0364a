"""A task's output as an argument of another task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from runtime.authoring.exceptions import ArgumentError, XComNotFound
from runtime.authoring.references import Reference
from runtime.authoring.setups import Roles

if TYPE_CHECKING:
    from runtime.authoring.baseoperator import BaseOperator

RETURN_VALUE = "return_value"
_MISSING = object()


class XComArg(Reference, Roles):
    """The XCom that ``operator`` will write under ``key``. Whoever takes it as an argument runs after ``operator``."""

    def __init__(self, operator: BaseOperator, key: str = RETURN_VALUE) -> None:
        self.operator = operator
        self.key = key

    def __getitem__(self, key: str) -> XComArg:
        """The XCom of the same task under another key."""
        if not isinstance(key, str):
            raise ArgumentError(f"XComArg[{key!r}]: an XCom key is a string; take the value apart inside a task")
        return XComArg(self.operator, key)

    def __iter__(self) -> NoReturn:
        raise TypeError("an XComArg has no value before its task has run; loop over it inside a task")

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"XComArg({self.operator.task_id!r}, key={self.key!r})"

    def __str__(self) -> str:
        """As a template, so that it may stand in an f-string of a templated field."""
        dag_id = f", dag_id='{self.operator.dag.dag_id}'" if self.operator.dag else ""
        return f"{{{{ ti.xcom_pull(task_ids='{self.operator.task_id}'{dag_id}, key='{self.key}') }}}}"

    def operators(self) -> Iterator[BaseOperator]:
        yield self.operator

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """Pull the value. A task that returned nothing gives ``None``.

        Raises :class:`XComNotFound` for any other key that was not written.
        """
        task_id = self.operator.task_id
        value = context["ti"].xcom_pull(task_ids=task_id, key=self.key, default=_MISSING)
        if value is not _MISSING:
            return value
        if self.key == RETURN_VALUE:
            return None
        raise XComNotFound(
            f"task {task_id!r} wrote no XCom {self.key!r}; push it with ti.xcom_push, "
            "or return a dict from a task with multiple_outputs=True"
        )


class DagParam(Reference):
    """A parameter of the DAG: the run's ``conf``, else the DAG's ``params``, else ``default``."""

    def __init__(self, name: str, default: Any = _MISSING) -> None:
        self.name = name
        self._default = default

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """Raises :class:`XComNotFound`'s base :class:`TaskError` where the run has no such parameter."""
        params = context.get("params") or {}
        if self.name in params:
            return params[self.name]
        if self._default is _MISSING:
            raise XComNotFound(f"the run has no param {self.name!r}; give it in --conf or in DAG(params=…)")
        return self._default
