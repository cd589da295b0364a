"""Where the log of an attempt lies, how it is opened, and how it is read back.

``logs/dag_id=…/run_id=…/task_id=…/[map_index=…/]attempt=N.log``; later dispatches of the same try ``attempt=N.D.log``.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.core.errors import NotFoundError
from runtime.core.ids import is_id, is_run_id

_NAME = re.compile(r"attempt=([0-9]+)(?:\.([0-9]+))?\.log")
_PATH = re.compile(rf"dag_id=([^/]+)/run_id=([^/]+)/task_id=([^/]+)/(?:map_index=[0-9]+/)?{_NAME.pattern}")


def attempt_folder(base: str, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """The folder of all attempts of one task instance. The ids are taken as valid; see :func:`read`."""
    mapped = f"/map_index={map_index}" if map_index >= 0 else ""
    return f"{base}/dag_id={dag_id}/run_id={run_id}/task_id={task_id}{mapped}"


def attempt_file(try_number: int, dispatch_number: int = 1) -> str:
    """The file of one attempt within its folder."""
    return f"attempt={try_number}.{dispatch_number}.log" if dispatch_number > 1 else f"attempt={try_number}.log"


def attempt_path(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int, dispatch_number: int) -> str:
    """The file of one attempt below the log folder, as a log server is asked for it."""
    folder = attempt_folder("", dag_id, run_id, task_id, map_index)
    return f"{folder}/{attempt_file(try_number, dispatch_number)}".removeprefix("/")


def is_attempt_path(path: str) -> bool:
    """Whether :func:`attempt_path` may have made ``path``: no other file below the log folder is anybody's business."""
    match = _PATH.fullmatch(path)
    return match is not None and is_id(match[1]) and is_run_id(match[2]) and is_id(match[3])


def open_for_reading(base: str | Path, path: str) -> int:
    """A descriptor of the attempt log ``path`` below ``base``, reached through no symbolic link.

    Raises ``FileNotFoundError`` where there is no such plain file, ``OSError`` where it cannot be read now.
    """
    try:
        with _folder_of(base, path) as (folder, name):
            # Not blocking, for a task may have put a pipe there that nobody writes to.
            found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG):
            raise FileNotFoundError(errno.ENOENT, "it is no plain file") from error
        raise
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, "it is no plain file")
    return found


def create_log(base: str | Path, path: str, data: bytes) -> bool:
    """Write the attempt log ``path`` below ``base``, 0600, where there is none; false where there is one.

    Reached through no symbolic link. Raises ``OSError``; then there is none, and no part of one.
    """
    make_folder(str(base))
    with _folder_of(base, path, make=True) as (folder, name):
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except FileExistsError:
            return False
        try:
            with open(fd, "wb") as file:
                file.write(data)
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise
    return True


@contextmanager
def _folder_of(base: str | Path, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder of ``path`` below ``base``, and the file's name.

    Raises ``FileNotFoundError`` where no attempt log has such a path, ``OSError`` where a part of it is no folder.
    """
    if not is_attempt_path(path):
        raise FileNotFoundError(errno.ENOENT, "no attempt log has such a path")
    *folders, name = path.split("/")
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=folder)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)


def make_folder(folder: str) -> None:
    """Create ``folder`` and what is missing above it, 0700. Raises ``OSError``."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(os.path.dirname(folder))
        make_folder(folder)


def open_append(path: str) -> int:
    """A descriptor for appending to ``path``, created 0600 where missing. Raises ``OSError``."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def format_line(at: int, level: str, where: str, text: str) -> str:
    """``[2026-11-22T05:00:00.123456Z] {module.py:12} INFO - text``, each line of ``text`` so; ``at`` in nanoseconds."""
    second, rest = divmod(at, 1_000_000_000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    head = f"[{moment}.{rest // 1000:06d}Z] {{{where}}} {level} - "
    return "".join(f"{head}{line}\n" for line in text.split("\n"))


def append_line(path: str, level: str, where: str, text: str) -> None:
    """Add one line to the log of a process that is gone, below whatever it left unfinished. Raises ``OSError``."""
    make_folder(os.path.dirname(path))
    fd = open_append(path)
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        line = format_line(time.time_ns(), level, where, text)
        os.write(fd, (b"\n" if torn else b"") + line.encode(errors="backslashreplace"))
    finally:
        os.close(fd)


@dataclass(frozen=True)
class AttemptText:
    """The log of one dispatch."""

    name: str
    try_number: int
    dispatch_number: int
    text: str


def read(
    base: str | Path, dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int | None = None
) -> list[AttemptText]:
    """All logs of a task instance, or of one try, oldest first; bytes that are no UTF-8 are shown escaped.

    Empty where nothing was logged. Raises :class:`NotFoundError` where an id can name no DAG, run or task: that also
    keeps ``..`` and ``/`` out of the path.
    """
    if not (is_id(dag_id) and is_id(task_id) and is_run_id(run_id)):
        raise NotFoundError(f"no task instance {dag_id!r} {run_id!r} {task_id!r}: check the ids")
    folder = Path(attempt_folder(str(base), dag_id, run_id, task_id, map_index))
    found = []
    for name in os.listdir(folder) if folder.is_dir() else ():
        match = _NAME.fullmatch(name)
        if match and (try_number is None or int(match[1]) == try_number):
            text = (folder / name).read_text(encoding="utf-8", errors="backslashreplace")
            found.append(AttemptText(name, int(match[1]), int(match[2] or 1), text))
    return sorted(found, key=lambda log: (log.try_number, log.dispatch_number))
