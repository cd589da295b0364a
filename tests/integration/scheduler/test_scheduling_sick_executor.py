"""An executor that hangs or raises delays nobody else, and shows why it is unavailable ("Done when" 4 of the issue).

With threads and time as in production. How long a dispatch takes is counted from the moment that stands in the attempt
as ``queued_at``, which is before its commit, until the executor is asked to launch it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.testing import ScriptedExecutor
from executors.workload import TaskInstanceKey
from runtime.core.clock import now as clock_now
from runtime.core.specs import DagSpec
from runtime.db.engine import Database
from runtime.db.runs import CreatedRun
from runtime.db.schema import executor_status, task_attempt
from runtime.scheduler import health
from runtime.scheduler.duties import LoopOptions
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import Lane
from runtime.scheduler.leases import Identity
from runtime.scheduler.loop import Scheduler
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.main import SWITCH_INTERVAL
from runtime.scheduler.memory import Memory
from runtime.scheduler.waking import Bell, Waker
from tests.database.builders import World, router, spec, task

P99_MILLISECONDS = 50.0
MEASUREMENTS = 6
"""Others may share the machine: the best counts. What waits for a hung executor waits every time."""
DEADLINE = 60.0


class Punctual(ScriptedExecutor):
    """Ends each launch at once and notes when it was asked for it."""

    def __init__(self, clock: Callable[[], int], *, context: ExecutorContext) -> None:
        super().__init__(0, context=context)
        self._now = clock
        self.instant = True
        self.launched: dict[str, int] = {}
        """Moment by attempt id."""

    def execute_async(
        self, key: TaskInstanceKey, command: Sequence[str], queue: str | None = None, executor_config: Any | None = None
    ) -> None:
        self.launched.setdefault(key.attempt_id, self._now())
        super().execute_async(key, command, queue, executor_config)


class Live(World):
    """A scheduler with two executors, ``sick`` and ``well``, and threads of their own."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, registered=False)
        self._offset = clock_now() - time.monotonic_ns() // 1000
        self.waker = Waker()
        self.executors: dict[str, Punctual] = {}
        self.lanes = {name: self._lane(name) for name in ("well", "sick")}
        self.me = Identity()
        self.scheduler = Scheduler(
            database,
            Memory(self.me, router("well", "sick")),
            self.lanes,
            LossPolicy(infra_retries=2, hostname=self.me.hostname, local=()),
            LoopOptions(),
            clock=self.clock,
            bell=Bell(self.waker),
        )
        for lane in self.lanes.values():
            lane.start()
        self.scheduler.begin()
        self.drive(lambda: all(lane.status().health is Health.HEALTHY for lane in self.lanes.values()), "healthy lanes")

    def clock(self) -> int:
        """Microseconds that no adjustment of the wall clock touches."""
        return time.monotonic_ns() // 1000 + self._offset

    def drive(self, condition: Callable[[], Any], what: str) -> None:
        """Turn the loop as the scheduler's process does, until ``condition``."""
        deadline = time.monotonic() + DEADLINE
        hinted = True
        while not condition():
            assert time.monotonic() < deadline, f"not within {DEADLINE} s: {what}"
            self.scheduler.step(hinted=hinted)
            hinted = self.waker.wait(min(self.scheduler.pause, 0.1))

    def begin_runs(self, dag: DagSpec, count: int = 1) -> list[CreatedRun]:
        self.save(dag, rel_path=f"{dag.dag_id}.py")
        return [self.trigger(dag.dag_id, now=self.clock()) for _ in range(count)]

    def run_to_end(self, runs: list[CreatedRun]) -> None:
        mine = {run.id for run in runs}
        self.drive(lambda: not mine & set(self.scheduler.memory.runs) and self.all_ended(runs), "all runs ended")

    def all_ended(self, runs: list[CreatedRun]) -> bool:
        return all(self.run(run.id).state in {"success", "failed"} for run in runs)

    def close(self) -> None:
        for hang in [hang for executor in self.executors.values() for hang in executor._hangs.values()]:
            hang.released.set()
        for lane in self.lanes.values():
            lane.terminate()
        left = [lane.name for lane in self.lanes.values() if not lane.join(DEADLINE)]
        self.waker.close()
        assert not left

    def _lane(self, name: str) -> Lane:
        def create(wake: Callable[[], None]) -> BaseExecutor:
            context = ExecutorContext(name=name, wake=wake, task_service=self.service)
            self.executors[name] = made = Punctual(self.clock, context=context)
            return made

        return Lane(name, class_name="Punctual", create=create, wake_scheduler=self.waker, call_deadline=0.5)


@pytest.fixture
def live(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setattr(health, "FIRST_PAUSE", 0.05)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    made = Live(database)
    yield made
    made.close()
    sys.setswitchinterval(before)


def load(live: Live, number: int) -> list[float]:
    """Three chains of 30, then ten runs of 5 one after another, on the well executor.

    Returns the milliseconds of each dispatch, ascending.
    """
    launched = live.executors["well"].launched
    launched.clear()
    chain = spec(f"chain{number}", *[task(f"t{n}_", *[f"t{n - 1}_"] * (n > 0)) for n in range(30)])
    wide = spec(f"wide{number}", *[task(f"t{n}_") for n in range(5)])
    live.run_to_end(live.begin_runs(chain, 3))
    for _ in range(10):
        live.run_to_end(live.begin_runs(wide))
    rows = [row for row in live.rows(task_attempt, task_attempt.c.executor == "well") if row.id in launched]
    assert len(rows) == len(launched) == 140
    return sorted((launched[row.id] - row.queued_at) / 1000 for row in rows)


@pytest.mark.timed
@pytest.mark.parametrize("method", ["heartbeat", "sync", "execute_async"])
@pytest.mark.parametrize("how", ["hangs", "raises"])
def test_sick_executor_delays_no_dispatch_of_another(live: Live, method: str, how: str) -> None:
    sick = live.executors["sick"]
    hang = sick.hang(method, 30) if how == "hangs" else None
    if hang is None:
        sick.raises(method, RuntimeError("no broker"))
    flood = [task(f"t{n}_", executor="sick", priority_weight=100, pool="flood") for n in range(50)]
    live.set_pool("flood", -1)
    flooded = live.begin_runs(spec("flood", *flood, max_active_tasks=50))
    live.drive(lambda: hang.entered.is_set() if hang else live.lanes["sick"].status().reason, "it is sick")
    found: list[float] = []
    for number in range(MEASUREMENTS):
        latencies = load(live, number)
        found.append(latencies[int(len(latencies) * 0.99)])
        if found[-1] <= P99_MILLISECONDS:
            break
    print(f"dispatch p99 while {method} {how}: {found} ms, median {latencies[len(latencies) // 2]:.2f} ms")
    assert min(found) <= P99_MILLISECONDS
    live.drive(lambda: shown(live) and shown(live).health == "unavailable", "shown as unavailable")
    reason = shown(live).reason
    if hang is None:
        call = "heartbeat raised RuntimeError: no broker"
        assert reason == call
        return
    assert reason.startswith("heartbeat has not returned for ")
    assert not live.all_ended(flooded), "a hang ends nothing"
    hang.released.set()
    live.run_to_end(flooded)
    assert [live.run(run.id).state for run in flooded] == ["success"], "recovered, and nothing was lost"
    live.drive(lambda: shown(live).health == "healthy", "shown as healthy again")


def shown(live: Live) -> Any:
    rows = live.rows(executor_status, executor_status.c.name == "sick")
    return rows[0] if rows else None
