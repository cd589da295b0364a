"""The load in progress: what user code that runs at the top level of a DAG file belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtime.authoring.defaults import Defaults

if TYPE_CHECKING:
    from runtime.authoring.dag import DAG


@dataclass(slots=True)
class Loading:
    """One DAG file while its code runs."""

    path: str
    defaults: Defaults
    dags: list[DAG] = field(default_factory=list)
    """DAGs that announced themselves, in order."""


_current: Loading | None = None


def loading() -> Loading | None:
    """The load in progress, ``None`` outside of one (a DAG file run as a script)."""
    return _current


@contextmanager
def loading_file(path: str, defaults: Defaults) -> Iterator[Loading]:
    """Collect what the code inside makes. Loads do not nest: files are loaded one after the other in a process."""
    global _current
    _current = load = Loading(path, defaults)
    try:
        yield load
    finally:
        _current = None
