"""Migrations build exactly the tables of the models; a DB that cannot be used is told in one line."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect, text
from sqlalchemy.schema import CreateIndex

from runtime.config import Settings, load
from runtime.core.errors import DatabaseError
from runtime.db import migrate as migrating
from runtime.db.engine import Database, open_database, revision_of
from runtime.db.schema import REVISION, metadata, pool


def constraints(database: Database) -> dict[str, str]:
    """CHECK constraints and the conditions of partial indexes, as the database words them."""
    found = {}
    tables = MetaData()
    with database.read() as connection:
        tables.reflect(connection, only=lambda name, _: name in metadata.tables)
        for name in tables.tables:
            for check in inspect(connection).get_check_constraints(name):
                found[str(check["name"])] = check["sqltext"]
    for table in tables.tables.values():
        for index in table.indexes:
            found[str(index.name)] = str(CreateIndex(index).compile(database.engine))
    return found


def test_migrations_equal_models(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrated_tables_have_the_models_constraints(
    database: Database, kind: str, new_url: Callable[..., str]
) -> None:
    """``compare_metadata`` overlooks CHECK constraints and the conditions of partial indexes."""
    models = Database(new_url(kind, migrated=False))
    with models.write() as connection:
        metadata.create_all(connection)
    made, meant = constraints(database), constraints(models)
    models.close()
    assert sum(name.startswith("ck_") for name in meant) == 3
    assert sum("WHERE" in statement for statement in meant.values()) == 4
    assert made == meant


def test_newest_migration_is_the_programs_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrating.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_migrated_database_is_opened(settings: Settings) -> None:
    database = open_database(settings)
    try:
        assert revision_of(database) == REVISION
    finally:
        database.close()


def test_default_pool_is_there(database: Database) -> None:
    with database.read() as connection:
        assert [tuple(row)[:2] for row in connection.execute(pool.select())] == [("default_pool", 128)]


def test_migrating_twice_changes_nothing(settings: Settings) -> None:
    database = open_database(settings)
    with database.write() as connection:
        connection.execute(pool.update().values(slots=7))
    assert migrating.migrate(settings) == REVISION
    with database.read() as connection:
        assert connection.execute(text("SELECT slots FROM pool")).scalar() == 7
    database.close()


def test_migrate_makes_a_file_that_only_its_owner_reads(home: Path) -> None:
    migrating.migrate(load())
    assert (home / "hybrid.db").stat().st_mode & 0o777 == 0o600


def test_reset_empties_everything(settings: Settings) -> None:
    database = open_database(settings)
    with database.write() as connection:
        connection.execute(pool.update().values(slots=7))
        connection.execute(text("CREATE TABLE stray (x INTEGER)"))
    database.close()
    migrating.reset(settings)
    database = open_database(settings)
    with database.read() as connection:
        assert connection.execute(text("SELECT slots FROM pool")).scalar() == 128
        assert not inspect(connection).has_table("stray")
    database.close()


def refused(settings: Settings) -> str:
    """The one line with which the DB is refused."""
    with pytest.raises(DatabaseError) as caught:
        migrating.check(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def set_revision(settings: Settings, revision: str) -> None:
    database = open_database(settings)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    database.close()


def test_missing_database(home: Path) -> None:
    assert refused(load()) == f"there is no metadata DB at {home}/hybrid.db; run `hybrid db migrate` to create it"
    assert not (home / "hybrid.db").exists(), "looking must not create it"


def test_database_without_tables(home: Path) -> None:
    sqlite3.connect(home / "hybrid.db").close()
    (home / "hybrid.db").touch()
    assert refused(load()) == "the metadata DB is not migrated; run `hybrid db migrate`"


def test_database_that_is_too_new(settings: Settings) -> None:
    set_revision(settings, "9999")
    message = (
        f"the metadata DB is too new: it is at revision 9999, this version knows {REVISION}; upgrade hybrid-runtime"
    )
    assert refused(settings) == message
    with pytest.raises(DatabaseError, match="too new"):
        migrating.migrate(settings)


def test_database_that_is_too_old(settings: Settings) -> None:
    set_revision(settings, "0000")
    assert refused(settings) == (
        f"the metadata DB is at revision 0000, this version needs {REVISION}; run `hybrid db migrate`"
    )


def test_file_that_is_no_database(home: Path) -> None:
    (home / "hybrid.db").write_bytes(b"This is a text file, and long enough to be looked at as one.\n" * 100)
    assert refused(load()) == "the metadata DB cannot be read: file is not a database"


def test_folder_in_the_place_of_the_database(home: Path) -> None:
    (home / "hybrid.db").mkdir()
    assert refused(load()) == "the metadata DB cannot be read: unable to open database file"


def test_place_that_cannot_be_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("HYBRID__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{home}/file/hybrid.db")
    with pytest.raises(DatabaseError, match=f"^the metadata DB cannot be created at {home}/file/hybrid.db: "):
        migrating.migrate(load())


def test_url_that_is_none() -> None:
    with pytest.raises(DatabaseError, match=r"^\[database\] sql_alchemy_conn is no database URL; "):
        Database("no url at all")


def test_what_is_read_is_not_written(database: Database) -> None:
    with database.read() as connection:
        connection.execute(pool.delete())
    with database.read() as connection:
        assert len(connection.execute(pool.select()).all()) == 1


def test_write_that_fails_changes_nothing(database: Database) -> None:
    with contextlib.suppress(RuntimeError), database.write() as connection:
        connection.execute(pool.delete())
        raise RuntimeError
    with database.read() as connection:
        assert len(connection.execute(pool.select()).all()) == 1


def test_errors_do_not_show_what_was_to_be_stored(database: Database) -> None:
    """XComs and run configurations hold secrets."""
    with pytest.raises(Exception, match="(?i)not.null") as caught, database.write() as connection:
        connection.execute(pool.insert().values(name="my-secret", slots=None, description=""))
    assert "my-secret" not in str(caught.value)


def test_default_pool_has_the_configured_slots(settings: Settings) -> None:
    """``[core] default_pool_task_slot_count`` counts when the database is created, and again after a reset."""
    settings = replace(settings, core=replace(settings.core, default_pool_task_slot_count=7))
    migrating.reset(settings)
    database = open_database(settings)
    try:
        with database.read() as connection:
            assert connection.execute(pool.select()).one().slots == 7
    finally:
        database.close()
