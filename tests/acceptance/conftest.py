"""A deployment per test, and one that holds the examples."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import ROOT, Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """An empty home; after the test every process of it must be gone."""
    made = Deployment(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def standalone(deployment: Deployment) -> Deployment:
    """A deployment whose ``hybrid standalone`` is ready."""
    deployment.standalone()
    return deployment


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """``hybrid standalone`` with the repository's own ``dags/``."""
    made = Deployment(tmp_path_factory.mktemp("examples") / "home")
    made.dags.rmdir()
    shutil.copytree(ROOT / "dags", made.dags, ignore=shutil.ignore_patterns("__pycache__"))
    made.standalone()
    yield made
    made.close()
