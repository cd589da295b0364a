"""A flood of urgent tasks on one executor does not delay another's by a single step, as long as that has free slots."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.simulation.clock import BEGINNING
from benchmarks.simulation.driver import STEP, Simulation
from benchmarks.simulation.history import read_history
from benchmarks.simulation.profiles import Profile
from benchmarks.simulation.workload import Arrival, Workload
from runtime.core.specs import DagSpec, TaskSpec

FLOOD, CALM = 5_000, 50
UNLIMITED = Profile("unlimited", 0)
ROOMY = Profile("roomy", 2 * CALM)


def fan(dag_id: str, executor: str, tasks: int, priority: int) -> DagSpec:
    made = (
        TaskSpec(f"t{n}", "@task", executor=executor, executor_source="task", priority_weight=priority, retries=9)
        for n in range(tasks)
    )
    return DagSpec(dag_id, tuple(made), max_active_tasks=tasks)


@pytest.mark.parametrize("after", [0, 3], ids=["at once", "in the middle of the flood"])
def test_tasks_for_free_slots_are_dispatched_in_the_step_that_finds_them(tmp_path: Path, after: int):
    workload = Workload(seed=1, span=1.0)
    workload.specs["flood"] = fan("flood", "unlimited", FLOOD, priority=10)
    workload.specs["calm"] = fan("calm", "roomy", CALM, priority=1)
    arrived = BEGINNING + after * STEP
    workload.arrivals += [Arrival(BEGINNING, "flood", "run"), Arrival(arrived, "calm", "run")]
    simulation = Simulation(tmp_path, workload, [UNLIMITED, ROOMY], acts=[])
    with simulation.open() as database:
        while simulation.clock.at <= arrived:
            assert len(simulation.lanes["unlimited"].handed) < FLOOD, "the flood is over too soon to show anything"
            simulation.turn()
        calm = simulation.lanes["roomy"].handed
        assert len(calm) == CALM
        history = read_history(database)
        assert [history.ready_at[attempt] for attempt in calm] == [arrived] * CALM
