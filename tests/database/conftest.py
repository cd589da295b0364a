"""A new migrated database for each test, on each kind of database that is supported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.db.engine import Database
from tests.database.builders import KINDS, World, open_database


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    opened = open_database(request.param, tmp_path, migrated_file)
    yield opened
    opened.close()


@pytest.fixture
def world(database: Database) -> World:
    return World(database)
