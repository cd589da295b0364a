"""Which task runs after which: ``>>``, ``<<``, ``chain``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from runtime.authoring.exceptions import ArgumentError, DagFileError

if TYPE_CHECKING:
    from runtime.authoring.baseoperator import BaseOperator

Related: TypeAlias = "Relative | Sequence[Related]"


class Relative:
    """Something that stands for tasks in ``a >> b``. Lists of them stand on either side."""

    def operators(self) -> Iterator[BaseOperator]:
        """The tasks that it stands for."""
        raise NotImplementedError

    def set_downstream(self, others: Related) -> None:
        """``others`` run after this."""
        for other in _flat(others):
            for first in self.operators():
                for second in other.operators():
                    _connect(first, second)

    def set_upstream(self, others: Related) -> None:
        """This runs after ``others``."""
        for other in _flat(others):
            other.set_downstream(self)

    def __rshift__(self, other: Any) -> Any:
        self.set_downstream(other)
        return other

    def __lshift__(self, other: Any) -> Any:
        self.set_upstream(other)
        return other

    def __rrshift__(self, other: Any) -> Relative:
        self.set_upstream(other)
        return self

    def __rlshift__(self, other: Any) -> Relative:
        self.set_downstream(other)
        return self


def chain(*tasks: Related) -> None:
    """Each runs after the one before; of two lists in a row, each task after its counterpart.

    Raises :class:`ArgumentError` where such lists are not equally long.
    """
    for first, second in pairwise(tasks):
        if isinstance(first, Relative):
            first.set_downstream(second)
        elif isinstance(second, Relative):
            second.set_upstream(first)
        else:
            _chain_lists(list(_flat(first)), list(_flat(second)))


def _chain_lists(first: list[Relative], second: list[Relative]) -> None:
    if len(first) != len(second):
        raise ArgumentError(
            f"chain: a list of {len(first)} tasks is followed by one of {len(second)}; "
            "neighbouring lists must be equally long (or use cross_downstream)"
        )
    for before, after in zip(first, second, strict=True):
        before.set_downstream(after)


def cross_downstream(from_tasks: Sequence[Relative], to_tasks: Related) -> None:
    """Every one of ``to_tasks`` runs after every one of ``from_tasks``."""
    for task in from_tasks:
        task.set_downstream(to_tasks)


def _flat(value: Related) -> Iterable[Relative]:
    if isinstance(value, Relative):
        yield value
        return
    if not isinstance(value, list | tuple | set):
        raise ArgumentError(f"a task can be related to tasks and lists of tasks, not to {value!r}{_hint(value)}")
    for item in value:
        yield from _flat(item)


def _hint(value: object) -> str:
    return "; call it first: name()" if callable(value) else ""


def _connect(first: BaseOperator, second: BaseOperator) -> None:
    if first is second:
        raise DagFileError(f"task {first.task_id!r} cannot run after itself")
    if first.dag is None and second.dag is not None:
        second.dag.add_task(first)
    elif second.dag is None and first.dag is not None:
        first.dag.add_task(second)
    elif first.dag is not second.dag and first.dag and second.dag:
        raise DagFileError(
            f"task {first.task_id!r} of DAG {first.dag.dag_id!r} and task {second.task_id!r} of DAG "
            f"{second.dag.dag_id!r} cannot be related; both must be in one DAG"
        )
    first.downstream_task_ids.add(second.task_id)
    second.upstream_task_ids.add(first.task_id)
