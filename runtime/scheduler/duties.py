"""What the loop goes by: its options, what is due when, and what the lanes brought."""

from __future__ import annotations

from dataclasses import dataclass, field

from executors.events import Accepted, Failed, Lost, Pending, Succeeded
from runtime.core.clock import SECOND
from runtime.scheduler.mailbox import CallbackSent


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """Seconds, and numbers per loop; see ``[scheduler]``."""

    idle_sleep: float = 1.0
    job_heartbeat: float = 5.0
    lease: float = 10.0
    heartbeat_timeout: float = 60.0
    queued_timeout: float = 600.0
    runs_to_create: int = 10
    runs_to_claim: int = 20
    declared: str = "{}"
    """What this scheduler runs with, as JSON (:func:`runtime.config.parity.declare`)."""

    @property
    def renewal(self) -> float:
        """Seconds between two renewals of the lease, and between two looks at those of others: three may fail."""
        return min(self.job_heartbeat, self.lease / 4)


@dataclass(slots=True)
class Brought:
    """What the lanes brought since the last step."""

    final: list[Succeeded | Failed | Lost] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    pending: dict[str, Pending] = field(default_factory=dict)
    """The newest of each attempt."""
    callbacks: list[CallbackSent] = field(default_factory=list)


@dataclass(slots=True)
class Schedule:
    """When the next round of each periodic duty is due, in microseconds."""

    look: int = 0
    lease: int = 0
    status: int = 0
    burial: int = 0
    sharing: int = 0
    chores: int = 0
    limits: int = 0
    silence: int = 0
    rerouting: int = 0

    def is_due(self, duty: str, at: int, seconds: float) -> bool:
        """Whether ``duty`` is due; then its next round is ``seconds`` away."""
        if at < getattr(self, duty):
            return False
        setattr(self, duty, at + round(seconds * SECOND))
        return True
