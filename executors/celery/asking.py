"""Asks the workers of one instance what they do. Imported where somebody asks: it needs kombu."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu.messaging import Producer
from kombu.pidbox import Mailbox

if TYPE_CHECKING:
    from celery import Celery

ANSWER_SECONDS = 2.0
"""Longest time that Redis may keep a question for an answer waiting; it is asked for one second at a time."""


class _OnceProducer(Producer):
    """Without kombu's own retries, which have no end."""

    def publish(self, *args: Any, **options: Any) -> Any:
        return super().publish(*args, **{**options, "retry": False})  # type: ignore[no-untyped-call]


class _Mailbox(Mailbox):
    """Not that of ``app.control``, which draws from a pool that all applications of a process share."""

    @contextmanager
    def producer_or_acquire(self, producer: Producer | None = None, channel: Any = None) -> Iterator[Producer]:
        yield producer or _OnceProducer(channel, auto_declare=False)  # type: ignore[no-untyped-call]


def workers_by_queue(app: Celery, wait: float) -> dict[str, int]:
    """The broker's queue names → how many workers read them.

    Blocks until nobody has answered for ``wait`` seconds. Raises what the broker's library raises.
    """
    return count_workers(ask(app, "active_queues", wait))


def count_workers(answers: Iterable[dict[str, Any]]) -> dict[str, int]:
    """From ``[{"celery@host": [{"name": queue, …}, …]}, …]``; a worker that answers rubbish reads nothing."""
    found: dict[str, int] = {}
    for queues in (queues for answer in answers for queues in answer.values()):
        for queue in queues if isinstance(queues, list) else ():
            if isinstance(queue, dict) and isinstance(queue.get("name"), str):
                found[queue["name"]] = found.get(queue["name"], 0) + 1
    return found


def ask(
    app: Celery,
    command: str,
    wait: float,
    destination: Sequence[str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """What each worker answers, as ``[{"celery@host": answer}, …]``; those of ``destination`` only, where it is given.

    Blocks until all of these, else nobody more for ``wait`` seconds, have answered. Raises what the broker's library
    raises.
    """
    limits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), ANSWER_SECONDS)
    timeouts = limits if app.conf.broker_url.startswith("redis") else {}
    with app.connection_for_write(transport_options=timeouts) as connection:
        connection.ensure_connection(max_retries=0)
        mailbox = _Mailbox(app.conf.control_exchange, "fanout", accept=["json"], serializer="json")  # type: ignore[no-untyped-call]
        answers: list[dict[str, Any]] = mailbox(connection)._broadcast(  # call() waits for all time
            command,
            dict(arguments or {}),
            destination=list(destination) if destination else None,
            reply=True,
            timeout=wait,
            limit=len(destination) if destination else None,
            channel=connection.channel(),
        )
        return answers
