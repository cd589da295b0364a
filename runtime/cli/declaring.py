"""What a worker of this host says it runs with, and by which DAG files: to whoever asks over its backend."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from runtime.config import Settings
from runtime.config.parity import WORKER, declare
from runtime.core.errors import HybridError
from runtime.processing.files import Stamp, list_files
from runtime.worker.code import hash_on_disk

FILES = "DAG files"
"""Among what is declared: marks of the DAG files that are there, separated by spaces."""
MOST_FILES = 5000
_SHOWN = 5


class WorkerDeclaration:
    """For :attr:`executors.context.ExecutorContext.declared`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._marks: dict[tuple[str, Stamp], str] = {}
        self._lock = threading.Lock()

    def __call__(self) -> dict[str, str]:
        with self._lock:
            return {**self._options, FILES: self._files()}

    @cached_property
    def _options(self) -> dict[str, str]:
        return declare(self._settings, WORKER, _log_key(self._settings))

    def _files(self) -> str:
        folder = self._settings.core.dags_folder
        try:
            listed = list(list_files(folder).items())[:MOST_FILES]
        except OSError:
            listed = []
        self._marks = {file: self._marks.get(file) or _mark_on_disk(folder, file[0]) for file in listed}
        return " ".join(self._marks.values())


def mark(rel_path: str, file_hash: str) -> str:
    """Stands for a file and what is in it, and tells neither."""
    return hashlib.sha256(f"{rel_path}\0{file_hash}".encode()).hexdigest()[:12]


def unlike(declared: Mapping[str, str], known: Iterable[tuple[str, str]]) -> str:
    """Which of the ``known`` files (path, hash) a worker does not have as they are: names of some, and how many.

    Empty where it has them all, and where it says nothing of them.
    """
    if FILES not in declared:
        return ""
    marks = set(declared[FILES].split())
    missing = sorted({rel_path for rel_path, file_hash in known if mark(rel_path, file_hash) not in marks})
    shown = ", ".join(missing[:_SHOWN])
    return f"{shown} and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else shown


def _log_key(settings: Settings) -> dict[str, str]:
    from runtime.tokens.keys import log_key_id

    try:
        return log_key_id(settings)
    except HybridError:  # whoever needs the key says so
        return {}


def _mark_on_disk(folder: Path, rel_path: str) -> str:
    return mark(rel_path, hash_on_disk(str(folder), rel_path))
