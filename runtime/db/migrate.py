"""Bring the metadata DB to this program's revision. Alembic is imported here only: it costs 150 ms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import MetaData, func, select, text, update
from sqlalchemy.exc import DBAPIError

from runtime.core.errors import DatabaseError
from runtime.db.engine import Database, check_revision, revision_of, sqlite_path, unusable
from runtime.db.schema import REVISION, metadata, pool

if TYPE_CHECKING:
    from runtime.config import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
_OURS = frozenset(metadata.tables) | {"alembic_version"}
_LOCK = 0x6879_6272_6964
"""Of PostgreSQL's advisory locks; any number will do."""


def migrate(settings: Settings) -> str:
    """Create or upgrade the tables; return the revision. Idempotent, whoever else does it at the same time.

    Raises :class:`DatabaseError`.
    """
    url = settings.database.sql_alchemy_conn
    _create_private_file(url)
    database = Database(url, busy_timeout=settings.database.sqlite_busy_timeout)
    try:
        found = revision_of(database)
        if found is not None and found > REVISION:
            check_revision(database)
        if found != REVISION:
            upgrade(database)
        if found is None:
            _size_default_pool(database, settings.core.default_pool_task_slot_count)
    finally:
        database.close()
    return REVISION


def check(settings: Settings) -> None:
    """Raise :class:`DatabaseError` unless the DB can be reached and is at this program's revision."""
    from runtime.db.engine import open_database

    open_database(settings).close()


def reset(settings: Settings) -> None:
    """Drop the tables and create them anew. Everything stored is lost; in an SQLite file, which is ours alone, also
    tables that are not ours. Raises :class:`DatabaseError`.
    """
    url = settings.database.sql_alchemy_conn
    _create_private_file(url)
    database = Database(url, busy_timeout=settings.database.sqlite_busy_timeout)
    try:
        revision_of(database)
        with _explained(database, "reset"), database.write() as connection:
            present = MetaData()
            present.reflect(connection, only=None if database.is_sqlite else lambda name, _: name in _OURS)
            present.drop_all(connection)
        upgrade(database)
        _size_default_pool(database, settings.core.default_pool_task_slot_count)
    finally:
        database.close()


def upgrade(database: Database) -> None:
    """Run the migrations that the DB lacks. Raises :class:`DatabaseError`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with _explained(database, "migrated"), database.write() as connection:
        if not database.is_sqlite:
            # A second one waits for the first, however long that takes, and finds nothing to do.
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _explained(database: Database, done: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise unusable(database, done, error) from error


def _size_default_pool(database: Database, slots: int) -> None:
    with database.write() as connection:
        connection.execute(update(pool).where(pool.c.name == "default_pool").values(slots=slots))


def _create_private_file(url: str) -> None:
    path = sqlite_path(url)
    if path is None or path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseError(f"the metadata DB cannot be created at {path}: {error.strerror}") from error
