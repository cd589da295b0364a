"""What a worker takes from its queues: messages of ours, and of those only what we put in. Imports Celery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.utils.encoding import str_to_bytes

from executors.celery.messages import TASK_NAME

LONGEST_TICKET = 8192
_LONGEST_ID = 128
_body = msgspec.json.Decoder(tuple[tuple[str, str], dict[str, None], dict[str, None]])
"""Arguments, no keyword arguments, no callbacks, errbacks, chains, chords: Celery would act upon them."""

log = logging.getLogger(__name__)


def attempt_in(message: Any) -> str:
    """The attempt of a message of ours. Raises ``ValueError`` where it is none, with a text that quotes nothing."""
    headers, properties = message.headers, message.properties
    if not isinstance(headers, dict) or headers.get("task") != TASK_NAME:
        raise ValueError("it is not for this task")
    if message.content_type != "application/json":
        raise ValueError("it is not JSON")
    try:
        (attempt_id, ticket), kwargs, _ = _body.decode(str_to_bytes(message.body))
    except (msgspec.DecodeError, UnicodeError):
        raise ValueError("it holds something else than an attempt and its ticket") from None
    if kwargs or not 0 < len(ticket) <= LONGEST_TICKET or not 0 < len(attempt_id) <= _LONGEST_ID:
        raise ValueError("it holds something else than an attempt and its ticket")
    if not headers.get("id") == properties.get("correlation_id") == attempt_id or not attempt_id.isprintable():
        raise ValueError("its id is not that of its attempt")
    return attempt_id


def known_headers(attempt_id: str) -> dict[str, Any]:
    """All that Celery is told of a message. What else it had, such as time limits, an ETA or stamps, is forgotten."""
    return {
        "lang": "py",
        "task": TASK_NAME,
        "id": attempt_id,
        "root_id": attempt_id,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": f"('{attempt_id}',)",
        "kwargsrepr": "{}",
        "ignore_result": True,
    }


class _Forgiving:
    """Of a message that came over a connection that is closed: Redis gives it out again, and it will start nothing."""

    __slots__ = ()

    def ack_log_error(self, *args: Any, **options: Any) -> None:
        with _closed_channel("acknowledged"):
            super().ack_log_error(*args, **options)  # type: ignore[misc]

    def reject_log_error(self, *args: Any, **options: Any) -> None:
        with _closed_channel("given back"):
            super().reject_log_error(*args, **options)  # type: ignore[misc]


@contextmanager
def _closed_channel(what: str) -> Iterator[None]:
    try:
        yield
    except AttributeError as error:  # what kombu 5.7 stumbles over in a channel that has no connection any more
        log.debug("a message of a connection that was lost cannot be %s: %s", what, error)


def _survive_rubbish(channel: Any) -> None:
    """What is no message at all, in a list of Redis or on one of its channels, would end the worker."""
    handlers: dict[str, Callable[[], Any]] = getattr(channel, "handlers", {})
    for kind, read in handlers.items():
        handlers[kind] = partial(_read, read)


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        log.error("a message is thrown away: it is none of Celery's (%s)", type(error).__name__)  # noqa: TRY400
        return True


class HybridConsumer(Consumer):  # type: ignore[misc]
    """Rejects what is not ours in one line without its content, where Celery would log all of it."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """As Celery's, for messages that were looked at."""
        handle: Callable[[Any], None] = super().create_task_handler(*args, **options)
        channel = self.task_consumer.channel
        for one in getattr(channel.connection, "channels", ()):
            _survive_rubbish(one)
        if not issubclass(channel.Message, _Forgiving):
            channel.Message = type("Message", (_Forgiving, channel.Message), {"__slots__": ()})

        def on_message(message: Any) -> None:
            try:
                attempt_id = attempt_in(message)
            except ValueError as fault:
                self._turn_away(message, str(fault))
                return
            message.headers = known_headers(attempt_id)
            handle(message)

        return on_message

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The broker is gone. What runs goes on; what was only fetched is given back, where that can be done."""
        try:
            super().on_connection_error_after_connected(exc)
        except Exception as error:
            # kombu 5.7 gives it back through a connection that it has taken apart. The rest of the clean-up follows.
            log.debug("%s: %s", type(error).__name__, error)
            super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """What was fetched and not begun goes back at once where the worker stops: what runs may take hours yet."""
        waiting = set(state.reserved_requests) - set(state.active_requests)
        super().on_close()
        if state.should_stop is not None:
            for request in waiting:
                request.reject(requeue=True)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """What cannot even be unpacked."""
        self._turn_away(message, f"it cannot be read ({type(exc).__name__})")

    def register_with_event_loop(self, hub: Any) -> None:
        """Whenever the broker has been reached; Celery forgets these timers when it is lost."""
        super().register_with_event_loop(hub)
        self.timer.call_repeatedly(1.0, self.controller.tend)

    def _turn_away(self, message: Any, why: str) -> None:
        queue = (message.delivery_info or {}).get("routing_key")
        log.error("a message in queue %s is thrown away: %s", queue, why)
        message.reject_log_error(log, self.connection_errors)
