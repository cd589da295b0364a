"""Watches the DAGs folder and keeps the store at what its files say."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from executors.names import parse_executors
from runtime.authoring.defaults import Defaults
from runtime.core.specs import ParsedFile, encode
from runtime.processing.child import ParseChild
from runtime.processing.files import Stamp, list_files, may_hold_dags, stamp
from runtime.processing.parse import parse_file
from runtime.secrets.access import NOBODY, Supply

if TYPE_CHECKING:
    from runtime.processing.errands import Errands

log = logging.getLogger(__name__)
_POLL = 0.1
"""Seconds between looks at running children that say nothing."""


class DagStore(Protocol):
    """Where answers go. It alone decides which of two files with one DAG id has it, for it alone remembers which was
    first; the processor hands the losers in again when the id may be free."""

    def save(self, parsed: ParsedFile) -> None:
        """Replace what is held of this file. May raise; then the file is parsed again later."""

    def forget(self, rel_paths: Sequence[str]) -> None:
        """These files are gone. May raise; then it is asked again later."""

    def known_files(self) -> Sequence[str]:
        """Relative paths of all files that it holds DAGs or errors of."""


@dataclass(slots=True)
class _File:
    """What is known of one file of the folder."""

    stamp: Stamp
    wanted: bool
    """It may hold DAGs."""
    parsed_at: float | None = None
    parsed_stamp: Stamp | None = None
    parsed_in: int = -1
    """Number of the folder's state in which its last parse began."""
    failed: bool = False
    saved: bytes = b""
    """The answer as the store has it."""
    dag_ids: frozenset[str] = frozenset()
    dependencies: dict[str, Stamp | None] = field(default_factory=dict)


class DagProcessor:
    """Parses new and changed files at once, unchanged ones now and then. For a single-threaded process of its own.

    :param executor_names: value of ``[core] executor``; raises :class:`~executors.errors.ExecutorConfigError`.
    :param import_timeout: seconds that one file may take; 0 for no limit.
    :param refresh_interval: seconds between two looks at the folder.
    :param min_file_process_interval: seconds after which an unchanged file is parsed again; 0 for never.
    :param max_workers: files parsed at the same time.
    :param secrets: where connections and variables come from that files ask for while they are parsed.
    """

    def __init__(
        self,
        dags_folder: Path,
        executor_names: str,
        store: DagStore,
        *,
        import_timeout: float = 30.0,
        refresh_interval: float = 5.0,
        min_file_process_interval: float = 120.0,
        max_workers: int = 2,
        defaults: Defaults | None = None,
        secrets: Supply = NOBODY,
    ) -> None:
        self._folder = dags_folder.absolute()
        self._executors = parse_executors(executor_names)
        self._store = store
        self._import_timeout = import_timeout
        self._refresh_interval = refresh_interval
        self._reparse_after = min_file_process_interval or float("inf")
        self._max_workers = max_workers
        self._defaults = defaults or Defaults()
        self._secrets = secrets
        self._files: dict[str, _File] = {}
        self._queue: dict[str, bool] = {}
        """Files to parse, in order; true: save the answer even where it is the same as before."""
        self._children: dict[ParseChild, bool] = {}
        self._next_look = float("-inf")
        self._state = 0
        """Counts the changes that were seen in the folder."""
        self._gone: dict[str, frozenset[str]] | None = None
        """Files that the store is to forget, with their DAG ids; ``None`` until it was asked what it knows."""
        self._complained = ""

    def step(self, now: float) -> float:
        """Take answers, look at the folder when it is time, start children; never blocks on a file.

        :param now: monotonic seconds.
        :returns: seconds after which it wants to be called again; sooner when a child has answered.
        """
        self._collect(now)
        if now >= self._next_look:
            self._next_look = now + self._refresh_interval
            self._look(now)
        self._start(now)
        return _POLL if self._children else max(0.0, self._next_look - now)

    def run(
        self,
        stop: threading.Event,
        *,
        duty: Callable[[], None] = lambda: None,
        every: float = float("inf"),
        errands: Errands | None = None,
    ) -> None:
        """:meth:`step` until ``stop`` is set; kills the children that are left.

        :param duty: called between two steps, every ``every`` seconds.
        :param errands: seen to beside the files.
        """
        preload()
        next_duty = time.monotonic() + every
        try:
            while not stop.is_set():
                delay = self.step(time.monotonic())
                if time.monotonic() >= next_duty:
                    duty()
                    next_duty = time.monotonic() + every
                delay = min(delay, max(0.0, next_duty - time.monotonic()))
                if errands is not None:
                    delay = min(delay, errands.step(time.monotonic()))
                if errands is not None and errands.is_busy:
                    self._wait(min(delay, _POLL), errands.handles)
                elif self._children:
                    self._wait(delay)
                else:
                    stop.wait(delay)
        finally:
            self.close()
            if errands is not None:
                errands.close()

    def parse_once(self, only: Collection[str] | None = None) -> list[ParsedFile]:
        """Parse every file once (or ``only`` some, by relative path), save the answers and return them by path."""
        preload()
        self._look(time.monotonic())
        if only is not None:
            self._queue = dict.fromkeys((path for path in only if path in self._files), True)
        answers: list[ParsedFile] = []
        try:
            while self._queue or self._children:
                self._start(time.monotonic())
                self._wait(_POLL)
                answers += self._collect(time.monotonic())
        finally:
            self.close()
        return sorted({parsed.rel_path: parsed for parsed in answers}.values(), key=lambda parsed: parsed.rel_path)

    def close(self) -> None:
        """Kill running children; their files are parsed again if there is a next time."""
        for child in list(self._children):
            child.kill()
            self._children.pop(child)

    # -- the folder ------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        try:
            listed = list_files(self._folder)
        except OSError as error:
            # Not an empty folder: a share that is away for a moment must not end all DAGs.
            self._complain(f"the DAGs folder {self._folder} cannot be read: {error.strerror or error}")
            return
        self._complain("")
        changed = self._update(listed)
        self._state += changed
        self._forget_gone()
        for rel_path, file in self._files.items():
            if file.wanted and self._due(rel_path, file, changed, now):
                self._queue.setdefault(rel_path, False)

    def _update(self, listed: dict[str, Stamp]) -> bool:
        """Take the listing over; whether anything differs from the one before."""
        removed = [rel_path for rel_path in self._files if rel_path not in listed]
        for rel_path in removed:
            self._leave(rel_path, self._files.pop(rel_path))
        changed = bool(removed)
        for rel_path, found in listed.items():
            file = self._files.get(rel_path)
            if file is not None and file.stamp == found:
                continue
            changed = True
            wanted = may_hold_dags(self._folder / rel_path)
            if file is not None and file.wanted and not wanted:
                self._leave(rel_path, file)
                file = None
            if file is None:
                self._files[rel_path] = _File(found, wanted)
            else:
                file.stamp, file.wanted = found, wanted
        return changed

    def _leave(self, rel_path: str, file: _File) -> None:
        self._queue.pop(rel_path, None)
        if self._gone is not None:
            self._gone[rel_path] = file.dag_ids

    def _due(self, rel_path: str, file: _File, changed: bool, now: float) -> bool:
        if file.parsed_at is None or file.parsed_stamp != file.stamp:
            return True
        if changed and file.failed:  # what it lacked may be there now
            return True
        if now - file.parsed_at >= self._reparse_after:
            return True
        return any(self._stamp_of(path) != seen for path, seen in file.dependencies.items())

    def _stamp_of(self, rel_path: str) -> Stamp | None:
        file = self._files.get(rel_path)
        return file.stamp if file else stamp(self._folder / rel_path)

    def _forget_gone(self) -> None:
        """Have the store forget what is no longer there, or holds no DAGs any more."""
        try:
            if self._gone is None:
                known = self._store.known_files()
                self._gone = {path: frozenset() for path in known if not self._is_wanted(path)}
            gone = {path: dag_ids for path, dag_ids in self._gone.items() if not self._is_wanted(path)}
            if gone:
                self._store.forget(sorted(gone))
                log.info("forgot %s", ", ".join(sorted(gone)))
        except Exception:
            log.exception("the store could not forget files; trying again")
            return
        self._gone = {}
        for rel_path, dag_ids in gone.items():
            self._release(rel_path, dag_ids)

    def _is_wanted(self, rel_path: str) -> bool:
        return rel_path in self._files and self._files[rel_path].wanted

    def _release(self, rel_path: str, dag_ids: Collection[str]) -> None:
        """Other files that want one of these ids get another chance."""
        for other, file in self._files.items():
            if other != rel_path and file.wanted and not file.dag_ids.isdisjoint(dag_ids):
                self._queue[other] = True

    # -- the children ----------------------------------------------------------------------------------------------

    def _start(self, now: float) -> None:
        busy = {child.rel_path for child in self._children}
        for rel_path in [path for path in self._queue if path not in busy][: self._max_workers - len(busy)]:
            job = partial(parse_file, self._folder, rel_path, self._executors, self._defaults, self._secrets)
            try:
                child = ParseChild(rel_path, job, self._import_timeout, now)
            except OSError as error:
                self._complain(f"no process can be started to parse {rel_path}: {error.strerror or error}")
                return
            self._children[child] = self._queue.pop(rel_path)
            file = self._files[rel_path]
            file.parsed_at, file.parsed_stamp, file.parsed_in = now, file.stamp, self._state

    def _wait(self, seconds: float, more: Sequence[int] = ()) -> None:
        handles = [child.handle for child in self._children if child.handle is not None]
        select.select([*handles, *more], [], [], seconds)

    def _collect(self, now: float) -> list[ParsedFile]:
        answers = []
        for child in list(self._children):
            parsed = child.poll(now)
            if parsed is not None:
                force = self._children.pop(child)
                answers.append(parsed)
                if self._is_wanted(parsed.rel_path):
                    self._accept(self._files[parsed.rel_path], parsed, force)
        return answers

    def _accept(self, file: _File, parsed: ParsedFile, force: bool) -> None:
        file.failed = parsed.error is not None
        # What changed during the parse may have been read in its old form: then no stamp fits, and it is parsed again.
        steady = file.parsed_in == self._state
        file.dependencies = {path: self._stamp_of(path) if steady else None for path in parsed.dependencies}
        encoded = encode(parsed)
        if encoded == file.saved and not force:
            return
        try:
            self._store.save(parsed)
        except Exception:
            log.exception("the store could not save %s; trying again", parsed.rel_path)
            file.parsed_at = None
            return
        file.saved = encoded
        _tell(parsed)
        if parsed.error is None:
            dag_ids = frozenset(spec.dag_id for spec in parsed.dags)
            released, file.dag_ids = file.dag_ids - dag_ids, dag_ids
            if released:
                self._release(parsed.rel_path, released)

    def _complain(self, text: str) -> None:
        """Log a lasting trouble once."""
        if text and text != self._complained:
            log.error("%s", text)
        self._complained = text


def preload() -> None:
    """Import what children would otherwise import one by one; forks share the pages."""
    import croniter  # noqa: F401
    import jinja2.sandbox  # noqa: F401

    import runtime.authoring.bash
    import runtime.authoring.taskflow  # noqa: F401


def _tell(parsed: ParsedFile) -> None:
    if parsed.error is not None:
        log.warning("%s: %s", parsed.rel_path, parsed.error.splitlines()[0])
    else:
        log.info("%s: %s", parsed.rel_path, ", ".join(spec.dag_id for spec in parsed.dags) or "no DAGs")
    for warning in parsed.warnings:
        log.warning("%s: %s", parsed.rel_path, warning)
