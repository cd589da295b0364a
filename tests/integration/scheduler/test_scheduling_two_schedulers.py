"""Two schedulers on one database: global limits hold for both together, and one takes over what the other leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from runtime.db.runs import CreatedRun
from runtime.db.schema import dag_run, scheduler, task_attempt
from runtime.scheduler import leases
from tests.database.builders import START, spec, task
from tests.integration.scheduler.scheduling import MOST_STEPS, Scheduling

Make = Callable[..., Scheduling]


def both_to_end(pair: list[Scheduling], runs: list[CreatedRun]) -> Counter[str]:
    """Step by turns until the runs have ended; returns how many runs each scheduler has held."""
    held: dict[int, str] = {}
    for number in range(MOST_STEPS):
        if pair[0].finished(*runs):
            return Counter(held.values())
        pair[number % 2].step(2)
        for row in pair[0].rows(dag_run, dag_run.c.lease_owner.is_not(None)):
            assert held.setdefault(row.id, row.lease_owner) == row.lease_owner
        owned = [set(one.memory.runs) for one in pair]
        assert not owned[0] & owned[1]
    raise AssertionError("the runs have not ended")


def test_limits_hold_for_both_together(scheduling: Make) -> None:
    """Pool, ``max_active_runs`` and ``max_active_tasks`` are looked up after every step of either."""
    pair = [scheduling(runs_to_claim=1) for _ in range(2)]
    first = pair[0]
    first.set_pool("small", 3)
    tasks = [task(f"t{n}", pool="small", pool_slots=1 + n % 2) for n in range(4)]
    dag = spec("d", *tasks, task("end", *[one.task_id for one in tasks]), max_active_runs=4, max_active_tasks=3)
    runs = [first.begin_run(dag, f"r{n}", now=START + n) for n in range(12)]
    shares = both_to_end(pair, runs)
    assert [first.run(run.id).state for run in runs] == ["success"] * 12
    assert set(shares) == {one.me.id for one in pair}, "both had a share"
    launched = Counter(key.attempt_id for one in pair for key in one.one.launched)
    assert set(launched.values()) == {1}
    assert set(launched) == {row.id for row in first.rows(task_attempt)}
    for one in pair:
        one.check_nothing_is_left()


def test_the_other_one_takes_over(scheduling: Make) -> None:
    """One dies with attempts that run elsewhere, that were lost, and that waited for a slot."""
    pair = [scheduling(), scheduling()]
    dying, heir = pair
    dying.plan(held="hold", lost="vanish", waits="wait")
    run = dying.begin_run(spec("d", task("held"), task("lost"), task("waits"), task("end", "held", "lost", "waits")))
    dying.rest()
    heir.step(4)
    assert heir.memory.runs == {}, "it has an owner"
    with heir.database.write() as connection:
        leases.end(connection, dying.me.id)
    heir.rest()
    assert set(heir.memory.runs) == {run.id}
    assert dying.one.end_held("held").accepted
    heir.pass_time(80, by=5)
    assert heir.run(run.id).state == "success"
    assert [heir.history(name) for name in ("held", "lost", "end")] == [
        [(1, 1, "success")],
        [(1, 1, "lost"), (1, 2, "success")],
        [(1, 1, "success")],
    ]
    heir.check_nothing_is_left()


def test_one_that_ends_in_order_leaves_its_runs_at_once(scheduling: Make) -> None:
    pair = [scheduling(), scheduling()]
    pair[0].plan(a="hold")
    run = pair[0].begin_run(spec("d", task("a"), task("b", "a")))
    pair[0].rest()
    pair[0].scheduler.finish()
    assert pair[1].row(scheduler, scheduler.c.id == pair[0].me.id).ended_at is not None
    pair[1].rest()
    pair[0].one.end_held("a")
    pair[1].bell()
    assert pair[1].run_to_end(run) == ["success"]
    assert pair[1].run(run.id).lease_epoch == 2
