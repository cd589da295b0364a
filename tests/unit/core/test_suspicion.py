"""When silence is worth a look."""

from __future__ import annotations

import pytest

from runtime.core.clock import SECOND
from runtime.core.suspicion import suspicion

NOW = 1_000 * SECOND


def judge(heartbeat_at):
    return suspicion(heartbeat_at, NOW, every=10.0, timeout=60.0, hostname="w1", pid=12)


@pytest.mark.parametrize("seconds", [-5, 0, 10, 15])
def test_a_heartbeat_may_be_late(seconds):
    assert judge(NOW - seconds * SECOND) is None


def test_one_that_is_missing_is_said_with_place_and_end():
    assert judge(NOW - 16 * SECOND) == "no heartbeat for 16 s (host w1, pid 12); given up at 60 s"


def test_what_does_not_run_owes_no_heartbeat():
    assert judge(None) is None
