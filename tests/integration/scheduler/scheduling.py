"""A whole scheduler on a clock that a test moves: real loop, real lanes, executors that do as they were told.

Nothing runs by itself: :meth:`Scheduling.step` does one step of the loop and then one turn of each lane, in the test's
own thread, and between two steps the invariants of design §10 are looked up in the database.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.testing import ScriptedExecutor
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload
from runtime.core import messages as m
from runtime.core.clock import SECOND
from runtime.core.specs import DagSpec
from runtime.core.states import ATTEMPT_ACTIVE, TASK_ACTIVE, TaskState
from runtime.db import components, engine
from runtime.db.runs import CreatedRun, set_paused
from runtime.db.schema import dag, dag_run, executor_status, pool, run_inbox, task_attempt, task_instance
from runtime.scheduler.duties import LoopOptions
from runtime.scheduler.health import LaneStatus
from runtime.scheduler.lanes import Lane
from runtime.scheduler.leases import Identity
from runtime.scheduler.loop import Scheduler
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.memory import Memory
from runtime.scheduler.waking import Bell
from tests.database.builders import World, router, start

MOST_STEPS = 300
REPORTS = ("success", "failed", "skipped")


class PlannedExecutor(ScriptedExecutor):
    """Each launch behaves as planned for its task: one word a launch, the last one for all that follow.

    ``success failed skipped``: asks for the start, runs, reports, exits. ``hold``: starts and goes on until
    :meth:`end_held`. ``wait``: is accepted and never starts. ``lost``, ``died``, ``refused``: ends as lost, failed
    or refused without a start. ``unseen``: reports, and its backend never says that it ended. ``vanish``: starts,
    then is lost. ``exit 0``: a foreign command that ends well without a report.
    """

    def __init__(self, plans: Mapping[str, deque[str]], parallelism: int, *, context: ExecutorContext) -> None:
        super().__init__(parallelism, context=context)
        self._plans = plans
        self.launched: list[TaskInstanceKey] = []
        self.held: dict[str, TaskInstanceKey] = {}
        self.adopts = False
        self.told: list[TaskInstanceKey] = []
        """Keys that :meth:`reported` was called with."""
        self.told_of_starts: list[TaskInstanceKey] = []

    def execute_async(
        self, key: TaskInstanceKey, command: Sequence[str], queue: str | None = None, executor_config: Any | None = None
    ) -> None:
        super().execute_async(key, command, queue, executor_config)
        self.launched.append(key)
        plan = self._plans[key.task_id]
        word = plan.popleft() if len(plan) > 1 else plan[0]
        if word in REPORTS:
            self._run(key, word)
            self.success(key)
        elif word == "unseen":
            self._run(key, "success")
        elif word in {"hold", "vanish"}:
            self._ask(start(key.attempt_id, nonce=key.attempt_id))
            self.held[key.task_id] = key
        if word in {"lost", "vanish"}:
            self.lost(key, "as planned")
        elif word == "died":
            self.fail(key, "as planned")
        elif word == "refused":
            self.refuse(key, "as planned")
        elif word == "exit 0":
            self.success(key)

    def started(self, key: TaskInstanceKey) -> None:
        self.told_of_starts.append(key)

    def reported(self, key: TaskInstanceKey) -> None:
        """Frees the slot, as an executor does whose backend is slow to tell."""
        self.told.append(key)
        self.success(key)

    def end_held(self, task_id: str, outcome: str = "success", **report: Any) -> m.Finished:
        """A held launch reports and exits."""
        key = self.held.pop(task_id)
        reply = self._ask(m.Finish(key.attempt_id, key.attempt_id, outcome, retry_delay=0.0, **report))
        self.success(key)
        return reply

    def beat(self, task_id: str) -> m.HeartbeatReply:
        key = self.held[task_id]
        return self._ask(m.Heartbeat(key.attempt_id, key.attempt_id))

    def try_adopt_task_instances(self, tis: Sequence[TaskInstanceRef]) -> Sequence[TaskInstanceRef]:
        missing = super().try_adopt_task_instances(tis)
        if not self.adopts:
            return missing
        for ti in tis:
            self.running[ti.key] = Workload(ti.key, (), CodeReference("", ""))
        return []

    def _run(self, key: TaskInstanceKey, outcome: str) -> None:
        nonce = key.attempt_id
        if self._ask(start(key.attempt_id, nonce=nonce)).granted:
            self._ask(m.Finish(key.attempt_id, nonce, outcome, reason="as planned", retry_delay=60.0))

    def _ask(self, request: m.Request) -> Any:
        return m.decode_reply(self.context.task_service([m.encode(request)])[0])


class Scheduling(World):
    """:param executors: parallelism by name; the first is the default.

    :param local: names of those whose attempts count as running on this host.
    """

    def __init__(
        self,
        database: engine.Database,
        executors: Mapping[str, int] | None = None,
        *,
        local: Sequence[str] = (),
        missing: str = "hold",
        routes: str = "",
        fallback: str = "unavailable",
        infra_retries: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(database, registered=False)
        self.bell = Bell()
        self._hinted = False
        self.plans: defaultdict[str, deque[str]] = defaultdict(lambda: deque(["success"]))
        self.executors: dict[str, PlannedExecutor] = {}
        self._parallelism = dict(executors or {"one": 16})
        self._local, self._infra_retries = local, infra_retries
        self._routing = {"missing": missing, "routes": routes, "fallback": fallback}
        self._options = LoopOptions(**options)
        self.api_is_up = True
        """Whether an API server writes its heartbeats while time goes by."""
        with database.write() as connection:
            self._api = components.register(connection, components.API_SERVER, self.at)
        self.lanes: dict[str, Lane] = {}
        self.begin_scheduler()

    def begin_scheduler(self) -> None:
        """A scheduler with new executors; one that was there before is dead from now on."""
        self.close()
        self.me = Identity()
        self.lanes = {name: self._lane(name, parallelism) for name, parallelism in self._parallelism.items()}
        memory = Memory(self.me, router(*self._parallelism, **self._routing))
        policy = LossPolicy(infra_retries=self._infra_retries, hostname="worker", local=self._local, piped=self._local)
        self.scheduler = Scheduler(
            self.database, memory, self.lanes, policy, self._options, clock=self.clock, bell=self.bell
        )
        self.scheduler.begin()
        self.turn()

    def close(self) -> None:
        for lane in self.lanes.values():
            lane.detach()
            lane._run()
        self.lanes = {}

    @property
    def memory(self) -> Memory:
        return self.scheduler.memory

    @property
    def one(self) -> PlannedExecutor:
        return self.executors["one"]

    def plan(self, **words: str) -> None:
        """Words for a task's launches, separated by commas."""
        self.plans.update({task_id: deque(text.split(", ")) for task_id, text in words.items()})

    # -- time

    def turn(self) -> None:
        for lane in self.lanes.values():
            lane._turn(True)

    def step(self, count: int = 1) -> None:
        """Every other one with a hint, which makes it look at everything."""
        for _ in range(count):
            self._hinted = not self._hinted
            self.scheduler.step(hinted=self._hinted)
            self.check()
            self.turn()

    def until(self, condition: Callable[[], Any], what: str = "the condition") -> None:
        for _ in range(MOST_STEPS):
            if condition():
                return
            self.step()
        pytest.fail(f"not within {MOST_STEPS} steps: {what}")

    def rest(self) -> None:
        """Until two steps in a row change nothing; time stands still."""
        before = None
        for _ in range(MOST_STEPS):
            now = self._everything()
            if now == before:
                return
            self.step(2)
            before = now
        pytest.fail(f"no rest within {MOST_STEPS} steps")

    def pass_time(self, seconds: float, by: float = 1.0) -> None:
        """Let time go by, in steps of ``by`` seconds; then come to rest."""
        end = self.at + round(seconds * SECOND)
        while self.at < end:
            self.at = min(end, self.at + round(by * SECOND))
            self.beat_api()
            self.step()
        self.rest()

    def beat_api(self) -> None:
        if self.api_is_up:
            with self.database.write() as connection:
                components.beat(connection, self._api, self.at)

    # -- runs

    def begin_run(self, spec: DagSpec, run_id: str | None = None, **options: Any) -> CreatedRun:
        self.save(spec, rel_path=f"{spec.dag_id}.py", file_hash=spec.dag_id)
        return self.trigger(spec.dag_id, run_id, **options)

    def finished(self, *runs: CreatedRun) -> bool:
        return all(self.run(run.id).state in {"success", "failed"} for run in runs)

    def run_to_end(self, *runs: CreatedRun) -> list[str]:
        """States of the runs once all have ended."""
        self.until(lambda: self.finished(*runs), "runs have ended")
        return [self.run(run.id).state for run in runs]

    def pause(self, dag_id: str, paused: bool = True) -> None:
        with self.database.write() as connection:
            set_paused(connection, dag_id, paused)

    def launches(self, executor: str = "one") -> list[str]:
        return [key.task_id for key in self.executors[executor].launched]

    def history(self, task_id: str, run: int | None = None) -> list[tuple[int, int, str]]:
        """(try, dispatch, state) of each attempt."""
        return [(a.try_number, a.dispatch_number, a.state) for a in self.attempts(task_id, run)]

    # -- what must hold

    def check(self) -> None:
        """Invariants 1, 4 and 5, as they were committed."""
        self._check_pools()
        self._check_runs()
        self._check_attempts()
        for name, used in self.memory.occupied().items():
            assert used <= (self._parallelism[name] or 10**9), f"{name} holds {used}"

    def check_nothing_is_left(self) -> None:
        """Invariant 6: after all runs have ended nothing of them is remembered anywhere."""
        self.at += 20 * SECOND
        self.rest()
        memory = self.memory
        assert self.rows(run_inbox) == []
        assert (memory.runs, memory.handed, memory.quiescing, memory.stale, memory.held) == ({}, {}, {}, set(), {})
        assert list(memory.ready.waiting()) == []
        assert not memory.ready, "dead entries"
        assert not memory.ready._parked
        for lane in self.lanes.values():
            assert (lane.status().queued, lane.status().running) == (0, 0)
        assert self.rows(task_attempt, task_attempt.c.state.in_(sorted(ATTEMPT_ACTIVE))) == []
        assert self.rows(task_instance, task_instance.c.state.in_(sorted(TASK_ACTIVE))) == []
        assert self.rows(dag_run, dag_run.c.lease_owner.is_not(None)) == []

    def status(self, name: str) -> LaneStatus:
        return self.lanes[name].status()

    def shown(self, name: str) -> Any:
        """What the database says of an executor."""
        return self.row(executor_status, executor_status.c.name == name, executor_status.c.scheduler_id == self.me.id)

    def _count_report(self) -> None:
        super()._count_report()
        self.bell()

    def _lane(self, name: str, parallelism: int) -> Lane:
        def create(wake: Callable[[], None]) -> BaseExecutor:
            context = ExecutorContext(name=name, task_service=self.service, wake=wake)
            self.executors[name] = made = PlannedExecutor(self.plans, parallelism, context=context)
            return made

        return Lane(
            name,
            class_name="PlannedExecutor",
            create=create,
            wake_scheduler=lambda: None,
            clock=lambda: self.at / SECOND,
            parallelism=parallelism,
        )

    def _everything(self) -> Any:
        return [self.rows(table) for table in (dag_run, task_instance, task_attempt, run_inbox)]

    def _check_pools(self) -> None:
        slots = {row.name: row.slots for row in self.rows(pool)}
        with self.database.read() as connection:
            used = connection.execute(
                select(task_instance.c.pool, func.sum(task_instance.c.pool_slots))
                .where(task_instance.c.state.in_(sorted(TASK_ACTIVE)))
                .group_by(task_instance.c.pool)
            ).all()
        for name, count in used:
            assert slots[name] < 0 or count <= slots[name], f"pool {name}: {count} of {slots[name]}"

    def _check_runs(self) -> None:
        limits = {row.dag_id: row.max_active_runs for row in self.rows(dag)}
        running = Counter(
            row.dag_id for row in self.rows(dag_run, dag_run.c.state == "running", dag_run.c.backfill_id.is_(None))
        )
        for dag_id, count in running.items():
            assert count <= limits[dag_id], f"{count} runs of {dag_id}"
        active = Counter(
            row.dag_run_id for row in self.rows(task_instance, task_instance.c.state.in_(sorted(TASK_ACTIVE)))
        )
        for run in self.memory.runs.values():
            limit = run.graph.spec.max_active_tasks
            assert active[run.id] <= limit, f"{active[run.id]} tasks of run {run.run_id}"

    def _check_attempts(self) -> None:
        alive = self.rows(task_attempt, task_attempt.c.state.in_(sorted(ATTEMPT_ACTIVE)))
        of_instance = Counter(row.task_instance_id for row in alive)
        assert not [one for one, count in of_instance.items() if count > 1], "two attempts of one instance"
        current = {row.id: row for row in self.rows(task_instance)}
        for row in alive:
            instance = current[row.task_instance_id]
            assert instance.attempt_id == row.id
            marked = (instance.reason or "").startswith("marked ")
            assert TaskState(instance.state) in TASK_ACTIVE or marked, (
                f"{row.id} of {instance.state} {instance.task_id}"
            )
        active = {row.id for row in current.values() if TaskState(row.state) in TASK_ACTIVE}
        assert active <= set(of_instance), "active without an attempt"


@contextlib.contextmanager
def closing(made: Scheduling) -> Any:
    try:
        yield made
    finally:
        made.close()
