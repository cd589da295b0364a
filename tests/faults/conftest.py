"""A deployment whose tasks keep a journal, and the check that follows every fault.

``pytest tests/faults --seeds 50`` repeats the seeded cases with so many seeds; ``--first-seed`` says where they begin.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "acceptance"))

from faulty import FaultyDeployment, begin

SEEDS = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--seeds", type=int, default=SEEDS, help="how many seeds each seeded fault case runs with")
    group.addoption("--first-seed", type=int, default=0, help="the first of them")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("--first-seed", 0)
        metafunc.parametrize("seed", range(first, first + metafunc.config.getoption("--seeds", SEEDS)))


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[FaultyDeployment]:
    """A migrated home with a DAG processor; the schedulers are the test's."""
    made = begin(tmp_path / "home")
    yield made
    made.close()
