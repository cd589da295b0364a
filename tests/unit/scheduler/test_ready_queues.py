"""Who goes next: by priority within an executor, and no executor or limit hides another's work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.states import TaskState
from runtime.scheduler.graph import build_graph
from runtime.scheduler.limits import NOT_NOW, UNLIMITED, Limits
from runtime.scheduler.ready import Entry, LimitKey, ReadyQueues
from runtime.scheduler.runs import Instance, RunModel
from tests.database.builders import spec, task

POOL: LimitKey = ("pool", "default_pool")


class Place:
    """Makes instances that wait, and asks who is chosen."""

    def __init__(self) -> None:
        self.queues = ReadyQueues()
        self.runs: dict[int, RunModel] = {}

    def run(self, run_after: int = 0, *, dag_id: str = "d", max_active_tasks: int = 10**6) -> RunModel:
        graph = build_graph("v", "f", "h", spec(dag_id, max_active_tasks=max_active_tasks))
        number = len(self.runs) + 1
        self.runs[number] = run = RunModel(
            identifier=number, run_id=f"r{number}", graph=graph, epoch=1, run_after=run_after, started_at=0
        )
        return run

    def add(self, name: str, executor: str = "one", *, run: RunModel | None = None, **options: Any) -> Instance:
        run = run or self.run()
        node = build_graph("v", "f", "h", spec("d", task(name, **options))).nodes[0]
        instance = Instance(run, node, name, -1, 0)
        instance.state = TaskState.SCHEDULED
        self.queues.add(instance, executor)
        return instance

    def choose(
        self,
        blocked_by: Callable[[Instance], LimitKey | None] = lambda _: None,
        **free: int,
    ) -> list[str]:
        chosen = self.queues.choose(free or {"one": 1000}, blocked_by)
        for entry in chosen:
            entry.instance.state = TaskState.QUEUED
        return [entry.instance.id for entry in chosen]

    def waiting(self) -> list[str]:
        return sorted(instance.id for instance in self.queues.waiting())


@pytest.fixture
def place() -> Place:
    return Place()


def test_highest_priority_then_oldest_run_then_first_come(place: Place) -> None:
    old, young = place.run(1), place.run(2)
    place.add("young", run=young)
    place.add("old", run=old)
    place.add("old too", run=old)
    place.add("heavy", run=young, priority_weight=9)
    assert place.choose() == ["heavy", "old", "old too", "young"]


def test_priority_goes_across_executors_where_a_pool_is_short(place: Place) -> None:
    for name, executor, weight in (("a", "one", 1), ("b", "two", 5), ("c", "one", 3)):
        place.add(name, executor, priority_weight=weight)
    assert place.choose(Limits({"default_pool": 2}).blocked_by, one=9, two=9) == ["b", "c"]
    assert place.waiting() == ["a"]


def test_full_executor_hides_nobody(place: Place) -> None:
    for number in range(100):
        place.add(f"heavy{number}", "full", priority_weight=100)
    place.add("light", "free")
    assert place.choose(full=0, free=1) == ["light"]
    assert place.choose(full=-3, free=1) == []
    assert len(place.waiting()) == 100


def test_no_executor_gets_more_than_its_slots(place: Place) -> None:
    for number in range(5):
        place.add(f"a{number}", "one")
        place.add(f"b{number}", "two")
    assert place.choose(one=2, two=3) == ["a0", "b0", "a1", "b1", "b2"]


def test_executor_that_nobody_offers_slots_of_waits(place: Place) -> None:
    place.add("held", "")
    assert place.choose(one=5) == []
    assert place.waiting() == ["held"]


def test_blocked_one_steps_aside_for_the_others(place: Place) -> None:
    for name in ("a", "b", "c"):
        place.add(name)
    assert place.choose(blocked_by=lambda i: POOL if i.id == "a" else None) == ["b", "c"]
    assert place.choose() == [], "parked until the limit frees"
    place.queues.unpark(POOL, 1)
    assert place.choose() == ["a"]


def test_freed_places_go_to_the_best_of_the_parked(place: Place) -> None:
    for name, weight in (("low", 1), ("high", 9), ("middle", 5)):
        place.add(name, priority_weight=weight)
    assert place.choose(blocked_by=lambda _: POOL) == []
    place.queues.unpark(POOL, 2)
    assert place.choose() == ["high", "middle"]
    place.queues.unpark(POOL, 2)
    assert place.choose() == ["low"]


def test_freed_slot_is_not_reserved_for_one_that_needs_more(place: Place) -> None:
    """A task of four slots, best of all, must not keep one of one slot from the one that is free."""
    place.add("wide", pool_slots=4, priority_weight=9)
    place.add("narrow")
    assert place.choose(blocked_by=lambda _: POOL) == []
    place.queues.unpark(POOL, 1)
    free = Limits({"default_pool": 1}).blocked_by
    assert place.choose(blocked_by=free) == ["narrow"]
    place.queues.unpark(POOL, 4)
    assert place.choose(blocked_by=Limits({"default_pool": 4}).blocked_by) == ["wide"]


def test_freed_place_is_offered_to_every_executor(place: Place) -> None:
    """The best of those that a pool holds may belong to an executor that is full or sick now."""
    for number in range(50):
        place.add(f"sick{number}", "sick", priority_weight=9)
    place.add("well", "well")
    assert place.choose(blocked_by=lambda _: POOL, sick=9, well=9) == []
    place.queues.unpark(POOL, 1)
    assert place.choose(blocked_by=Limits({"default_pool": 1}).blocked_by, sick=0, well=9) == ["well"]


def test_limits_are_parked_apart(place: Place) -> None:
    for name in ("a", "b"):
        place.add(name)
    place.choose(blocked_by=lambda i: ("paused", i.id))
    place.queues.unpark_everything(("paused", "b"))
    assert place.choose() == ["b"]
    place.queues.look_again({})
    assert place.choose() == ["a"]


def test_dead_entries_are_forgotten_wherever_they_stand(place: Place) -> None:
    parked, queued, alive, held = (place.add(name) for name in ("parked", "queued", "alive", "held"))
    place.choose(blocked_by=lambda i: POOL if i is parked else NOT_NOW)
    place.queues.unpark_everything(NOT_NOW)
    parked.state = queued.state = held.state = TaskState.SKIPPED
    place.queues.unpark(POOL, 1)
    assert place.waiting() == ["alive"]
    assert place.choose() == ["alive"]
    assert alive.state is TaskState.QUEUED
    assert not place.queues


def test_dead_entries_of_an_executor_without_slots_do_not_pile_up(place: Place) -> None:
    for number in range(10):
        place.add(f"dead{number}", "gone").state = TaskState.REMOVED
    assert place.queues
    place.queues.look_again({})
    assert not place.queues


@pytest.mark.parametrize("slots", [1, 2])
def test_freed_place_costs_the_same_however_many_wait_for_one(place: Place, slots: int) -> None:
    """Also where each of them needs more than was freed: one may find a second place there, the others cannot."""
    for number in range(500):
        place.add(f"t{number}", pool_slots=slots)
    asked: list[str] = []

    def blocked_by(instance: Instance) -> LimitKey:
        asked.append(instance.id)
        return POOL

    place.choose(blocked_by)
    assert len(asked) == 500
    place.queues.unpark(POOL, 1)
    place.choose(blocked_by)
    assert asked[500:] == ["t0"]


def test_freed_places_are_enough_for_as_many_as_fit(place: Place) -> None:
    """One slot was free before, too few for each of them; with the three that are freed, two fit."""
    for number in range(5):
        place.add(f"t{number}", pool_slots=2)
    assert place.choose(Limits({"default_pool": 1}).blocked_by) == []
    place.queues.unpark(POOL, 3)
    assert place.choose(Limits({"default_pool": 4}).blocked_by) == ["t0", "t1"]


def test_look_around_lets_as_many_try_as_a_pool_has_room_for(place: Place) -> None:
    """Thousands that wait for a pool must not all be asked again in one step, which others wait for."""
    for number in range(500):
        place.add(f"t{number}")
    asked: list[str] = []

    def blocked_by(instance: Instance) -> LimitKey:
        asked.append(instance.id)
        return POOL

    place.choose(blocked_by)
    place.queues.look_again({"default_pool": 0})
    place.choose(blocked_by)
    assert asked[500:] == ["t0"]
    place.queues.look_again({"default_pool": 300})
    assert len(place.choose()) == 300
    place.queues.look_again({"default_pool": UNLIMITED})
    assert len(place.choose()) == 200


def test_put_back_keeps_its_place(place: Place) -> None:
    for name in ("a", "b"):
        place.add(name)
    (entry,) = place.queues.choose({"one": 1}, lambda _: None)
    place.queues.put_back(entry)
    assert place.choose() == ["a", "b"]


def test_entry_sorts_without_looking_at_the_instance(place: Place) -> None:
    instance = place.add("a")
    assert Entry(-1, 0, 1, instance) < Entry(-1, 0, 2, instance)


# -- limits


def test_limit_of_active_tasks_is_the_runs_own(place: Place) -> None:
    small, other = place.run(max_active_tasks=2), place.run(max_active_tasks=2)
    for number in range(3):
        place.add(f"small{number}", run=small)
        place.add(f"other{number}", run=other)
    small.active = 1
    limits = Limits({"default_pool": UNLIMITED})
    assert Counter(name[:5] for name in place.choose(blocked_by=limits.blocked_by)) == {"small": 1, "other": 2}
    place.queues.unpark(("run", str(small.id)), 1)
    small.active = 1
    assert place.choose(blocked_by=Limits({"default_pool": UNLIMITED}).blocked_by) == ["small1"]


def test_pool_is_used_up_by_slots(place: Place) -> None:
    place.add("wide", pool="p", pool_slots=3)
    place.add("narrow", pool="p")
    place.add("elsewhere")
    assert place.choose(blocked_by=Limits({"p": 3, "default_pool": 1}).blocked_by) == ["wide", "elsewhere"]


def test_pool_that_does_not_exist_has_no_slots(place: Place) -> None:
    assert Limits({}).blocked_by(place.add("a", pool="ghost")) == ("pool", "ghost")


def test_paused_dag_starts_nothing_and_uses_nothing(place: Place) -> None:
    limits = Limits({"default_pool": 1}, paused={"sleeping"})
    assert limits.blocked_by(place.add("a", run=place.run(dag_id="sleeping"))) == ("paused", "sleeping")
    assert limits.blocked_by(place.add("b", run=place.run(dag_id="awake"))) is None


def test_one_run_only(place: Place) -> None:
    mine = place.run()
    limits = Limits({"default_pool": 9}, only=mine)
    assert limits.blocked_by(place.add("a")) == NOT_NOW
    assert limits.blocked_by(place.add("b", run=mine)) is None


# -- any work load

executors = st.sampled_from(["one", "two", "three"])
work = st.lists(st.tuples(executors, st.integers(0, 3), st.integers(1, 3), st.sampled_from(["p", "q"])), max_size=25)


@given(work, st.dictionaries(executors, st.integers(-1, 6)), st.integers(0, 9), st.integers(0, 9))
def test_nobody_is_passed_over_without_a_reason(work, free, p_slots, q_slots) -> None:
    """Whoever was not chosen had no slot, no place in its pool, or somebody at least as good before it."""
    place = Place()
    made = [
        place.add(f"i{n}", name, priority_weight=weight, pool=pool, pool_slots=slots)
        for n, (name, weight, slots, pool) in enumerate(work)
    ]
    left = {"p": p_slots, "q": q_slots}
    names = place.choose(Limits(dict(left)).blocked_by, **(free or {"one": 0}))
    chosen = [instance for instance in made if instance.id in names]
    assert sorted(names + place.waiting()) == sorted(instance.id for instance in made), "nobody vanishes"
    by_executor = Counter(instance.executor for instance in chosen)
    for instance in chosen:
        left[instance.node.spec.pool] -= instance.node.spec.pool_slots
    assert all(count <= free[name] for name, count in by_executor.items())
    assert min(left.values()) >= 0
    for instance in set(made) - set(chosen):
        spec = instance.node.spec
        has_slot = free.get(instance.executor, 0) > by_executor[instance.executor]
        assert not (has_slot and left[spec.pool] >= spec.pool_slots)


@given(work, st.integers(1, 4), st.integers(3, 5))
def test_everybody_gets_a_turn(work, slots: int, pool_slots: int) -> None:
    """However tight the limits: as long as what runs ends, all that waits runs, with no help from outside."""
    place = Place()
    running = [
        place.add(f"i{n}", name, priority_weight=weight, pool=pool, pool_slots=slots)
        for n, (name, weight, slots, pool) in enumerate(work)
    ]
    by_id = {instance.id: instance for instance in running}
    free = dict.fromkeys(("one", "two", "three"), slots)
    done: list[str] = []
    while len(done) < len(by_id):
        pools = {"p": pool_slots, "q": pool_slots}
        names = place.choose(Limits(pools).blocked_by, **free)
        assert names, f"stuck: {place.waiting()}"
        done += names
        for name in names:
            used = by_id[name].node.spec
            place.queues.unpark(("pool", used.pool), used.pool_slots)
