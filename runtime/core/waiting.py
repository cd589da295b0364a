"""Why a task instance waits, worked out from what the database says: every reason, the outermost first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.core.clock import SECOND
from runtime.core.specs import TaskSpec
from runtime.core.states import TASK_FINISHED, RunState, TaskState

SHOWN = 5
"""Names of upstream tasks in one reason."""
_TAKES = ("healthy", "degraded")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What holds for all of a run."""

    state: str
    reason: str | None
    """Why the scheduler left it alone, where it did."""
    is_paused: bool
    has_owner: bool
    """Whether a scheduler holds its lease."""
    active_tasks: int
    max_active_tasks: int
    running_runs: int
    max_active_runs: int
    schedulers: int
    """That live."""
    pause_reason: str | None = None
    """Why the DAG is paused, where nobody did it by hand."""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    slots: int
    """-1 is unlimited."""
    used: int


@dataclass(frozen=True, slots=True)
class ExecutorFacts:
    health: str
    reason: str | None
    open_slots: int


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One task instance; ``attempt_reason`` is what the backend of a queued attempt has said."""

    spec: TaskSpec
    state: str
    reason: str | None
    retry_at: int | None
    queued_at: int | None
    executor: str | None = None
    """Of the queued attempt."""
    attempt_reason: str | None = None
    suspicion: str | None = None
    """Of the running attempt; see :mod:`runtime.core.suspicion`."""
    past: str | None = None
    """How the run before holds it; see :mod:`runtime.core.past`."""
    active_in_dag: int = 0
    """Active instances of this task in all runs of its DAG; counted where ``max_active_tis_per_dag`` is set."""
    active_in_run: int = 0
    """Active instances of this task in its run."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that is asked."""

    at: int
    run: RunFacts
    upstream: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The states of each upstream task's instances."""
    pool: PoolFacts | None = None
    """``None`` where there is no such pool."""
    executors: Mapping[str, ExecutorFacts] = field(default_factory=dict)
    """Those that live schedulers have."""
    chain: tuple[str, ...] = ()
    """Where the task may go; see :mod:`runtime.core.routing`."""
    route_reason: str = ""


def waits_for(task: TaskFacts, now: Situation) -> list[str]:
    """Every reason, the outermost first; empty where it waits for nothing, or has ended."""
    state = TaskState(task.state)
    if state in TASK_FINISHED:
        return []
    found = _run(now)
    if state is TaskState.NONE:
        found += _upstream(task, now)
        found += [task.past] if task.past else []
    elif state is TaskState.UP_FOR_RETRY:
        seconds = max(0.0, ((task.retry_at or now.at) - now.at) / SECOND)
        found.append(f"retry delay: the next try is due in {seconds:.0f} s")
    elif state is TaskState.SCHEDULED:
        found += _slots(task, now) or ([] if found else ["the scheduler's next step"])
    elif state is TaskState.QUEUED:
        found += _backend(task, now)
    elif state is TaskState.RESTARTING:
        found.append("quiescence: its attempt is being stopped, and must be quiet before it runs again")
    elif task.suspicion:
        found.append(f"quiescence: {task.suspicion}")
    return found


def _run(now: Situation) -> list[str]:
    run = now.run
    found = []
    if not run.schedulers:
        found.append("no scheduler is running")
    if run.is_paused:
        found.append(f"the DAG is paused{f': {run.pause_reason}' if run.pause_reason else ''}")
    if run.reason and run.state not in (RunState.SUCCESS, RunState.FAILED):
        found.append(f"the run is {run.reason}")
    if run.state == RunState.QUEUED and run.running_runs >= run.max_active_runs:
        found.append(f"DAG limit: {run.running_runs} of max_active_runs = {run.max_active_runs} runs are running")
    elif run.schedulers and not run.has_owner and run.state == RunState.RUNNING:
        found.append("no scheduler has taken its run over yet")
    return found


def _upstream(task: TaskFacts, now: Situation) -> list[str]:
    unfinished = {
        name: next(state for state in states if TaskState(state) not in TASK_FINISHED)
        for name, states in now.upstream.items()
        if any(TaskState(state) not in TASK_FINISHED for state in states)
    }
    if not unfinished:
        return []
    shown = [f"{name} ({state})" for name, state in sorted(unfinished.items())]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    rule = f"trigger rule {task.spec.trigger_rule}"
    return [f"upstream: {', '.join(shown[:SHOWN])}{more}; {rule}"]


def _slots(task: TaskFacts, now: Situation) -> list[str]:
    """Limits first, as the scheduler asks them: they hold whatever the executor has free."""
    found = []
    run, spec = now.run, task.spec
    if run.active_tasks >= run.max_active_tasks:
        found.append(f"run limit: {run.active_tasks} of max_active_tasks = {run.max_active_tasks} tasks are active")
    for name, active in (
        ("max_active_tis_per_dag", task.active_in_dag),
        ("max_active_tis_per_dagrun", task.active_in_run),
    ):
        limit = getattr(spec, name)
        if limit is not None and active >= limit:
            where = "all runs" if name == "max_active_tis_per_dag" else "this run"
            found.append(f"task limit: {active} of {name} = {limit} instances of the task are active in {where}")
    found += _pool(spec, now.pool)
    found += _executors(task, now)
    return found


def _pool(spec: TaskSpec, pool: PoolFacts | None) -> list[str]:
    if pool is None:
        return [f"pool: there is no pool {spec.pool!r}"]
    if pool.slots < 0 or pool.slots - pool.used >= spec.pool_slots:
        return []
    if spec.pool_slots > pool.slots:
        return [f"pool: it wants {spec.pool_slots} slots, and pool {spec.pool!r} has {pool.slots}"]
    wanted = "" if spec.pool_slots == 1 else f", and it wants {spec.pool_slots}"
    return [f"pool: {pool.used} of {pool.slots} slots of pool {spec.pool!r} are in use{wanted}"]


def _executors(task: TaskFacts, now: Situation) -> list[str]:
    if not now.chain:
        return [task.reason or now.route_reason]
    known = [(name, now.executors[name]) for name in now.chain if name in now.executors]
    if any(facts.health in _TAKES and facts.open_slots > 0 for _, facts in known):
        return []
    return [_executor(name, facts) for name, facts in known]


def _executor(name: str, facts: ExecutorFacts) -> str:
    if facts.health in _TAKES:
        return f"executor {name}: full"
    return f"executor {name}: {facts.health}{f' ({facts.reason})' if facts.reason else ''}"


def _backend(task: TaskFacts, now: Situation) -> list[str]:
    """A queued attempt: what its backend says, or how its executor is."""
    executor = task.executor or ""
    if task.attempt_reason:
        return [f"executor {executor}: {task.attempt_reason}"]
    facts = now.executors.get(executor)
    if facts is None:
        return [f"executor {executor}: no live scheduler has it"] if now.run.schedulers else []
    if facts.health not in _TAKES:
        return [_executor(executor, facts)]
    seconds = (now.at - (task.queued_at or now.at)) / SECOND
    return [f"executor {executor}: handed over {seconds:.0f} s ago, no worker of queue {task.spec.queue!r} has begun"]
