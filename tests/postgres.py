"""The PostgreSQL of a test session: one server for all its workers, and a database of its own for each test."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from runtime.db.engine import Database
from runtime.db.migrate import upgrade
from tests import postgres_server
from tests.postgres_server import PATIENCE, server_address

SESSION = "PYTEST_CONTROLLER_PID"
"""Environment variable, set in ``conftest.py`` by the process with which the session ends. Workers inherit it; to ask
for their parent would give the wrong answer once that was killed."""
PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
STATE = "postgres.json"
_TEMPLATE = "migrated"


class Postgres:
    """A running server, seen from one process. ``folder``: where its socket is."""

    def __init__(self, folder: Path, made_by: str = "test") -> None:
        self._address = server_address(folder)
        self._admin = psycopg.connect(f"{self._address} user=postgres dbname=postgres", autocommit=True)
        self._made_by = made_by
        self._made = 0

    def url(self, name: str) -> str:
        """What ``[database] sql_alchemy_conn`` would be."""
        return f"postgresql+psycopg://postgres@/{name}?{self._address}"

    def create(self, *, migrated: bool = True) -> str:
        """A new database; its URL."""
        self._made += 1
        name = f"{self._made_by}_{self._made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE if migrated else 'template0'} STRATEGY file_copy")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected. Nothing where there is none."""
        self.execute(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)")

    def disconnect(self, url: str) -> int:
        """Cut every connection to a database, as a restart of the server does; how many there were."""
        patience = round(PATIENCE * 1000)
        ended = "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE datname = %s"
        return len(self.execute(ended, patience, _name(url)))

    def shut(self, url: str) -> None:
        """Let nobody into a database, and throw out who is there, as while the server is down."""
        self.execute(f"ALTER DATABASE {_name(url)} ALLOW_CONNECTIONS false")
        self.disconnect(url)

    def open(self, url: str) -> None:
        """The opposite of :meth:`shut`."""
        self.execute(f"ALTER DATABASE {_name(url)} ALLOW_CONNECTIONS true")

    def execute(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """As the server's superuser, outside of a transaction."""
        cursor = self._admin.execute(sql, values or None)
        return cursor.fetchall() if cursor.description is not None else []

    def make_template(self) -> None:
        """The migrated database that :meth:`create` copies: migrating costs 100 ms, a copy 10."""
        self.execute(f"CREATE DATABASE {_TEMPLATE}")
        database = Database(self.url(_TEMPLATE))
        upgrade(database)
        database.close()

    def close(self) -> None:
        self._admin.close()


def session_server(shared: Path) -> Path:
    """The folder of the session's server, which the first to ask for it starts.

    :param shared: a folder that all workers of the session see, and no other session.
    """
    state = shared / STATE
    with (shared / f"{STATE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not state.exists():
            words = [sys.executable, postgres_server.__file__, os.environ[SESSION]]
            environment = {name: value for name, value in os.environ.items() if not name.startswith("HYBRID")}
            with _no_subreaper():
                started = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
            if not started.stdout:
                raise RuntimeError(started.stderr)
            server = Postgres(Path(json.loads(started.stdout)["folder"]))
            server.make_template()
            server.close()
            state.write_text(started.stdout)
    return Path(json.loads(state.read_text())["folder"])


def end_session_server(shared: Path) -> None:
    """End the server, if there is one, and return when it is gone. The guard would end it a moment after us anyway."""
    if not (shared / STATE).exists():
        return
    state = json.loads((shared / STATE).read_text())
    with contextlib.suppress(ProcessLookupError):
        guard = os.pidfd_open(state["guard"])
        signal.pidfd_send_signal(guard, signal.SIGTERM)
        select.select([guard], [], [], PATIENCE)
        os.close(guard)
    shutil.rmtree(state["folder"], ignore_errors=True)  # where somebody has killed the guard


@contextlib.contextmanager
def _no_subreaper() -> Iterator[None]:
    """Some tests make their process adopt orphans, and kill what they find. The guard is everybody's, not theirs."""
    was = ctypes.c_int()
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(was), 0, 0, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, was.value, 0, 0, 0)


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
