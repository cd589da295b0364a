"""How long a failed task waits for its next try. Pure: the same try always gets the same delay, whoever works it out.

Airflow's rule: with a back-off factor the delay of try *n* is ``retry_delay × factor**(n - 1)`` seconds, rounded up and
at least 1, plus a jitter of up to as much again, so that tasks which failed together do not come back together.
"""

from __future__ import annotations

import math

LONGEST_BACKOFF = 86_400.0
"""Seconds that a growing delay never exceeds, whatever ``max_retry_delay`` says."""


def retry_pause(
    delay: float, factor: float, longest: float | None, *, dag_id: str, task_id: str, run_id: str, try_number: int
) -> float:
    """Seconds between the end of try ``try_number`` and the next one.

    :param delay: ``retry_delay`` in seconds.
    :param factor: ``retry_exponential_backoff``; 0 and 1 leave ``delay`` as it is, and ``longest`` without effect.
    :param longest: ``max_retry_delay`` in seconds.
    """
    if factor in (0.0, 1.0):
        return delay
    import hashlib  # here, because most tasks never need it

    try:
        base = math.ceil(delay * factor ** (max(1, try_number) - 1))
    except OverflowError:
        base = math.ceil(LONGEST_BACKOFF)
    base = max(1, base)
    seed = f"{dag_id}#{task_id}#{run_id}#{try_number}".encode()
    jitter = int(hashlib.sha1(seed, usedforsecurity=False).hexdigest(), 16) % base
    pause = float(min(base + jitter, LONGEST_BACKOFF))
    return pause if longest is None else min(pause, longest)
