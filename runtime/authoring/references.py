"""Values that a task gets only when it runs, wherever they stand in its arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.authoring.baseoperator import BaseOperator


class Reference(ABC):
    """Stands for a value that exists at run time."""

    @abstractmethod
    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The value, in the context of the task that runs. May read an XCom."""

    def operators(self) -> Iterator[BaseOperator]:
        """Tasks that must have run before."""
        return iter(())


def references(value: object) -> Iterator[Reference]:
    """Every reference in ``value``, looked for in lists, tuples, sets and dictionaries."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from references(item)
