"""Finds the workers of one instance and tells them things. Imports Celery where something is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from executors.celery.app import make_app
from executors.celery.asking import ask
from executors.celery.errors import translated
from executors.celery.options import read_options
from executors.context import ExecutorContext
from executors.errors import ExecutorError

ANSWER_SECONDS = 1.0
"""Within which a worker answers."""
CONNECT_SECONDS = 4


@dataclass(frozen=True)
class Found:
    """A worker that answered."""

    node: str
    queues: frozenset[str]
    running: int
    processes: int


def survey(context: ExecutorContext, node: str | None = None) -> list[Found]:
    """The workers that answer, or only ``node``, by name. Raises :class:`ExecutorError` where nobody does."""
    queues = _ask(context, "active_queues", node)
    if not queues:
        raise _nobody(context, node)
    active, stats = _ask(context, "active", node), _ask(context, "stats", node)
    return [
        Found(name, _names(queues[name]), len(active.get(name) or ()), _processes(stats.get(name)))
        for name in sorted(queues)
    ]


def is_taken(context: ExecutorContext, node: str) -> bool:
    """Whether a worker of that name answers. One that cannot be asked is none: a worker waits for its broker."""
    try:
        return bool(_ask(context, "ping", node))
    except ExecutorError:
        return False


def broker_answers(context: ExecutorContext) -> None:
    """Raises :class:`ExecutorError` where it does not."""
    options = read_options(context.options, context.name)
    with translated("connect", options.broker):
        app = make_app(context.options, context.name)
        with app.connection_for_write(connect_timeout=CONNECT_SECONDS) as connection:
            connection.ensure_connection(max_retries=0)
        app.close()


def tell(context: ExecutorContext, command: str, node: str | None = None, **arguments: Any) -> list[str]:
    """Have them do something; the names of those that will. Raises :class:`ExecutorError` where nobody does."""
    there = _ask(context, "ping", node)
    if not there:
        raise _nobody(context, node)
    if command == "shutdown":  # is not answered
        _ask(context, command, node, **arguments)
        return sorted(there)
    answers = _ask(context, command, node, **arguments)
    for name in sorted(there):
        answer = answers.get(name)
        if not isinstance(answer, dict) or "ok" not in answer:
            told = answer.get("error") if isinstance(answer, dict) else "it gave no answer"
            raise ExecutorError(f"worker {name}: {told}")
    return sorted(there)


def _ask(context: ExecutorContext, command: str, node: str | None, **arguments: Any) -> dict[str, Any]:
    """What each worker answered, by its name."""
    options = read_options(context.options, context.name)
    if not options.remote_control:
        raise ExecutorError("[celery] worker_enable_remote_control is off: nobody can ask the workers")
    with translated("ask the workers", options.broker):
        app = make_app(context.options, context.name)
        try:
            answers = ask(app, command, ANSWER_SECONDS, [node] if node else None, arguments)
        finally:
            app.close()
    return {name: answer for found in answers for name, answer in found.items()}


def _nobody(context: ExecutorContext, node: str | None) -> ExecutorError:
    shown = read_options(context.options, context.name).broker.shown
    who = f"worker {node} does not answer" if node else "no Celery worker answers"
    return ExecutorError(f"{who} on {shown}")


def _names(queues: Any) -> frozenset[str]:
    if not isinstance(queues, list):
        return frozenset()
    return frozenset(str(queue["name"]) for queue in queues if isinstance(queue, dict) and "name" in queue)


def _processes(stats: Any) -> int:
    pool = stats.get("pool") if isinstance(stats, dict) else None
    processes = pool.get("processes") if isinstance(pool, dict) else None
    return len(processes) if isinstance(processes, list) else 0
