"""Datagrams that wake a scheduler of the same home: only a hint, a timer reads the inbox anyway.

Addressed through ``/proc/self/fd``: a socket's path may have 108 bytes, a home's path has no such limit.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.db.engine import Database


def _folder(home: Path) -> Path:
    return home / "run" / "hints"


class HintSocket:
    """The receiving end, one per scheduler. Bind failures raise ``OSError``."""

    def __init__(self, home: Path, name: str) -> None:
        folder = _folder(home)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{name}.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            self._socket.bind(f"/proc/self/fd/{descriptor}/{name}.sock")
        finally:
            os.close(descriptor)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        """Forget what has arrived; return whether there was anything."""
        arrived = False
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(16):
                arrived = True
        return arrived

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


def send_hint(database: Database, home: Path) -> None:
    """Wake every scheduler of this home on this host. Never fails: nobody may be listening."""
    folder = _folder(home)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            for name in os.listdir(descriptor):
                _send(sender, descriptor, name)
    finally:
        os.close(descriptor)


def _send(sender: socket.socket, folder: int, name: str) -> None:
    try:
        sender.sendto(b"!", f"/proc/self/fd/{folder}/{name}")
    except ConnectionRefusedError:
        # Its scheduler was killed: nobody else will ever take this name.
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
    except OSError:
        return
