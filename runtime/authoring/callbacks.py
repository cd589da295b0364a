"""Callbacks of tasks and DAGs as users give them: a function, or a list of functions, each called with the context."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runtime.authoring.exceptions import ArgumentError

Callback = Callable[[Mapping[str, Any]], Any]
TASK_CALLBACKS = ("execute", "success", "failure", "retry", "skipped")
"""``on_…_callback`` of tasks."""


def callbacks(where: str, name: str, value: object) -> list[Callback]:
    """The callbacks of an argument, in order; ``None`` is none. Raises :class:`ArgumentError`."""
    if value is None:
        return []
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    given: list[Any] = list(value) if several else [value]  # type: ignore[call-overload]
    for one in given:
        if not callable(one):
            raise ArgumentError(f"{where}: {name} must be a function that takes the context, or a list, not {one!r}")
    return given


def callbacks_of(owner: Any, kind: str) -> list[Callback]:
    """Those of a task or DAG for ``execute``, ``success``, ``failure``, ``retry`` or ``skipped``.

    Read when they are needed, as a class may set the attribute after ``super().__init__()``.
    """
    name = f"on_{kind}_callback"
    return callbacks(repr(owner), name, getattr(owner, name, None))


def callback_kinds(task: Any) -> tuple[str, ...]:
    """The kinds that a task has callbacks of. Raises :class:`ArgumentError` where one is no function."""
    return tuple(kind for kind in TASK_CALLBACKS if callbacks_of(task, kind))
