"""What goes over the wire: ``hybrid.run(attempt_id, start_ticket)``, in Celery's protocol 2, as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

TASK_NAME = "hybrid.run"
DECLARE = "hybrid_declare"
"""The command by which a worker is asked what it runs with."""
TICKET_VARIABLE = "HYBRID_START_TICKET"
"""Where a workload's ``env`` has its start ticket."""
_ATTEMPT = re.compile(rb'"correlation_id":\s*"([^"]{1,128})"')


@dataclass(frozen=True, slots=True)
class Message:
    """One launch on its way. The attempt's id is the Celery task's id: a second message of it is recognized."""

    attempt_id: str
    queue: str
    """The broker's name of it."""
    ticket: str = field(repr=False)


def as_celery(app: Celery, message: Message, origin: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Body, headers and properties. The texts that Celery shows of the arguments leave the ticket out.

    :param origin: who sends it, for people.
    """
    made = app.amqp.as_task_v2(
        message.attempt_id,
        TASK_NAME,
        args=(message.attempt_id, message.ticket),
        argsrepr=f"('{message.attempt_id}',)",
        kwargsrepr="{}",
        origin=origin,
    )
    return made.body, made.headers, made.properties


def attempt_of(raw: bytes) -> str | None:
    """The attempt of a message as Redis holds it; ``None`` where it is none of Celery's."""
    found = _ATTEMPT.search(raw)
    return found.group(1).decode(errors="replace") if found else None
