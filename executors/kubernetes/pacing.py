"""Whether a call is made again, when, and how many are made at once. Pure: moments are passed in, monotonic seconds."""

from __future__ import annotations

import random
from enum import Enum

from executors.kubernetes.errors import (
    ApiError,
    ClusterConfigError,
    ClusterUnreachableError,
    ConflictError,
    GoneError,
    KubernetesError,
    ServerError,
    ThrottledError,
)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 300.0
"""A server that names more is asked again nevertheless."""


class Fate(Enum):
    """What an error means for the call that met it."""

    THROTTLED = "the server wants all calls to wait"
    SILENT = "the server was not reached, or does not know who we are now"
    BUSY = "this call may work when it is made again"
    QUOTA = "this call may work when something else has ended"
    REFUSED = "it would never work"


def fate(error: KubernetesError) -> Fate:
    """What ``error`` means, whichever call met it."""
    if isinstance(error, (ClusterUnreachableError, ClusterConfigError)):
        return Fate.SILENT
    if not isinstance(error, ApiError):
        return Fate.REFUSED
    if error.status == 401:
        return Fate.SILENT  # a token that rotates; it is not this call's fault
    if isinstance(error, ThrottledError) or (isinstance(error, ServerError) and error.retry_after is not None):
        return Fate.THROTTLED
    if error.is_quota:
        return Fate.QUOTA
    has_writers = isinstance(error, ConflictError) and not error.already_exists  # of one quota
    is_busy = has_writers or isinstance(error, (ServerError, GoneError)) or error.status == 408
    return Fate.BUSY if is_busy else Fate.REFUSED


def is_uncertain(error: KubernetesError) -> bool:
    """It may have been done all the same."""
    return isinstance(error, (ClusterUnreachableError, ServerError))


def chance() -> float:
    """From 0 to below 1: what the pure parts are given as ``draw``."""
    return random.random()  # noqa: S311  spreads calls, keeps no secret


def pause(tries: int, draw: float, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> float:
    """Seconds before try number ``tries`` + 1: twice as long each time, the later half of it by chance.

    :param draw: chance, from 0 to below 1.
    """
    return min(longest, first * 2.0 ** min(max(tries, 1) - 1, 32)) * (0.5 + 0.5 * draw)


class Pace:
    """How many calls may run at once: one more with each success's share, half as many with each complaint.

    :param ceiling: calls at once, at most.
    """

    def __init__(self, ceiling: int) -> None:
        self._ceiling = float(ceiling)
        self._limit = float(ceiling)
        self._lowered = float("-inf")
        self._complaints = 0
        self._open_at = float("-inf")

    @property
    def limit(self) -> int:
        """Calls at once, 1 or more."""
        return int(self._limit)

    @property
    def open_at(self) -> float:
        """No call may begin before."""
        return self._open_at

    def learn(self, error: KubernetesError | None, began: float, now: float, draw: float) -> Fate | None:
        """A call that began at ``began`` has ended, well where ``error`` is None. Returns what the error means."""
        verdict = None if error is None else fate(error)
        if verdict is Fate.SILENT:
            self._silent(began, now, draw)
        elif verdict is Fate.THROTTLED:
            self._throttled(began, now, getattr(error, "retry_after", None), draw)
        elif began >= self._lowered:
            self._complaints = 0
            self._limit = min(self._ceiling, self._limit + 1.0 / self._limit)
        return verdict

    def _throttled(self, began: float, now: float, retry_after: float | None, draw: float) -> None:
        """The server had too many calls. Those that began before the last complaint say nothing new, but until when."""
        if self._is_news(began, now):
            self._limit = max(1.0, self._limit / 2)
        wait = pause(self._complaints, draw) if retry_after is None else min(retry_after, LONGEST_RETRY_AFTER)
        self._open_at = max(self._open_at, now + wait)

    def _silent(self, began: float, now: float, draw: float) -> None:
        """The server was not reached: one call at a time finds out when it can be."""
        if self._is_news(began, now):
            self._limit = 1.0
            self._open_at = max(self._open_at, now + pause(self._complaints, draw))

    def _is_news(self, began: float, now: float) -> bool:
        if began < self._lowered:
            return False
        self._lowered = now
        self._complaints += 1
        return True
