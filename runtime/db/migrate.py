"""Bring the metadata DB to this program's revision. Alembic is imported here only: it costs 150 ms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import update

from runtime.core.errors import DatabaseError
from runtime.db.engine import Database, check_revision, revision_of, sqlite_path
from runtime.db.schema import REVISION, pool

if TYPE_CHECKING:
    from runtime.config import Settings

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(settings: Settings) -> str:
    """Create or upgrade the tables; return the revision. Idempotent. Raises :class:`DatabaseError`."""
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
    """Drop every table and create them anew. Everything stored is lost."""
    from sqlalchemy import MetaData

    url = settings.database.sql_alchemy_conn
    _create_private_file(url)
    database = Database(url, busy_timeout=settings.database.sqlite_busy_timeout)
    try:
        with database.write() as connection:
            present = MetaData()
            present.reflect(connection)
            present.drop_all(connection)
        upgrade(database)
        _size_default_pool(database, settings.core.default_pool_task_slot_count)
    finally:
        database.close()


def upgrade(database: Database) -> None:
    """Run the migrations that the DB lacks."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


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
