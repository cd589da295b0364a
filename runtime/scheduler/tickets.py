"""Start tickets: minted when an attempt is handed over, in its lane's thread, and left where its worker looks."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from executors.base import BaseExecutor
from executors.workload import Workload
from runtime.core.ids import is_uuid
from runtime.core.task_api import TICKET_VARIABLE

if TYPE_CHECKING:
    from runtime.tokens.tokens import Tokens

MARGIN = 60.0
"""Seconds that a ticket outlives the longest time that an attempt may be queued."""


class Tickets:
    """For the launches of one executor.

    :param seconds: the longest time that an attempt may be queued.
    :param folder: where files go; ``None`` for an executor that hands on the environment.
    """

    def __init__(self, tokens: Tokens, seconds: float, folder: Path | None) -> None:
        self._tokens = tokens
        self._seconds = seconds + MARGIN
        self._folder = folder

    def enclose(self, workload: Workload) -> Workload:
        """The workload with its ticket in ``env``, and in a file of this user only. Raises ``OSError``."""
        attempt_id = workload.key.attempt_id
        ticket = self._tokens.start_ticket(attempt_id, self._seconds)
        if self._folder is not None:
            write_ticket(self._folder, attempt_id, ticket)
        return replace(workload, env={**workload.env, TICKET_VARIABLE: ticket})

    def discard(self, attempt_id: str) -> None:
        """Nobody will start the attempt any more. Never raises."""
        if self._folder is not None:
            with suppress(OSError):
                os.unlink(self._folder / attempt_id)

    def sweep(self) -> None:
        """Remove the files of launches that ended while nobody was there to see it."""
        if self._folder is None or not self._folder.is_dir():
            return
        oldest = time.time() - self._seconds
        for entry in os.scandir(self._folder):
            with suppress(OSError):
                if is_uuid(entry.name) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)


def needs_tickets(cls: type[BaseExecutor]) -> bool:
    """Not where an executor's launches report through ``context.task_service``."""
    return cls.ticket_file or not cls.is_local


def ticket_folder(home: Path) -> Path:
    return home / "run"


def write_ticket(folder: Path, attempt_id: str, ticket: str) -> None:
    """Whole or not at all: a worker that is launched twice may read it at any moment."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder / f".{attempt_id}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(draft)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(ticket)
    os.replace(draft, folder / attempt_id)
