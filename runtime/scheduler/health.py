"""How an executor is, as its lane sees it: what is shown of it, and when it is tried again after failures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
UNAVAILABLE_AFTER = 3
"""Failures in a row after which a lane is no longer *degraded* but *unavailable*."""


STARTING = "starting"
"""Why a lane is unavailable whose executor has not been made yet, and has not failed either."""


class Health(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"
    DRAINING = "draining"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane as the scheduler sees it now. Figures are the executor's after its last turn, plus what is on its way."""

    name: str
    class_name: str
    health: Health
    reason: str
    """One line; empty where healthy."""
    parallelism: int
    open_slots: int
    """0 until the executor is made; very large where ``parallelism`` is 0."""
    queued: int
    running: int
    last_heartbeat: int | None
    """Microseconds UTC of the last heartbeat that returned."""


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row and says when the next try is due."""

    failures: int = 0
    reason: str = ""
    retry_at: float = 0.0

    def fail(self, reason: str, now: float) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures, 10))
        self.failures, self.reason, self.retry_at = self.failures + 1, reason, now + pause

    def succeed(self) -> None:
        self.failures, self.reason = 0, ""
