"""The invariants of design §10 that a simulation can break, looked up in its database after the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.simulation.driver import Simulation
from benchmarks.simulation.history import History
from benchmarks.simulation.workload import Expected, Workload
from runtime.core.states import ATTEMPT_ACTIVE, RUN_FINISHED, TASK_FINISHED

SHOWN = 5
"""Of the violations of each kind."""
_FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class Violation:
    """What must not be; ``kind`` is one of a few words, for counting."""

    kind: str
    text: str


def check(simulation: Simulation, history: History) -> list[Violation]:
    """All violations; an empty list is what is wanted."""
    workload = simulation.workload
    found = [
        *_ends(workload, history),
        *_attempts(history),
        *_executors(simulation, history),
        *_limits(workload, history),
        *_left_over(simulation, history),
    ]
    found += [Violation("worker", text) for text in simulation.launches.wrong]
    found += [Violation("slots", text) for lane in simulation.lanes.values() for text in lane.wrong]
    return found


def _ends(workload: Workload, history: History) -> Iterator[Violation]:
    """Every run ended as its graph and the outcomes of its tries demand."""
    instances: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for row in history.instances.values():
        instances[row.dag_run_id][row.task_id] = row
    ended = {(row.dag_id, row.run_id): row for row in history.runs.values()}
    for arrival in workload.arrivals:
        run = ended.get((arrival.dag_id, arrival.run_id))
        if run is None:
            yield Violation("lost", f"{arrival.dag_id} {arrival.run_id} does not exist")
            continue
        name, expected = f"{run.dag_id} {run.run_id}", workload.expected(run.dag_id, run.run_id)
        if run.state not in RUN_FINISHED:
            yield Violation("lost", f"{name} is {run.state}")
        elif run.state != (wanted := workload.expected_run(run.dag_id, expected)):
            yield Violation("state", f"{name} is {run.state}, not {wanted}")
        for task_id, end in expected.items():
            yield from _end(f"{task_id} of {name}", instances[run.id].get(task_id), end)


def _end(name: str, row: Any, expected: Expected) -> Iterator[Violation]:
    """The task instance, too, and it was charged no more tries than its own code has failed."""
    if row is None or row.state not in TASK_FINISHED:
        yield Violation("lost", f"{name} is {'not there' if row is None else row.state}")
    elif row.state != expected.state:
        yield Violation("state", f"{name} is {row.state}, not {expected.state}")
    elif row.try_number != expected.tries:
        yield Violation("charged", f"{name} took {row.try_number} tries, not {expected.tries}")


def _attempts(history: History) -> Iterator[Violation]:
    """Those of a task instance follow one another, and each has ended."""
    of_instance: defaultdict[str, list[Any]] = defaultdict(list)
    for row in history.attempts:
        if row.state in ATTEMPT_ACTIVE or row.ended_at is None:
            yield Violation("lost", f"attempt {row.id} is {row.state}")
        if not row.executor or not row.executor_reason:
            yield Violation("executor", f"attempt {row.id} does not say where and why there")
        of_instance[row.task_instance_id].append(row)
    for rows in of_instance.values():
        for before, after in pairwise(rows):
            if before.ended_at is None or before.ended_at > after.queued_at:
                yield Violation("doubled", f"attempt {after.id} was queued before {before.id} had ended")


def _executors(simulation: Simulation, history: History) -> Iterator[Violation]:
    """Each was handed exactly the attempts that the database gives to it, and the losses that it had are charged."""
    handed: dict[str, str] = {}
    for name, lane in simulation.lanes.items():
        for attempt in lane.handed:
            if attempt in handed:
                yield Violation("doubled", f"attempt {attempt} was handed to {handed[attempt]} and to {name}")
            handed[attempt] = name
    for row in history.attempts:
        if handed.pop(row.id, None) != row.executor:
            yield Violation("executor", f"attempt {row.id} is stored with {row.executor}, which was not handed it")
    for attempt, name in handed.items():
        yield Violation("executor", f"{name} was handed attempt {attempt}, which is not stored")
    for row in history.instances.values():
        run = history.runs[row.dag_run_id]
        losses = simulation.launches.losses[run.dag_id, run.run_id, row.task_id]
        if row.infra_losses != losses:
            text = f"{row.task_id} of {run.dag_id} {run.run_id} was lost {losses} times and charged {row.infra_losses}"
            yield Violation("charged", text)


def _limits(workload: Workload, history: History) -> Iterator[Violation]:
    """Pools, tasks of a run and runs of a DAG never exceeded."""
    runs, instance = history.runs, history.instances
    used = _peaks(
        (instance[row.task_instance_id].pool, instance[row.task_instance_id].pool_slots, row.queued_at, row.ended_at)
        for row in history.attempts
    )
    yield from _exceeded("pool", used, workload.pools)
    active = _peaks((str(row.dag_run_id), 1, row.queued_at, row.ended_at) for row in history.attempts)
    most = {str(row.id): workload.specs[row.dag_id].max_active_tasks for row in runs.values()}
    yield from _exceeded("run", active, most)
    running = _peaks((row.dag_id, 1, row.start_date, row.end_date) for row in runs.values() if row.start_date)
    yield from _exceeded("DAG", running, {name: spec.max_active_runs for name, spec in workload.specs.items()})


def _peaks(intervals: Iterable[tuple[str, int, int, int | None]]) -> Counter[str]:
    """The most that was ever used of each name, by (name, amount, begin, end); what ends makes room first."""
    changes: list[tuple[int, int, str]] = []
    for name, amount, begin, end in intervals:
        if end is None or end > begin:
            changes += [(begin, amount, name), (_FOREVER if end is None else end, -amount, name)]
    used: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for _, amount, name in sorted(changes):
        used[name] += amount
        peak[name] = max(peak[name], used[name])
    return peak


def _exceeded(what: str, peaks: Mapping[str, int], limits: Mapping[str, int]) -> Iterator[Violation]:
    for name, limit in limits.items():
        if peaks.get(name, 0) > limit:
            yield Violation("limit", f"{what} {name}: {peaks[name]} in use, {limit} allowed")


def _left_over(simulation: Simulation, history: History) -> Iterator[Violation]:
    """After the end nobody remembers anything."""
    memory = simulation.scheduler.memory
    for what, left in (
        ("runs in memory", len(memory.runs)),
        ("attempts that the scheduler takes for held", len(memory.handed)),
        ("attempts that must become quiet", len(memory.quiescing)),
        ("instances that wait", sum(1 for _ in memory.ready.waiting())),
        ("attempts that executors hold", sum(lane.held for lane in simulation.lanes.values())),
        ("processes", simulation.launches.running),
        ("runs set aside because of an error", len(memory.quarantined)),
        ("reports that nobody applied", history.inbox),
        ("leases", sum(row.lease_owner is not None for row in history.runs.values())),
    ):
        if left:
            yield Violation("leaked", f"{left} {what}")
