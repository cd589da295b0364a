"""A host of lanes that is gone without a trace after its test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from runtime.scheduler import health
from tests.unit.scheduler.lane_host import Host


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(health, "FIRST_PAUSE", 0.001)
    before = len(os.listdir("/proc/self/fd"))
    made = Host()
    yield made
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor is left"
