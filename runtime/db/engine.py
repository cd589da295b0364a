"""One open metadata DB: how connections are made, and the two ways to use them.

SQLite runs in WAL mode. A write transaction begins with ``BEGIN IMMEDIATE``, and the threads of one process queue for
it on a lock: SQLite's own busy handler sleeps up to 100 ms between its looks, which would be most of a scheduling step.
What is particular to PostgreSQL is in :mod:`runtime.db.postgres`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from runtime.core.clock import SECOND
from runtime.core.clock import now as clock_now
from runtime.core.errors import DatabaseError
from runtime.db.postgres import ConflictError, Patience, postgres_engine
from runtime.db.schema import REVISION

if TYPE_CHECKING:
    from runtime.config import Settings

CONFLICTS = 5
"""How often a transaction that another one has undone is tried again."""
T = TypeVar("T")
DatabaseAwayError = OperationalError
"""Raised while the DB is not to be had; the same may be tried again. A name for those who do not know SQLAlchemy."""
_REVISION = re.compile(r"\d{4}")


class Database:
    """A pool of connections. Thread-safe; not to be used across a fork.

    :param busy_timeout: seconds that a writer to SQLite waits for another one.
    :param application: what a PostgreSQL server shows as the name of these connections.
    :param patience: how long client and server of PostgreSQL wait for each other.

    Raises :class:`DatabaseError` where the URL is none, or its driver is not installed.
    """

    def __init__(
        self, url: str, *, busy_timeout: float = 30.0, application: str = "hybrid", patience: Patience | None = None
    ) -> None:
        parsed = parse_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.engine = _sqlite_engine(parsed, busy_timeout)
        else:
            self.engine = postgres_engine(parsed, application, patience or Patience())
        self._write_lock: Any = threading.Lock() if self.is_sqlite else nullcontext()
        self._reading: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._writing: dict[str, Any] = {"write": True} if self.is_sqlite else {}

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot to read from; whatever is written is rolled back."""
        with self._connect(self._reading) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction: committed at the end, rolled back on an exception.

        Raises ``OperationalError`` while the DB is not to be had, and its subclass
        :class:`~runtime.db.postgres.ConflictError` where another transaction was in the way.
        """
        with self._write_lock, self._connect(self._writing) as connection, connection.begin():
            yield connection

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do ``work`` in a write transaction, and once more, up to a few times, where another one was in the way.

        For work that reads again what it decides on. Raises what :meth:`write` does.
        """
        for _ in range(CONFLICTS):
            with suppress(ConflictError), self.write() as connection:
                return work(connection)
        with self.write() as connection:
            return work(connection)

    def close(self) -> None:
        self.engine.dispose()

    def _connect(self, options: dict[str, Any]) -> Connection:
        try:
            connection = self.engine.connect()
            return connection.execution_options(**options) if options else connection
        except PoolTimeoutError as error:
            # Every connection hangs: for whoever waits that is a DB that is not to be had.
            raise OperationalError(None, None, error) from error


def open_database(settings: Settings, daemon: str = "") -> Database:
    """Open a migrated DB. Raises :class:`DatabaseError` where it is missing, not migrated, or too new.

    :param daemon: what a PostgreSQL server shows as the name of these connections. A daemon gives up one that is
        silent for ``answer_timeout``; a command waits as long as its user does.
    """
    section = settings.database
    url = section.sql_alchemy_conn
    patience = Patience(section.answer_timeout if daemon else 0.0, section.idle_transaction_timeout)
    database = Database(
        url, busy_timeout=section.sqlite_busy_timeout, application=daemon or "hybrid", patience=patience
    )
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


def parse_url(url: str) -> URL:
    """Raises :class:`DatabaseError`, which does not quote the URL: it may hold a password."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # What SQLAlchemy takes for the port may be the rest of a password.
        raise DatabaseError(
            "[database] sql_alchemy_conn is no database URL; a password with any of @:/?#%[] in it is written with %40 "
            "and so on"
        ) from None


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; ``None`` for another DB or one in memory."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def revision_of(database: Database) -> str | None:
    """The DB's migration, ``None`` where it has none. Raises :class:`DatabaseError` where it cannot be asked, and where
    its tables are another program's."""
    try:
        with database.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DBAPIError as error:
        raise unusable(database, "read", error) from error
    if found is not None and not _REVISION.fullmatch(found):
        raise DatabaseError(
            f"the database holds the tables of another program (its migration is {found!r}); "
            "give [database] sql_alchemy_conn one of its own"
        )
    return found


def unusable(database: Database, done: str, error: DBAPIError) -> DatabaseError:
    """In one line why the DB cannot be ``done``: read, migrated, …"""
    away = not database.is_sqlite and (error.statement is None or error.connection_invalidated)
    what = "cannot be reached" if away else f"cannot be {done}"
    return DatabaseError(f"the metadata DB {what}: {' '.join(str(error.orig).split())}")


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


def _sqlite_engine(url: URL, busy_timeout: float) -> Engine:
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
