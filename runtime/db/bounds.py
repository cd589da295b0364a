"""What the tables have no room for. SQLite would take it: one rule for both kinds of database, told to the author."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.core.specs import DagSpec

LONGEST_NAME = 250
LARGEST_NUMBER = 2**31 - 1


def too_large(dags: Iterable[DagSpec]) -> str | None:
    """The first text or number of these DAGs that no column holds, as an import error; ``None`` where all fit."""
    for spec in dags:
        where = f"DAG {spec.dag_id}"
        texts = [(where, "schedule", spec.timetable.summary), (where, "owner", spec.owner)]
        numbers = [(where, "max_active_runs", spec.max_active_runs)]
        for task in spec.tasks:
            where = f"task {task.task_id} of DAG {spec.dag_id}"
            texts += [(where, "queue", task.queue), (where, "pool", task.pool)]
            numbers += [(where, name, getattr(task, name)) for name in ("retries", "pool_slots", "priority_weight")]
        for where, name, text in texts:
            if len(text) > LONGEST_NAME or "\0" in text:
                return f"{where}: {name} {text[:40]!r} is not allowed; use at most {LONGEST_NAME} characters, no NUL"
        for where, name, number in numbers:
            if abs(number) > LARGEST_NUMBER:
                return f"{where}: {name} = {number}; it must be at most {LARGEST_NUMBER}"
    return None
