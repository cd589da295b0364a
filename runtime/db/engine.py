"""One open metadata DB: how connections are made, and the two ways to use them.

SQLite runs in WAL mode. A write transaction begins with ``BEGIN IMMEDIATE``, and the threads of one process queue for
it on a lock: SQLite's own busy handler sleeps up to 100 ms between its looks, which would be most of a scheduling step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from runtime.core.clock import SECOND
from runtime.core.clock import now as clock_now
from runtime.core.errors import DatabaseError
from runtime.db.schema import REVISION

if TYPE_CHECKING:
    from runtime.config import Settings


class Database:
    """A pool of connections. Thread-safe; not to be used across a fork."""

    def __init__(self, url: str, *, busy_timeout: float = 30.0) -> None:
        self.engine = _engine(url, busy_timeout)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._write_lock: Any = threading.Lock() if self.is_sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot to read from; whatever is written is rolled back."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction: committed at the end, rolled back on an exception."""
        with self._write_lock, self.engine.connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def open_database(settings: Settings) -> Database:
    """Open a migrated DB. Raises :class:`DatabaseError` where it is missing, not migrated, or too new."""
    url = settings.database.sql_alchemy_conn
    database = Database(url, busy_timeout=settings.database.sqlite_busy_timeout)
    path = sqlite_path(url)
    try:
        if path is not None and not path.exists():
            raise DatabaseError(f"there is no metadata DB at {path}; run `hybrid db migrate` to create it")
        check_revision(database)
    except BaseException:
        database.close()
        raise
    return database


def database_clock(connection: Connection) -> int:
    """Microseconds by the database's clock; SQLite has none but this host's."""
    if connection.dialect.name == "sqlite":
        return clock_now()
    seconds = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
    return int(seconds * SECOND)


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; ``None`` for another DB or one in memory."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseError(f"[database] sql_alchemy_conn is no database URL: {error}") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def revision_of(database: Database) -> str | None:
    """The DB's migration, ``None`` where it has none. Raises :class:`DatabaseError` where it cannot be asked."""
    try:
        with database.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DBAPIError as error:
        raise DatabaseError(f"the metadata DB cannot be read: {str(error.orig).strip()}") from error


def check_revision(database: Database) -> None:
    """Raise :class:`DatabaseError` unless the DB is at this program's revision."""
    found = revision_of(database)
    if found is None:
        raise DatabaseError("the metadata DB is not migrated; run `hybrid db migrate`")
    if found > REVISION:
        raise DatabaseError(
            f"the metadata DB is too new: it is at revision {found}, this version knows {REVISION}; "
            "upgrade hybrid-runtime"
        )
    if found < REVISION:
        raise DatabaseError(
            f"the metadata DB is at revision {found}, this version needs {REVISION}; run `hybrid db migrate`"
        )


def _engine(url: str, busy_timeout: float) -> Engine:
    path = sqlite_path(url)
    if path is None and not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    arguments = {"timeout": busy_timeout, "check_same_thread": False}
    # Parameters stay out of error messages: they hold XComs and run configurations.
    engine = create_engine(url, hide_parameters=True, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
