"""DAG files in a worker: imported once per version before the fork, so that no attempt pays for it."""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import os
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from runtime.authoring.loader import LoadedFile, forget_file, load_file
from runtime.worker.linux import thread_count
from runtime.worker.settings import WorkerSettings

_REPEAT = 1.0
"""Seconds after which the time limit strikes again: an import may have swallowed the first exception."""
_GIVE_UP_AFTER = 5.0
"""Seconds beyond the limit after which the process is ended from C: no Python code runs in a hung extension."""
_LEAVING_MILLISECONDS = 50

Signature = tuple[int, int, int]


class ImportTimeout(BaseException):
    """Importing a DAG file took too long."""


@dataclass(frozen=True)
class _Entry:
    signature: Signature | None
    loaded: LoadedFile | None
    """``None``: it cannot be imported here."""
    dependencies: Mapping[str, Signature | None]


class CodeCache:
    """At most ``max_files`` loaded files, the least recently used one leaves first."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self.loads = 0
        """How often :meth:`get` has changed what is held."""
        self.threads_left = False
        """An import has left threads running: a fork of this process is no longer safe."""

    @property
    def versions(self) -> list[str]:
        """``rel_path@file_hash`` of what is loaded."""
        return [f"{e.loaded.rel_path}@{e.loaded.file_hash}" for e in self._entries.values() if e.loaded]

    def held(self) -> dict[str, LoadedFile]:
        """What is loaded now, by ``rel_path``."""
        return {path: entry.loaded for path, entry in self._entries.items() if entry.loaded is not None}

    def get(self, rel_path: str, file_hash: str) -> LoadedFile | None:
        """The file as it is on disk now, or in the version asked for where that one is held.

        ``None`` where it cannot be imported: the attempt's own process then tries, and fails with the traceback in its
        log. That answer is remembered until the file changes.
        """
        entry = self._entries.get(rel_path)
        if entry is None or not self._is_fresh(entry, rel_path, file_hash):
            entry = self._load(rel_path)
        self._entries.move_to_end(rel_path)
        return entry.loaded

    def _is_fresh(self, entry: _Entry, rel_path: str, file_hash: str) -> bool:
        if any(self._signature(path) != known for path, known in entry.dependencies.items()):
            return False
        if entry.loaded is not None and entry.loaded.file_hash == file_hash:
            return True
        return entry.signature is not None and entry.signature == self._signature(rel_path)

    def _load(self, rel_path: str) -> _Entry:
        self.loads += 1
        signature, before = self._signature(rel_path), thread_count()
        loaded = self._import(rel_path)
        dependencies = loaded.dependencies if loaded else ()
        entry = _Entry(signature, loaded, {path: self._signature(path) for path in dependencies})
        gone = [old] if (old := self._entries.pop(rel_path, None)) else []
        self._entries[rel_path] = entry
        self.threads_left = self.threads_left or _stays_above(before)
        while len(self._entries) > self._settings.max_files:
            gone.append(self._entries.popitem(last=False)[1])
        held = self.versions
        for version in (one.loaded for one in gone if one.loaded):
            if f"{version.rel_path}@{version.file_hash}" not in held:
                forget_file(version)
        if gone:
            # Only then is there garbage among what is frozen; to look for it writes to every page of the process.
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        return entry

    def _import(self, rel_path: str) -> LoadedFile | None:
        try:
            with silenced():
                return import_file(self._settings, rel_path)
        except BaseException:
            return None

    def _signature(self, rel_path: str) -> Signature | None:
        try:
            stat = os.stat(f"{self._settings.dags_folder}/{rel_path}")
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def hash_on_disk(folder: str, rel_path: str) -> str:
    """What ``LoadedFile.file_hash`` would be; empty where the file cannot be read."""
    try:
        return hashlib.sha256((Path(folder) / rel_path).read_bytes()).hexdigest()
    except OSError:
        return ""


def import_file(settings: WorkerSettings, rel_path: str) -> LoadedFile:
    """Import a DAG file. Raises :class:`ImportTimeout`, and whatever the file raises, ``SystemExit`` included."""
    seconds = settings.import_timeout

    def strike(signum: int, frame: FrameType | None) -> None:
        raise ImportTimeout(f"importing {rel_path} took longer than {seconds:g} s")

    faulthandler.dump_traceback_later(seconds + _GIVE_UP_AFTER, exit=True, file=2)
    previous = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT)
    try:
        return load_file(Path(settings.dags_folder), rel_path, settings.defaults)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
        faulthandler.cancel_dump_traceback_later()


def _stays_above(before: int) -> bool:
    """Whether there are more threads than ``before``, and remain: our own watchdog's thread may still be leaving."""
    for _ in range(_LEAVING_MILLISECONDS):
        if thread_count() <= before:
            return False
        time.sleep(0.001)
    return True


@contextmanager
def silenced() -> Iterator[None]:
    """Send what the block prints nowhere: it belongs to no attempt."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, number in zip(kept, (1, 2), strict=True):
            os.dup2(fd, number)
            os.close(fd)
        os.close(nowhere)
