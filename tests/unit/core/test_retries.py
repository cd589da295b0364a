"""How long a failed task waits: the same try always equally long, longer with each, never absurdly."""

from __future__ import annotations

import hashlib

import pytest

from runtime.core.retries import LONGEST_BACKOFF, retry_pause


def pause(
    delay: float = 10.0, factor: float = 2.0, longest: float | None = None, *, n: int = 1, run: str = "r"
) -> float:
    return retry_pause(delay, factor, longest, dag_id="d", task_id="t", run_id=run, try_number=n)


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_without_a_factor_each_delay_is_the_same_and_has_no_bound(factor: float) -> None:
    assert [pause(200_000.0, factor, 5.0, n=n) for n in (1, 2, 50)] == [200_000.0] * 3


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_each_lies_between_the_power_and_twice_the_power(factor: float) -> None:
    for n in range(1, 8):
        base = 10.0 * factor ** (n - 1)
        assert base <= pause(factor=factor, n=n) < 2 * base + 2


def test_it_is_airflows_formula() -> None:
    """Minimum, and a jitter from the SHA-1 of ``dag#task#run#try``."""
    jitter = int(hashlib.sha1(b"d#t#r#3", usedforsecurity=False).hexdigest(), 16) % 40
    assert pause(n=3) == 40 + jitter


def test_runs_that_failed_together_do_not_come_back_together() -> None:
    assert len({pause(300.0, n=3, run=f"r{k}") for k in range(20)}) > 15
    assert pause(300.0, n=3) == pause(300.0, n=3)


@pytest.mark.parametrize("n", [40, 5_000])
def test_it_never_exceeds_a_day_nor_max_retry_delay(n: int) -> None:
    assert pause(n=n) == LONGEST_BACKOFF
    assert pause(n=n, longest=60.0) == 60.0
    assert pause(0.0) >= 1.0
