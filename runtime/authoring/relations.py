"""Which task runs after which: ``>>``, ``<<``, ``Label``, ``chain``, ``chain_linear``, ``cross_downstream``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from runtime.authoring.arguments import text
from runtime.authoring.exceptions import ArgumentError, DagFileError

if TYPE_CHECKING:
    from runtime.authoring.baseoperator import BaseOperator

Related: TypeAlias = "Relative | Sequence[Related]"


class Relative:
    """Something that stands for tasks in ``a >> b``. Lists of them stand on either side."""

    def operators(self) -> Iterator[BaseOperator]:
        """The tasks that it stands for."""
        raise NotImplementedError

    def first_tasks(self) -> Iterator[BaseOperator]:
        """Those of them that wait for what this waits for."""
        return self.operators()

    def last_tasks(self) -> Iterator[BaseOperator]:
        """Those of them that others wait for."""
        return self.operators()

    def set_downstream(self, others: Related) -> None:
        """``others`` run after this."""
        for other in _flat(others):
            _relate(self, other)

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


class Label(Relative):
    """Words on an edge, for people: ``a >> Label("if empty") >> b``. Changes nothing of what runs."""

    def __init__(self, label: str) -> None:
        self.label = text("Label", "its text", label)
        self._before: list[Relative] = []
        self._after: list[Relative] = []

    def operators(self) -> Iterator[BaseOperator]:
        """None: it stands for the edge."""
        return iter(())

    def join(self, *, before: Relative | None = None, after: Relative | None = None) -> None:
        """Take what stands on one side of it, and connect that with what stands on the other."""
        if before is not None:
            self._before.append(before)
            pairs = [(before, other) for other in self._after]
        elif after is not None:
            self._after.append(after)
            pairs = [(other, after) for other in self._before]
        for first, second in pairs:
            _relate(first, second, self.label)


def _relate(before: Relative, after: Relative, label: str = "") -> None:
    if isinstance(after, Label):
        after.join(before=before)
    elif isinstance(before, Label):
        before.join(after=after)
    else:
        for first in before.last_tasks():
            for second in after.first_tasks():
                _connect(first, second)
                if label and first.dag is not None:
                    first.dag.edge_labels.setdefault(first.task_id, {})[second.task_id] = label


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


def chain_linear(*elements: Related) -> None:
    """Each runs after the one before; of two lists in a row, every task of the second after all of the first.

    Raises :class:`ArgumentError` for a label, and where nothing is related to anything.
    """
    groups = [list(_flat(element)) for element in elements]
    if any(isinstance(one, Label) for group in groups for one in group):
        raise ArgumentError("chain_linear takes no Label; use >> for a labelled edge")
    if len(groups) < 2:
        raise ArgumentError("chain_linear relates nothing; did you forget to unpack a list, chain_linear(*tasks)?")
    for before, after in pairwise(groups):
        for first in before:
            for second in after:
                first.set_downstream(second)


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
