"""Looks into a broker: is it still the one that took our messages, and do they wait in it?"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from executors.celery.deliveries import Delivery
from executors.celery.messages import attempt_of

if TYPE_CHECKING:
    from kombu.messaging import Producer
    from redis import Redis

PAGE = 200
"""Messages that are read at a time."""


def read_epoch(producer: Producer, prefix: str) -> str | None:
    """Names what the broker holds: it changes where Redis was restarted, replaced or emptied, and messages may be gone.

    Besides the server's run id there is a mark of ours, which ``FLUSHALL`` takes along. ``None`` where the broker has
    no such thing, and also needs none: AMQP brokers keep messages.
    """
    client = _redis(producer)
    if client is None:
        if not producer.connection.connected:
            raise ConnectionError("the connection was closed")
        return None
    mark = f"{_key_prefix(producer)}{prefix}hybrid.epoch"
    pipeline = client.pipeline(transaction=False)
    pipeline.set(mark, uuid.uuid4().hex, nx=True)
    pipeline.get(mark)
    pipeline.info("server")
    made, marked, server = pipeline.execute(raise_on_error=False)
    for answer in (made, marked):
        if isinstance(answer, Exception):
            raise answer
    # Some providers forbid INFO; then the mark alone must do.
    run_id = server.get("run_id", "") if isinstance(server, dict) else ""
    return f"{run_id}/{marked.decode(errors='replace') if isinstance(marked, bytes) else marked}"


class QueueLook:
    """Looks for messages in their queues, a page at a time, so that no heartbeat pays for a long queue.

    A message that moves meanwhile moves towards the end that is read last; one that a worker takes meanwhile may be
    missed, and is repeated for nothing.
    """

    def __init__(self, deliveries: Iterable[Delivery]) -> None:
        self.wanted: dict[str, Delivery] = {delivery.key.attempt_id: delivery for delivery in deliveries}
        """By attempt; what is left at the end was not found."""
        self.found: list[Delivery] = []
        self._queues = sorted({delivery.queue for delivery in self.wanted.values()})
        self._offset = 0

    @property
    def is_done(self) -> bool:
        return not self._queues or not self.wanted

    def step(self, producer: Producer) -> None:
        """Read the next page. Raises what the broker's library raises."""
        client = _redis(producer)
        queue = self._queues[0]
        if client is None:
            self._count(producer, queue)
            return
        page: Any = client.lrange(f"{_key_prefix(producer)}{queue}", self._offset, self._offset + PAGE - 1)
        for raw in page:
            if delivery := self.wanted.pop(attempt_of(raw) or "", None):
                self.found.append(delivery)
        self._offset += PAGE
        if len(page) < PAGE:
            self._next_queue()

    def _count(self, producer: Producer, queue: str) -> None:
        """A broker whose messages cannot be looked at: a queue that is not empty is taken to hold them all."""
        if _length(producer, queue):
            for delivery in [delivery for delivery in self.wanted.values() if delivery.queue == queue]:
                self.found.append(self.wanted.pop(delivery.key.attempt_id))
        self._next_queue()

    def _next_queue(self) -> None:
        del self._queues[0]
        self._offset = 0


def _length(producer: Producer, queue: str) -> int:
    from amqp.exceptions import ChannelError

    try:
        length: int = producer.channel.queue_declare(queue, passive=True).message_count
    except ChannelError as error:
        if str(error.reply_code) != "404":
            raise
        return 0
    return length


def _redis(producer: Producer) -> Redis | None:
    """A client on the channel's own connection; ``None`` where the broker is not Redis."""
    if producer.connection.transport.driver_type != "redis":
        return None
    from redis import Redis

    channel: Any = producer.channel
    return Redis(connection_pool=channel.pool)


def _key_prefix(producer: Producer) -> str:
    """kombu puts the option ``global_keyprefix`` before the keys of some commands only: not of those used here."""
    return str(getattr(producer.channel, "global_keyprefix", ""))
