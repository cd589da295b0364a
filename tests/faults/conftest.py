"""A deployment whose tasks keep a journal, and the check that follows every fault.

``pytest tests/faults --seeds 50`` repeats the seeded cases with that many seeds, ``--first-seed`` says where they begin.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "acceptance"))

from faulty import FAST, FaultyDeployment  # noqa: E402  it imports what the line above makes importable


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--seeds", type=int, default=5, help="how many seeds each seeded fault case runs with")
    group.addoption("--first-seed", type=int, default=0, help="the first of them")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("--first-seed", 0)
        metafunc.parametrize("seed", range(first, first + metafunc.config.getoption("--seeds", 5)))


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[FaultyDeployment]:
    """A migrated home with a DAG processor; the schedulers are the test's."""
    made = FaultyDeployment(tmp_path / "home")
    made.configure(FAST)
    shutil.copy(HERE / "journal.py", made.dags)
    (made.home / "witness").mkdir()
    made.hybrid("db", "migrate")
    made.start("dag-processor")
    yield made
    made.close()
