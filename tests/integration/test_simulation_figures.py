"""The arithmetic of the simulation's figures, its clock, and its lane against what it stands for."""

from __future__ import annotations

import inspect

import pytest

from benchmarks.simulation.clock import BEGINNING, GRID, VirtualClock, chances, on_grid, seeded_ids
from benchmarks.simulation.executors import SimulatedLane
from benchmarks.simulation.figures import Quantiles, jain, union
from benchmarks.simulation.occupancy import Occupancy
from benchmarks.simulation.profiles import make_profiles
from benchmarks.simulation.workload import make_workload
from runtime.core.ids import uuid7
from runtime.scheduler.lanes import Lane

THREADS = {"start", "join", "end", "terminate", "detach", "send_callback"}
"""Of a lane with a thread and a real executor: a simulated one has neither, and the scheduler's loop calls none."""


def test_a_simulated_lane_takes_what_the_scheduler_says_to_a_real_one():
    real = {name: method for name, method in inspect.getmembers(Lane, inspect.isfunction) if not name.startswith("_")}
    for name in real.keys() - THREADS:
        theirs, ours = inspect.signature(real[name]), inspect.signature(getattr(SimulatedLane, name))
        assert list(ours.parameters) == list(theirs.parameters), name


def test_occupancy_integrates_what_was_noted_last_of_each_moment():
    occupancy = Occupancy()
    for at, held, slots in ((10, 0, 4), (20, 4, 4), (20, 3, 4), (30, 4, 4), (40, 4, 0), (50, 0, 4)):
        occupancy.note(at, held, slots)
    used, free = occupancy.integral(min), occupancy.integral(int.__lt__)
    assert [used.between(0, 10), used.between(10, 30), used.between(25, 35), used.between(40, 50)] == [0, 30, 35, 0]
    assert [free.between(5, 25), free.between(25, 35), free.between(30, 50), free.between(50, 60)] == [15, 5, 0, 10]


def test_a_union_counts_no_moment_twice():
    assert union([(5, 7), (1, 3), (2, 4), (4, 4), (6, 6)]) == [(1, 4), (5, 7)]


@pytest.mark.parametrize(("shares", "index"), [([1, 1, 1], 1), ([1, 0, 0, 0], 0.25), ([], 1), ([0.5, 1.0], 0.9)])
def test_jain(shares, index):
    assert jain(shares) == pytest.approx(index)


def test_quantiles_are_values_that_were_measured():
    assert Quantiles.of(range(101)) == Quantiles(50, 95, 99, 100)
    assert Quantiles.of([]) == Quantiles(0, 0, 0, 0)


def test_chances_belong_to_their_key_and_are_even():
    assert chances(1, "a") == chances(1, "a")
    assert len({chances(1, "a"), chances(2, "a"), chances(1, "b")}) == 3
    drawn = [chance for number in range(1_000) for chance in chances(1, number)]
    assert 0 <= min(drawn) < max(drawn) < 1
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.02)


def test_ids_are_those_of_the_seed_and_of_virtual_time():
    def drawn(seed: int) -> list[str]:
        clock = VirtualClock()
        with seeded_ids(seed, clock):
            first = uuid7()
            clock.jump(BEGINNING + GRID)
            return [first, uuid7()]

    assert drawn(1) == sorted(drawn(1))
    assert drawn(1) != drawn(2)
    assert uuid7() != uuid7()


def test_the_clock_jumps_to_the_grid_and_never_back():
    clock = VirtualClock()
    clock.jump(BEGINNING + on_grid(1))
    clock.jump(BEGINNING)
    assert clock.seconds == GRID / 1e6
    assert [on_grid(0), on_grid(1), on_grid(GRID)] == [0, GRID, GRID]


@pytest.mark.parametrize(("tasks", "executors"), [(1, 1), (777, 3), (2_000, 20)])
def test_a_workload_has_exactly_the_tasks_that_were_asked_for(tasks, executors):
    profiles = make_profiles(executors, tasks)
    workload = make_workload(tasks, profiles, seed=5)
    assert workload.tasks == tasks
    assert len({profile.name for profile in profiles}) == executors
    assert {task.executor for spec in workload.specs.values() for task in spec.tasks} <= {
        None,
        *(profile.name for profile in profiles),
    }


def test_another_seed_makes_another_workload():
    profiles = make_profiles(8, 500)
    one, same, other = (make_workload(500, profiles, seed) for seed in (1, 1, 2))
    assert (one.specs, one.arrivals) == (same.specs, same.arrivals)
    assert one.specs != other.specs
    assert one.arrivals != other.arrivals
