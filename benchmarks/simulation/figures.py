"""What a simulation is measured by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.simulation.clock import BEGINNING
from benchmarks.simulation.driver import Simulation
from benchmarks.simulation.history import History
from benchmarks.simulation.occupancy import Integral
from benchmarks.simulation.workload import is_unhindered
from runtime.core.clock import SECOND


@dataclass(frozen=True)
class Quantiles:
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Quantiles:
        """All zero where there are none."""
        ordered = sorted(values) or [0.0]
        last = len(ordered) - 1
        return cls(*(ordered[round(share * last)] for share in (0.5, 0.95, 0.99, 1.0)))


@dataclass(frozen=True)
class ExecutorFigures:
    """One executor. Fairness counts tasks that only this executor may take, outside pools and limits of their run."""

    name: str
    what: str
    slots: int
    attempts: int
    waited: Quantiles
    """Milliseconds of virtual time that such tasks waited from ready to dispatched *while a slot was free*."""
    waited_longest_anyhow: float
    """Seconds of virtual time, for whatever reason."""
    used: float
    """Share of the slots in use, until its last attempt ended."""
    used_while_wanted: float | None
    """The same while such a task waited for it and it was well; ``None``: none ever waited."""


@dataclass(frozen=True)
class Result:
    """Everything that is reported; seconds unless the name says otherwise."""

    tasks: int
    attempts: int
    steps: int
    wall: float
    cpu: float
    """Of this process: on a busy machine the wall tells less."""
    wall_steps: float
    wall_service: float
    """Spent in the task service and in the simulated executors."""
    step_ms: Quantiles
    pss_mib: tuple[float, ...]
    makespan: float
    ideal: float
    bound: str
    """What the ideal is bounded by."""
    executors: tuple[ExecutorFigures, ...]
    jain: float
    digest: str
    end_digest: str
    happened: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Tasks per second of wall time."""
        return self.tasks / self.wall

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "tasks_per_second": round(self.rate, 1)}


def measure(simulation: Simulation, history: History, end_digest: str) -> Result:
    """After the end of ``simulation``."""
    spent, workload = simulation.spent, simulation.workload
    executors = tuple(_executors(simulation, history))
    makespan = (max(row.end_date or 0 for row in history.runs.values()) - BEGINNING) / SECOND
    ideal, bound = max(_bounds(simulation, history))
    return Result(
        tasks=workload.tasks,
        attempts=len(history.attempts),
        steps=len(spent.steps),
        wall=spent.total,
        cpu=spent.cpu,
        wall_steps=sum(spent.steps),
        wall_service=spent.service,
        step_ms=Quantiles.of(1e3 * seconds for seconds in spent.steps),
        pss_mib=tuple(round(value, 1) for value in spent.pss),
        makespan=makespan,
        ideal=ideal,
        bound=bound,
        executors=executors,
        jain=jain([one.used_while_wanted for one in executors if one.used_while_wanted is not None]),
        digest=simulation.decisions.digest,
        end_digest=end_digest,
        happened=dict(sorted(simulation.launches.happened.items())),
    )


def jain(shares: Sequence[float]) -> float:
    """(Σx)² / (n Σx²): 1 where all have the same, 1/n where one has all. 1 for nobody."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def union(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same moments, in intervals that do not overlap, ascending."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > begin:
            merged.append((begin, end))
    return merged


def _executors(simulation: Simulation, history: History) -> Iterable[ExecutorFigures]:
    waits = _waits(simulation, history)
    ends: defaultdict[str, list[int]] = defaultdict(list)
    for row in history.attempts:
        ends[row.executor].append(row.ended_at or BEGINNING)
    for name, lane in simulation.lanes.items():
        free = lane.occupancy.integral(int.__lt__)
        used = lane.occupancy.integral(min)
        room = lane.occupancy.integral(lambda _held, slots: slots)
        wanted = union(waits[name])
        until = max(ends[name], default=BEGINNING)
        yield ExecutorFigures(
            name=name,
            what=lane.profile.what,
            slots=lane.profile.slots,
            attempts=len(ends[name]),
            waited=Quantiles.of(free.between(*interval) / 1e3 for interval in waits[name]),
            waited_longest_anyhow=max((end - begin for begin, end in waits[name]), default=0) / SECOND,
            used=_share(used, room, [(BEGINNING, until)]) or 0.0,
            used_while_wanted=_share(used, room, wanted),
        )


def _waits(simulation: Simulation, history: History) -> dict[str, list[tuple[int, int]]]:
    """From ready to dispatched, by executor, of the first dispatch of each try of the tasks that count."""
    workload = simulation.workload
    counted = {
        (dag_id, task.task_id)
        for dag_id, spec in workload.specs.items()
        if dag_id != simulation.paused_dag
        for task in spec.tasks
        if is_unhindered(spec, task)
    }
    waits: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in history.attempts:
        task = (history.runs[row.dag_run_id].dag_id, history.instances[row.task_instance_id].task_id)
        if row.dispatch_number == 1 and task in counted:
            waits[row.executor].append((history.ready_at[row.id], row.queued_at))
    return waits


def _share(used: Integral, room: Integral, intervals: Sequence[tuple[int, int]]) -> float | None:
    """``None`` where there was no room at all: no such moment, or it was sick all the time."""
    there = sum(room.between(*interval) for interval in intervals)
    return sum(used.between(*interval) for interval in intervals) / there if there else None


def _bounds(simulation: Simulation, history: History) -> Iterable[tuple[float, str]]:
    """No schedule of these attempts is shorter than any of these; seconds, and why."""
    held: defaultdict[str, int] = defaultdict(int)
    pools: defaultdict[str, int] = defaultdict(int)
    for row in history.attempts:
        instance, length = history.instances[row.task_instance_id], (row.ended_at or row.queued_at) - row.queued_at
        held[row.executor] += length
        pools[instance.pool] += length * instance.pool_slots
    for name, lane in simulation.lanes.items():
        if lane.profile.slots:
            yield held[name] / lane.profile.slots / SECOND, f"slots of {name}"
    for name, slots in simulation.workload.pools.items():
        yield pools[name] / slots / SECOND, f"pool {name}"
    paths = _paths(simulation, history)
    yield max(paths.values())
    yield from _one_after_another(simulation, history, paths)


def _paths(simulation: Simulation, history: History) -> dict[tuple[str, str], tuple[float, str]]:
    """When each run could have ended had it begun when it arrived: its longest path of attempts."""
    lengths: defaultdict[tuple[int, str], int] = defaultdict(int)
    for row in history.attempts:
        task = history.instances[row.task_instance_id].task_id
        lengths[row.dag_run_id, task] += (row.ended_at or row.queued_at) - row.queued_at
    found = {}
    for identifier, run in history.runs.items():
        ends: dict[str, int] = {}
        for task in simulation.workload.specs[run.dag_id].tasks:
            before = max((ends[name] for name in task.upstream), default=0)
            ends[task.task_id] = before + lengths[identifier, task.task_id]
        arrived = run.run_after - BEGINNING
        seconds = (arrived + max(ends.values())) / SECOND
        found[run.dag_id, run.run_id] = (seconds, f"longest path of {run.dag_id} {run.run_id}")
    return found


def _one_after_another(
    simulation: Simulation, history: History, paths: dict[tuple[str, str], tuple[float, str]]
) -> Iterable[tuple[float, str]]:
    """A DAG whose runs must wait for one another: all their paths, over ``max_active_runs``, from the first arrival."""
    work: defaultdict[str, float] = defaultdict(float)
    first: dict[str, float] = {}
    for run in history.runs.values():
        arrived = (run.run_after - BEGINNING) / SECOND
        work[run.dag_id] += paths[run.dag_id, run.run_id][0] - arrived
        first[run.dag_id] = min(arrived, first.get(run.dag_id, arrived))
    for dag_id, seconds in work.items():
        most = simulation.workload.specs[dag_id].max_active_runs
        yield first[dag_id] + seconds / most, f"max_active_runs of {dag_id}"
