"""How long it took after each fault until work went on where it had hurt.

The time runs from the end of the fault: when the process was started again, was woken, the link healed; for a process
that the runtime itself replaces, from its SIGKILL. It stops when the next attempt

* is *queued* in a run that the scheduler held when it was struck, for a fault of a scheduler or of its link to the
  database; in any run, where it held none;
* *starts* on the executor that was hurt, for everything else; on any, for PostgreSQL; on those that report over HTTP,
  for the API server and its link.

So it also counts how long a task happened to be away that could start there. What no attempt followed is left out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.plan import API
from harness.strikes import Struck

BY_HTTP = ("CeleryExecutor", "remote")
EVERYWHERE = ("LocalExecutor", *BY_HTTP)
Row = Mapping[str, Any]


def recoveries(struck: Iterable[Struck], attempts: Sequence[Row]) -> list[tuple[Struck, float]]:
    """Each fault with its seconds. ``attempts``: rows of ``task_attempt``."""
    return [
        (fault, (at - fault.ended) / 1e6)
        for fault in struck
        if fault.ended is not None and (at := _next(fault, attempts)) is not None
    ]


def _next(struck: Struck, attempts: Sequence[Row]) -> int | None:
    assert struck.ended is not None
    target = struck.fault.kind.target
    if target.startswith("scheduler") and not target.endswith("redis"):
        moments = [row["queued_at"] for row in attempts if not struck.runs or row["dag_run_id"] in struck.runs]
    else:
        executors = hurt(target)
        moments = [row["started_at"] for row in attempts if row["executor"] in executors and row["started_at"]]
    moments.sort()
    place = bisect_left(moments, struck.ended)
    return moments[place] if place < len(moments) else None


def hurt(target: str) -> tuple[str, ...]:
    """The executors whose attempts cannot start while ``target`` is away."""
    if target in ("local worker", "zygote"):
        return ("LocalExecutor",)
    if target == "postgres":
        return EVERYWHERE
    if target.startswith("remote"):
        return ("remote",)
    if target.startswith(API) or target == "supervisor":
        return BY_HTTP
    return ("CeleryExecutor",)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of them do not exceed; ``None`` of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
