"""One connection to the broker, kept, and everything that is said through it; no call takes longer than its budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from executors.celery.errors import BrokerError, BrokerTimeoutError, translated
from executors.celery.messages import Message, as_celery
from executors.celery.options import CeleryOptions

if TYPE_CHECKING:
    from celery import Celery
    from kombu.messaging import Producer

T = TypeVar("T")
_FIRST_PAUSE = 0.02
CONTROL_EXPIRES = 3600.0
"""Seconds after which a worker that was cut off ignores what it was told."""

log = logging.getLogger(__name__)


class Budget:
    """How long one turn may talk with the broker. An operation begins in its first half only, and waits at most as long
    as the second: so both together keep the limit.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._half = clock() + seconds / 2

    @property
    def left(self) -> float:
        """Seconds in which something may still begin; 0 or less: nothing."""
        return self._half - self._clock()


class Publisher:
    """Speaks to one broker. Connects when it is first needed, and again after each error."""

    def __init__(self, app: Celery, options: CeleryOptions, origin: str) -> None:
        self._app = app
        self._options = options
        self._origin = origin
        self._connection: Any = None
        self._producer: Producer | None = None

    @property
    def is_connected(self) -> bool:
        return self._producer is not None

    def send(self, messages: Sequence[Message], budget: Budget) -> None:
        """Publish all of them; where the broker can, in one round trip.

        Raises :class:`BrokerError`: then some of them may have arrived, and all are to be sent again.
        """

        def publish(producer: Producer) -> None:
            with producer.batch(max_size=len(messages)):
                for message in messages:
                    body, headers, properties = as_celery(self._app, message, self._origin)
                    producer.publish(
                        body,
                        routing_key=message.queue,
                        headers=headers,
                        declare=self._declaration(message.queue),
                        serializer="json",
                        retry=False,
                        **properties,
                    )

        self.perform("publish", publish, budget)

    def broadcast(self, command: str, arguments: dict[str, Any], budget: Budget) -> None:
        """Tell all workers of this instance something, and wait for nobody. Raises :class:`BrokerError`."""

        def publish(producer: Producer) -> None:
            exchange = self._app.control.mailbox.exchange
            producer.publish(
                {"method": command, "arguments": arguments, "destination": None, "pattern": None, "matcher": None},
                exchange=exchange.name,
                routing_key="",
                declare=[exchange],
                headers={"clock": 0, "expires": time.time() + CONTROL_EXPIRES},
                serializer="json",
                retry=False,
            )

        self.perform("tell the workers", publish, budget)

    def perform(self, what: str, work: Callable[[Producer], T], budget: Budget) -> T:
        """Do ``work`` with the kept producer; a connection that broke is made anew, as often as the options say.

        Raises :class:`BrokerError`.
        """
        tries, pause = 0, 0.0
        while True:
            if budget.left <= 0:
                raise BrokerTimeoutError(f"{what}: {self._options.broker.shown} took too long")
            try:
                with translated(what, self._options.broker):
                    return work(self._connect())
            except BrokerError as error:
                self.close()
                tries += 1
                if isinstance(error, BrokerTimeoutError) or tries > self._options.publish_retries:
                    raise
                if budget.left <= pause:
                    raise
                log.debug("%s; once more", error)
            time.sleep(pause)
            pause = 2 * pause or _FIRST_PAUSE

    def close(self) -> None:
        """Give the connection up. Never raises; the next call makes another."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.release()

    def _connect(self) -> Producer:
        if self._producer is None:
            from kombu.messaging import Producer

            self._connection = self._app.connection_for_write()
            self._connection.ensure_connection(max_retries=0)
            self._producer = Producer(self._connection.channel())
        return self._producer

    def _declaration(self, queue: str) -> list[Any]:
        """Redis needs none: what is pushed makes the list."""
        return [] if self._options.broker.is_redis else [self._app.amqp.queues[queue]]
