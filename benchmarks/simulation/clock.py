"""Virtual time, ids and chances: all that would make two simulations differ, drawn from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from types import SimpleNamespace
from unittest.mock import patch

from runtime.core import ids
from runtime.core.clock import SECOND, micros, moment

BEGINNING = micros(moment(0).replace(year=2026, month=3, day=1, hour=12))
GRID = SECOND // 10
"""Events happen at multiples of it: those of one moment share a transaction, as the reports of many workers do."""
_SCALE = 2.0**64


class VirtualClock:
    """Stands still until it is told; microseconds, like :mod:`runtime.core.clock`."""

    def __init__(self) -> None:
        self.at = BEGINNING

    def __call__(self) -> int:
        return self.at

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (self.at - BEGINNING) / SECOND

    def jump(self, at: int) -> None:
        """Forward to ``at``; never back."""
        self.at = max(self.at, at)


def on_grid(at: int) -> int:
    """The first moment of the grid that is not before ``at``."""
    return -(-at // GRID) * GRID


def moment_of(seconds: float) -> int:
    """The moment of the grid ``seconds`` after the beginning."""
    return on_grid(BEGINNING + round(seconds * SECOND))


def chances(seed: int, *key: object) -> tuple[float, ...]:
    """Eight numbers in [0, 1) that belong to ``key``, whenever and in whatever order they are asked for."""
    digest = blake2b(repr((seed, *key)).encode()).digest()
    return tuple(int.from_bytes(digest[start : start + 8]) / _SCALE for start in range(0, 64, 8))


@contextmanager
def seeded_ids(seed: int, clock: VirtualClock) -> Iterator[None]:
    """Meanwhile ``uuid7()`` of this process is made of virtual time and a seeded source.

    Rows are sorted and locked by these ids, so decisions follow their order.
    """
    source = random.Random(seed)
    time = SimpleNamespace(time_ns=lambda: clock.at * 1000)
    with patch.object(ids, "time", time), patch.object(ids, "os", SimpleNamespace(urandom=source.randbytes)):
        yield
