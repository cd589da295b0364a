"""A deployment's database, its task API with faults to order, and launches that end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.db.engine import Database
from runtime.tokens.tokens import Tokens
from tests.database.builders import World
from tests.integration.worker_http.faulty_api import FaultyApi
from tests.integration.worker_http.launches import Office


@pytest.fixture
def world(new_url) -> Iterator[World]:
    """On SQLite: which database answers makes no difference to a worker."""
    database = Database(new_url("sqlite"))
    yield World(database)
    database.close()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(b"k" * 64, lifetime=60.0)


@pytest.fixture
def api(world: World, tokens: Tokens) -> Iterator[FaultyApi]:
    """Up."""
    made = FaultyApi(world.service, tokens).up()
    yield made
    made.down()


@pytest.fixture
def office(world: World, api: FaultyApi, tokens: Tokens, tmp_path: Path) -> Iterator[Office]:
    made = Office(world, api, tokens, tmp_path)
    yield made
    made.close()
