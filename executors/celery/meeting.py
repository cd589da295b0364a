"""Meets the workers of one instance: which queues they read, what they say they run with. Needs kombu."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from executors.celery.asking import ask, count_workers
from executors.celery.messages import DECLARE
from executors.celery.options import CeleryOptions
from executors.findings import Component, Examination

if TYPE_CHECKING:
    from celery import Celery

KIND = "worker"


def meet_workers(app: Celery, options: CeleryOptions, wait: float) -> Examination:
    """Workers, and readers by queue as tasks call them.

    Blocks until nobody has answered for ``wait`` seconds, twice. Raises what the broker's library raises.
    """
    readers = count_workers(queues := ask(app, "active_queues", wait))
    there = {name for answer in queues for name in answer}
    began = time.time()
    told = by_name(ask(app, DECLARE, wait, sorted(there))) if there else {}
    workers = tuple(worker(name, told.get(name), began, time.time()) for name in sorted(there))
    prefix = options.queue_prefix
    return Examination(
        workers=workers, readers={queue.removeprefix(prefix): number for queue, number in readers.items()}
    )


def by_name(answers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """``[{"celery@host": answer}, …]`` by worker."""
    return {name: answer for found in answers for name, answer in found.items()}


def worker(name: str, answer: object, began: float, ended: float) -> Component:
    """What a worker said, as far as it makes sense; an older one, or a stranger, says nothing.

    :param began: and ``ended``: the seconds of Unix between which it answered; what its clock showed outside of them
        is by how much it is off.
    """
    said = answer if isinstance(answer, dict) else {}
    declared = said.get("declared")
    pairs = declared.items() if isinstance(declared, dict) else ()
    texts = {key: value for key, value in pairs if isinstance(key, str) and isinstance(value, str)}
    now = said.get("now")
    if not isinstance(now, int | float):
        return Component(KIND, name, texts)
    return Component(KIND, name, texts, min(0.0, now - began) + max(0.0, now - ended))
