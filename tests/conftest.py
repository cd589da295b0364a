"""What every kind of test may need: a home of its own, and migrated databases of every kind that is supported."""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runtime.config import Settings, load
from runtime.db.engine import Database
from runtime.db.migrate import migrate
from runtime.secrets.masking import masker

if TYPE_CHECKING:
    from tests.postgres import Postgres


_PR_GET_CHILD_SUBREAPER = 37


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ["PYTEST_CONTROLLER_PID"] = str(os.getpid())


def pytest_unconfigure(config: pytest.Config) -> None:
    """The session is over, its workers have ended: so does the PostgreSQL that they shared."""
    if not hasattr(config, "workerinput"):
        from tests.postgres import end_session_server

        end_session_server(config._tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch):
    """No HYBRID variable of whoever runs the tests reaches one."""
    for name in [name for name in os.environ if name.startswith("HYBRID")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_secrets_of_others(monkeypatch):
    """What one test has fetched is not masked in the next."""
    monkeypatch.setattr(masker, "_forms", set())
    monkeypatch.setattr(masker, "pattern", None)


@pytest.fixture(autouse=True)
def _no_log_level_of_others() -> Iterator[None]:
    """A command that runs in this process sets the root logger up for itself; the next test's log is not its own."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(autouse=True)
def _no_orphans_of_others() -> Iterator[None]:
    """A process that stays a subreaper is given the orphans of whatever test comes next: zombies that nobody made."""
    before = _is_subreaper()
    yield
    assert before or not _is_subreaper(), "the test has left this process a subreaper (PR_SET_CHILD_SUBREAPER)"


def _is_subreaper() -> bool:
    value = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0)
    return bool(value.value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    """An empty home folder, which ``HYBRID_HOME`` names."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("HYBRID_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables, to be copied: migrating costs a quarter of a second."""
    folder = tmp_path_factory.mktemp("migrated")
    migrate(load(folder, env={}))
    return folder / "hybrid.db"


@pytest.fixture
def settings(home: Path, migrated_file: Path) -> Settings:
    """Default settings of a home whose database is migrated and empty."""
    shutil.copy(migrated_file, home / "hybrid.db")
    return load()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Postgres]:
    """The session's PostgreSQL server, which runs from the first test that needs it until the session's end."""
    from tests.postgres import Postgres, session_server

    base = tmp_path_factory.getbasetemp()
    server = Postgres(session_server(base if worker_id == "master" else base.parent), worker_id)
    yield server
    server.close()


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> Iterator[Callable[..., str]]:
    """Say the URL of a new database of a kind, with the tables unless ``migrated=False``. It goes with the test."""
    numbers = itertools.count()
    of_postgres: list[str] = []

    def new(kind: str, *, migrated: bool = True) -> str:
        if kind == "postgresql":
            of_postgres.append(request.getfixturevalue("postgres").create(migrated=migrated))
            return of_postgres[-1]
        path = tmp_path / f"database-{next(numbers)}.db"
        if migrated:
            shutil.copy(migrated_file, path)
        return f"sqlite:///{path}"

    yield new
    for url in of_postgres:
        request.getfixturevalue("postgres").drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database; everything that touches one is tested on both."""
    return str(request.param)


@pytest.fixture
def database(kind: str, new_url: Callable[..., str]) -> Iterator[Database]:
    """A new migrated database, of each kind."""
    opened = Database(new_url(kind))
    yield opened
    opened.close()
