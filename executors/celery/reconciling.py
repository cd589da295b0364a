"""Goes through the running attempts, a page a heartbeat, and says what the result backend holds against them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from executors.celery.results import Outcome
from executors.workload import TaskInstanceKey

PAGE = 1000
"""Attempts of one bulk read."""
LONGEST_PAUSE = 60.0
_ENDS = {"SUCCESS": "ended without a report", "REVOKED": "was revoked"}


@dataclass(slots=True)
class Verdicts:
    """What one page told."""

    taken: list[TaskInstanceKey] = field(default_factory=list)
    """A worker has begun with them."""
    failed: list[tuple[TaskInstanceKey, str]] = field(default_factory=list)
    lost: list[tuple[TaskInstanceKey, str]] = field(default_factory=list)


class Reconciler:
    """:param interval: seconds between two rounds; a round takes as many heartbeats as it has pages."""

    def __init__(self, interval: float) -> None:
        self.trouble = ""
        """Why nothing can be read now, in one line."""
        self._interval = interval
        self._failures = 0
        self._next_round = 0.0
        self._left: list[TaskInstanceKey] = []
        self._ended: dict[TaskInstanceKey, float] = {}
        """Attempts that ended, and when that was seen first."""

    def page(self, running: Iterable[TaskInstanceKey], now: float) -> Sequence[TaskInstanceKey]:
        """Whom to ask for now; empty where nothing is due."""
        if now < self._next_round:
            return ()
        if not self._left:
            self._left = list(running)
            known = set(self._left) if self._ended else set()
            self._ended = {key: at for key, at in self._ended.items() if key in known}
        page, self._left = self._left[:PAGE], self._left[PAGE:]
        if not self._left:
            self._next_round = now + self._interval
        return page

    def read(
        self, reader: Callable[[Sequence[str]], Mapping[str, Outcome]], page: Sequence[TaskInstanceKey], now: float
    ) -> Verdicts:
        """Ask for a page and judge it. Raises what ``reader`` raises."""
        known = reader([key.attempt_id for key in page])
        self.trouble, self._failures = "", 0
        verdicts = Verdicts()
        for key in page:
            if outcome := known.get(key.attempt_id):
                self._judge(key, outcome, verdicts, now)
        return verdicts

    def failed(self, reason: str, now: float) -> None:
        """The read failed: nothing is known, and the next one waits longer."""
        self.trouble, self._failures = reason, self._failures + 1
        self._left = []
        self._next_round = now + min(LONGEST_PAUSE, self._interval * 2.0 ** min(self._failures, 10))

    def _judge(self, key: TaskInstanceKey, outcome: Outcome, verdicts: Verdicts, now: float) -> None:
        if outcome.state == "STARTED":
            verdicts.taken.append(key)
        elif outcome.state in ("SUCCESS", "FAILURE", "REVOKED") and self._is_late(key, now):
            if outcome.state == "FAILURE":
                verdicts.failed.append((key, outcome.reason or "its Celery task failed without a reason"))
            else:
                verdicts.lost.append((key, f"its Celery task {_ENDS[outcome.state]}"))

    def _is_late(self, key: TaskInstanceKey, now: float) -> bool:
        """Not at the first sight: the report of whatever has ended is committed, and the host may be about to tell."""
        return now - self._ended.setdefault(key, now) >= self._interval
