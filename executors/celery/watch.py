"""Whether the broker still has what was published; says which attempts are to be published again, with the same ids."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from executors.celery.broker import QueueLook, read_epoch
from executors.celery.deliveries import Deliveries

if TYPE_CHECKING:
    from executors.celery.options import CeleryOptions
    from executors.celery.publishing import Budget, Publisher
    from executors.workload import TaskInstanceKey

EPOCH_SECONDS = 2.0
"""Between two questions whether the broker is still the one that took the messages."""

log = logging.getLogger(__name__)


class Watch:
    """One instance's messages at its broker. Takes at most two round trips of a heartbeat."""

    def __init__(self, options: CeleryOptions) -> None:
        self.deliveries = Deliveries(options.stuck_after)
        self._prefix = options.queue_prefix
        self._look: QueueLook | None = None
        self._epoch: str | None = None
        self._next_epoch = 0.0

    def lost(self, publisher: Publisher, budget: Budget, now: float) -> list[TaskInstanceKey]:
        """Whose messages are gone, as far as it is known now. Raises :class:`BrokerError`."""
        if now >= self._next_epoch and budget.left > 0 and self._is_new_epoch(publisher, budget, now):
            return self._all(now)
        if self._look is None and (due := self.deliveries.due(now)):
            self._look = QueueLook(due)
        if self._look is not None and not self._look.is_done and budget.left > 0:
            publisher.perform("look into the queues", self._look.step, budget)
        if self._look is None or not self._look.is_done or budget.left <= 0:
            return []
        # The whole broker may have been emptied meanwhile; then the look knows only a part of what is gone.
        if self._look.wanted and self._is_new_epoch(publisher, budget, now):
            return self._all(now)
        look, self._look = self._look, None
        self.deliveries.seen([delivery.key for delivery in look.found], now)
        return [delivery.key for delivery in look.wanted.values() if delivery.key in self.deliveries]

    def ping(self, publisher: Publisher, budget: Budget) -> None:
        """Return where the broker answers. Raises :class:`BrokerError`."""
        publisher.perform("ask for its state", lambda producer: read_epoch(producer, self._prefix), budget)

    def _is_new_epoch(self, publisher: Publisher, budget: Budget, now: float) -> bool:
        epoch = publisher.perform("ask for its state", lambda producer: read_epoch(producer, self._prefix), budget)
        known, self._epoch, self._next_epoch = self._epoch, epoch, now + EPOCH_SECONDS
        return known is not None and epoch != known

    def _all(self, now: float) -> list[TaskInstanceKey]:
        self._look = None
        keys = self.deliveries.all()
        log.warning("the broker was restarted or emptied: %d messages are sent again", len(keys))
        return keys
