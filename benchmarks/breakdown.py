"""Where the time of a run goes, from its ``task_attempt`` rows: ``python -m benchmarks.breakdown HOME DAG [RUN]``.

========================= ==================================================================================
ready → queued            the task may run, until the scheduler has committed its hand-off
queued → started          executor, worker, fork, until the task service has granted the start
started → ended           the attempt's process, until its report is taken
ended → next queued       until the slot that it left is given to the next attempt (in a chain, to the next task)
========================= ==================================================================================

A moment is when the transaction that wrote it began: what a write costs counts to the phase that follows.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from benchmarks.figures import summary
from runtime.config import load
from runtime.core.errors import HybridError
from runtime.db.engine import open_database
from runtime.db.runs import require_dag
from runtime.db.schema import dag_run, task_attempt, task_instance

MILLISECOND = 1_000
PHASES = ("ready → queued", "queued → started", "started → ended", "ended → next queued")


@dataclass(frozen=True, slots=True)
class Times:
    """Moments of an attempt that succeeded, microseconds."""

    run: int
    ready: int
    queued: int
    started: int
    ended: int


def attempt_times(connection: Connection, runs: Iterable[int]) -> list[Times]:
    """Of the attempts of these runs that have started and ended."""
    instance, attempt = task_instance.c, task_attempt.c
    query = (
        select(attempt.dag_run_id, instance.scheduled_at, attempt.queued_at, attempt.started_at, attempt.ended_at)
        .join_from(task_attempt, task_instance, instance.attempt_id == attempt.id)
        .where(attempt.dag_run_id.in_(list(runs)), attempt.started_at.is_not(None), attempt.ended_at.is_not(None))
    )
    return [Times(*row) for row in connection.execute(query)]


def phases(times: Sequence[Times]) -> dict[str, list[float]]:
    """Milliseconds of each attempt in each phase; the last has a value per hand-over, none where runs overlap."""
    values = (
        [_milliseconds(t.ready, t.queued) for t in times],
        [_milliseconds(t.queued, t.started) for t in times],
        [_milliseconds(t.started, t.ended) for t in times],
        [gap for run in _runs_apart(times) for gap in hand_overs(run)],
    )
    return dict(zip(PHASES, values, strict=True))


def _runs_apart(times: Sequence[Times]) -> list[list[Times]]:
    """The attempts by run, where no two runs overlap; else nothing: a slot may then go to another run."""
    by_run: dict[int, list[Times]] = defaultdict(list)
    for one in times:
        by_run[one.run].append(one)
    runs = sorted(by_run.values(), key=lambda run: min(t.queued for t in run))
    apart = all(
        max(t.ended for t in earlier) <= min(t.queued for t in later) for earlier, later in itertools.pairwise(runs)
    )
    return runs if apart else []


def hand_overs(times: Sequence[Times]) -> list[float]:
    """Milliseconds from each end to the hand-off that took its place, first come first served.

    The attempts queued before the first end are the first wave; the k-th end makes room for the k-th one after it.
    """
    ends = sorted(t.ended for t in times)
    queued = sorted(t.queued for t in times)
    wave = sum(moment < ends[0] for moment in queued) if ends else 0
    return [_milliseconds(end, later) for end, later in zip(ends, queued[wave:], strict=False)]


def at_once(times: Sequence[Times]) -> float:
    """How many attempts were between start and end, on average over the time from the first start to the last end."""
    span = max(t.ended for t in times) - min(t.started for t in times)
    return sum(t.ended - t.started for t in times) / span if span else float(len(times))


def table(title: str, found: dict[str, list[float]]) -> str:
    """A line per phase: median, min, max, n."""
    lines = [f"{title:<42}{'median':>9}{'min':>9}{'max':>9}{'n':>7}   ms"]
    for phase, values in found.items():
        if values:
            of = summary(values)
            lines.append(f"  {phase:<40}{of['median']:>9.2f}{of['min']:>9.2f}{of['max']:>9.2f}{of['n']:>7.0f}")
    return "\n".join(lines)


def _milliseconds(earlier: int, later: int) -> float:
    return (later - earlier) / MILLISECOND


def main() -> int:
    """Print the breakdown of the runs of a DAG in an existing home."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.breakdown", description="Where the time of a run goes.")
    parser.add_argument("home", metavar="HOME", type=Path)
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument("run_id", metavar="RUN", nargs="?", help="default: all its runs")
    args = parser.parse_args()
    try:
        database = open_database(load(args.home))
        with database.read() as connection:
            require_dag(connection, args.dag_id)
            times = attempt_times(connection, _run_ids(connection, args.dag_id, args.run_id))
    except HybridError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    if not times:
        print(f"benchmarks: no attempt of {args.dag_id} {args.run_id or ''} has ended", file=sys.stderr)
        return 1
    print(table(f"{args.dag_id}: {len({t.run for t in times})} runs, {len(times)} attempts", phases(times)))
    return 0


def _run_ids(connection: Connection, dag_id: str, run_id: str | None) -> list[int]:
    query = select(dag_run.c.id).where(dag_run.c.dag_id == dag_id)
    if run_id is not None:
        query = query.where(dag_run.c.run_id == run_id)
    return list(connection.execute(query).scalars())


if __name__ == "__main__":
    sys.exit(main())
