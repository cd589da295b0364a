"""What every kind of test may need: a home of its own, and a migrated database in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from runtime.config import Settings, load
from runtime.db.migrate import migrate


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch):
    """No HYBRID variable of whoever runs the tests reaches one."""
    for name in [name for name in os.environ if name.startswith("HYBRID")]:
        monkeypatch.delenv(name)


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
