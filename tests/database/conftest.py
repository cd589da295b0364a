"""A deployment's database, on each kind of database."""

from __future__ import annotations

import pytest

from runtime.db.engine import Database
from tests.database.builders import World


@pytest.fixture
def world(database: Database) -> World:
    return World(database)
