"""What wakes a scheduler when there is something in an inbox: only a hint, a timer reads the inbox anyway.

With SQLite, where all processes are on one host, a datagram to each scheduler of the home; with PostgreSQL a NOTIFY.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.engine import Database

log = logging.getLogger(__name__)

_CHANNEL = "hybrid_inbox"
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
"""Seconds between two tries to listen again."""


class Hints(Protocol):
    """The receiving end. For one thread."""

    def fileno(self) -> int:
        """What becomes readable when a hint arrives; -1 while nothing can. Asked before each wait. Never blocks."""

    def drain(self) -> bool:
        """Forget what has arrived; return whether there was anything. Never blocks."""

    def close(self) -> None: ...


def open_hints(settings: Settings, database: Database, name: str) -> Hints:
    """The receiving end of :func:`send_hint`.

    :param name: nobody else's of this home.

    Raises ``OSError`` where the home's folder for sockets cannot be used.
    """
    return HintSocket(settings.home, name) if database.is_sqlite else Listener(database)


def send_hint(database: Database, home: Path) -> None:
    """Wake every scheduler: of this home on this host, or of this PostgreSQL database wherever it runs.

    After the commit of what they are to find. Never fails: nobody may be listening.
    """
    if database.is_sqlite:
        _send_datagrams(home)
        return
    # Not within the transaction that it tells of: commits with a NOTIFY queue up for one lock of the server, and this
    # one does not wait for the disk while it has it.
    alone = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with contextlib.suppress(SQLAlchemyError), alone.connect() as connection:
        connection.exec_driver_sql(f"NOTIFY {_CHANNEL}")


class HintSocket:
    """A datagram socket, one per scheduler. Bind failures raise ``OSError``.

    Addressed through ``/proc/self/fd``: a socket's path may have 108 bytes, a home's path has no such limit.
    """

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
        arrived = False
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(16):
                arrived = True
        return arrived

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


class Listener:
    """A connection that listens, apart from the pool. When it breaks, a short-lived thread makes a new one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._connection: Any = None
        """psycopg's, no longer the pool's."""
        self._closed = False
        self._pause = _FIRST_PAUSE
        self._next_try = 0.0
        self._connector: threading.Thread | None = None
        self._connect()

    def fileno(self) -> int:
        with self._lock:
            if self._connection is not None:
                return int(self._connection.fileno())
            if self._connector is None and time.monotonic() >= self._next_try:
                self._connector = threading.Thread(target=self._connect, name="hints-connector", daemon=True)
                self._connector.start()
        return -1

    def drain(self) -> bool:
        with self._lock:
            if self._connection is None:
                return False
            try:
                return len(list(self._connection.notifies(timeout=0))) > 0
            except Exception as error:
                log.warning("no hints for a while, the connection is lost: %s", " ".join(str(error).split()))
                self._drop()
                return False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._drop()

    def _connect(self) -> None:
        try:
            connection = _listening(self._database)
        except Exception as error:
            log.debug("no connection to listen for hints: %s", error)
            connection = None
        with self._lock:
            self._connector = None
            self._connection = connection
            if connection is None:
                self._next_try = time.monotonic() + self._pause
                self._pause = min(_LONGEST_PAUSE, self._pause * 2)
            else:
                self._pause = _FIRST_PAUSE
            if self._closed:
                self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _listening(database: Database) -> Any:
    """A connection of its own with everything that the pool's have; psycopg's."""
    handle = database.engine.raw_connection()
    connection: Any = handle.dbapi_connection
    handle.detach()
    try:
        connection.autocommit = True
        connection.execute(f"LISTEN {_CHANNEL}")
    except BaseException:
        connection.close()
        raise
    return connection


def _folder(home: Path) -> Path:
    return home / "run" / "hints"


def _send_datagrams(home: Path) -> None:
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
