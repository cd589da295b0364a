"""Who may decide for a run: leases, epochs, burials, and two schedulers that want the same run."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from executors.testing import ScriptedExecutor
from runtime.core.clock import SECOND
from runtime.core.clock import now as clock_now
from runtime.core.states import RunState
from runtime.db.engine import Database
from runtime.db.runs import set_paused
from runtime.db.schema import dag_run, scheduler
from runtime.db.transitions import GuardRefusedError
from runtime.scheduler import leases
from runtime.scheduler.duties import LoopOptions
from runtime.scheduler.lanes import Lane
from runtime.scheduler.leases import Identity, LeaseLostError
from runtime.scheduler.loading import GraphCache, claim, claimable_runs, drop_stray_inbox_rows, release_forgotten
from runtime.scheduler.loop import Scheduler
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.memory import Memory
from runtime.scheduler.processes import boot_id, start_time
from runtime.scheduler.step import Step
from tests.database.builders import START, World, router, spec, task

GONE = 2**22 + 1
"""No process has this number: it is above the highest possible one."""
HERE = {"hostname": "here", "boot_id": boot_id(), "pid": os.getpid(), "pid_started": start_time(os.getpid())}


def one(name: str, **options: Any) -> Identity:
    """A scheduler of this host that lives."""
    return Identity(id=name, **(HERE | options))


def register(world: World, *identities: Identity, lease: float = 60.0) -> None:
    with world.database.write() as connection:
        for identity in identities:
            leases.register(connection, identity, lease)


def expire(world: World, identity: Identity, ago: float) -> None:
    with world.database.write() as connection:
        values = {"lease_expires_at": clock_now() - round(ago * SECOND)}
        connection.execute(scheduler.update().where(scheduler.c.id == identity.id).values(values))


def bury(world: World, me: Identity) -> list[str]:
    with world.database.write() as connection:
        return leases.bury_dead(connection, me).dead


@pytest.mark.parametrize(
    ("options", "expired_ago", "dead"),
    [
        pytest.param({}, -60, False, id="this host, its process lives"),
        pytest.param({}, 30, False, id="this host, its process lives but is late: a stopped one keeps its children"),
        pytest.param({}, 61, True, id="this host, its process lives but has not come back for a minute"),
        pytest.param({"pid": GONE}, -60, True, id="this host, its process is gone, the lease is not"),
        pytest.param({"pid_started": 1}, -60, True, id="this host, another process has its number"),
        pytest.param({"boot_id": "before", "pid": GONE}, -60, False, id="before the reboot, the lease is not over"),
        pytest.param({"boot_id": "before", "pid": GONE}, 1, True, id="before the reboot, the lease is over"),
        pytest.param({"hostname": "there", "pid": GONE}, -60, False, id="another host, the lease is not over"),
        pytest.param({"hostname": "there"}, 1, True, id="another host, the lease is over"),
    ],
)
def test_who_is_dead(world: World, options: dict[str, Any], expired_ago: float, dead: bool) -> None:
    me, other = one("me"), one("other", **options)
    register(world, me, other)
    expire(world, other, expired_ago)
    assert bury(world, me) == (["other"] if dead else [])
    assert bury(world, me) == [], "once"


def test_nobody_buries_itself(world: World) -> None:
    me = one("me", hostname="there")
    register(world, me)
    expire(world, me, 1)
    assert bury(world, me) == []


def test_burial_takes_the_runs_away_and_the_next_claim_has_a_higher_epoch(world: World) -> None:
    run = world.begin(task("t"))
    world.me, old = one("heir"), world.me
    register(world, world.me)
    with world.database.read() as connection:
        assert claimable_runs(connection, 10) == [], "owned"
    with world.database.write() as connection:
        leases.end(connection, old.id)
    assert world.run(run.id).lease_owner is None
    again = world.claim(run.id)
    assert (again.epoch, world.run(run.id).lease_owner) == (run.epoch + 1, "heir")
    assert again.started_at == run.started_at, "the run began when it began"
    assert {i.id for i in again.instances.values()} == {i.id for i in run.instances.values()}


def test_the_buried_one_notices(world: World) -> None:
    me = one("me")
    register(world, me)
    with world.database.write() as connection:
        leases.hold(connection, me)
        leases.end(connection, me.id)
    lost = pytest.raises(LeaseLostError, match="^scheduler me was declared dead by another one$")
    with lost, world.database.write() as connection:
        leases.hold(connection, me)


def test_one_that_was_never_registered_holds_nothing(world: World) -> None:
    with pytest.raises(LeaseLostError), world.database.write() as connection:
        leases.hold(connection, one("stranger"))


def test_renewal_does_not_raise_the_dead(world: World) -> None:
    me = one("me")
    register(world, me)
    with world.database.write() as connection:
        leases.end(connection, me.id)
        leases.renew(connection, me, 60.0)
    assert world.row(scheduler, scheduler.c.id == "me").ended_at is not None
    with pytest.raises(LeaseLostError), world.database.write() as connection:
        leases.hold(connection, me)


def test_renewal_moves_the_expiry_by_the_databases_clock(world: World) -> None:
    me = one("me")
    register(world, me, lease=1.0)
    before = clock_now()
    with world.database.write() as connection:
        leases.renew(connection, me, 60.0)
        assert leases.bury_dead(connection, one("other")).live == sorted([me.id, world.me.id])
    assert world.row(scheduler, scheduler.c.id == "me").lease_expires_at >= before + 60 * SECOND


def test_a_second_claim_is_refused(world: World) -> None:
    world.save(spec("d"))
    run = world.trigger("d")
    other = one("other")
    register(world, other)
    with world.database.write() as connection:
        (row,) = claimable_runs(connection, 10)
    world.claim(run)
    refused = pytest.raises(GuardRefusedError, match="was claimed by another scheduler")
    with refused, world.database.write() as connection:
        claim(connection, row, other, GraphCache(), START)
    assert world.run(run.id).lease_owner == world.me.id


def test_a_buried_scheduler_changes_nothing(world: World) -> None:
    """Not even what it had decided before: its next step ends before it begins."""
    me = one("me")
    register(world, me)
    world.save(spec("d"))
    run = world.trigger("d")
    scheduler_ = scheduler_of(world, me)
    scheduler_.step(hinted=True)
    assert (world.run(run.id).lease_owner, world.states(run.id)) == ("me", {"only": "scheduled"})
    with world.database.write() as connection:
        leases.end(connection, "me")
    before = (world.run(run.id), world.rows(scheduler), world.states(run.id))
    with pytest.raises(LeaseLostError):
        scheduler_.step(hinted=True)
    assert (world.run(run.id), world.rows(scheduler), world.states(run.id)) == before


def test_the_end_of_a_run_needs_the_epoch(world: World) -> None:
    run = world.begin(task("t"))
    memory = Memory(world.me, router("one"))
    memory.runs[run.id] = run
    with world.database.write() as connection:
        connection.execute(dag_run.update().values(lease_epoch=run.epoch + 1))
    refused = pytest.raises(GuardRefusedError, match="no longer this scheduler's to end")
    with refused, world.database.write() as connection:
        Step(memory, connection, START).end_run(run, RunState.SUCCESS)
    assert world.run(run.id).state == "running"


def test_a_claim_whose_commit_was_never_heard_of_is_let_go(world: World) -> None:
    first, second = world.begin(task("t"), dag_id="a"), world.begin(task("t"), dag_id="b")
    with world.database.write() as connection:
        release_forgotten(connection, world.me, {first.id})
    assert (world.run(first.id).lease_owner, world.run(second.id).lease_owner) == (world.me.id, None)


def test_reports_of_ended_runs_are_forgotten(world: World) -> None:
    runs = [world.begin(task("t"), dag_id=name) for name in ("over", "on")]
    for run in runs:
        attempt = world.queue(next(iter(run.instances.values())))
        world.start(attempt)
        world.finish(attempt)
    with world.database.write() as connection:
        connection.execute(dag_run.update().where(dag_run.c.id == runs[0].id).values(state="failed"))
        drop_stray_inbox_rows(connection)
    assert world.inbox() == [(runs[1].id, "ended")]


# -- which runs, and how many


def scheduler_of(world: World, me: Identity, **options: Any) -> Scheduler:
    """A real scheduler whose only executor has ended: it claims, judges, and has nowhere to dispatch to."""
    ended = Lane(
        "none", class_name="ScriptedExecutor", create=lambda _: ScriptedExecutor(), wake_scheduler=lambda: None
    )
    ended.detach()
    ended._run()
    memory = Memory(me, router("none"))
    policy = LossPolicy(infra_retries=2, hostname=me.hostname, local=())
    return Scheduler(world.database, memory, {"none": ended}, policy, LoopOptions(**options), clock=world.clock)


def claimable(world: World, limit: int = 100) -> list[str]:
    with world.database.read() as connection:
        return [f"{row.dag_id} {row.run_id}" for row in claimable_runs(connection, limit)]


def test_running_runs_come_before_queued_ones_and_older_before_younger(world: World) -> None:
    orphan = world.begin(task("t"), dag_id="a")
    with world.database.write() as connection:
        connection.execute(dag_run.update().where(dag_run.c.id == orphan.id).values(lease_owner=None))
    world.save(spec("b"), rel_path="b.py")
    world.trigger("b", "later", now=START + 1)
    world.trigger("b", "sooner", now=START - 1)
    assert claimable(world) == [f"a {orphan.run_id}", "b sooner", "b later"]


def test_paused_dag_starts_no_run_but_goes_on_with_those_that_run(world: World) -> None:
    run = world.begin(task("t"))
    world.trigger("d", "queued")
    with world.database.write() as connection:
        connection.execute(dag_run.update().where(dag_run.c.id == run.id).values(lease_owner=None))
        set_paused(connection, "d", True)
    assert claimable(world) == [f"d {run.run_id}"]


def test_max_active_runs_counts_what_runs_already(world: World) -> None:
    world.begin(task("t"), max_active_runs=2)
    for name in ("b", "c", "d"):
        world.trigger("d", name)
    assert claimable(world) == ["d b"]


def test_many_queued_runs_of_one_dag_hide_no_other_dag(world: World) -> None:
    """They are older, and more than one look considers; their DAG lets one of them run at a time."""
    world.begin(task("t"), dag_id="full", max_active_runs=1)
    for number in range(30):
        world.trigger("full", f"r{number}", now=START - 1000)
    world.save(spec("other"), rel_path="other.py")
    world.trigger("other", "mine")
    assert claimable(world, limit=20) == ["other mine"]


def test_two_schedulers_never_own_the_same_run(world: World, database: Database) -> None:
    """Each of two loops claims what it can get, at the same time, step by step."""
    world.save(*[spec(f"d{number}", max_active_runs=3) for number in range(5)])
    for number in range(40):
        world.trigger(f"d{number % 5}", f"r{number}")
    identities = [one("first"), one("second")]
    register(world, *identities)
    with database.write() as connection:
        leases.end(connection, world.me.id)  # it would have a share
    schedulers = [scheduler_of(world, me, runs_to_claim=3) for me in identities]
    failures: list[BaseException] = []

    def work(mine: Scheduler) -> None:
        try:
            for _ in range(8):
                mine.step(hinted=True)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in schedulers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    owners = {row.id: row.lease_owner for row in world.rows(dag_run) if row.lease_owner is not None}
    held = [set(mine.memory.runs) for mine in schedulers]
    assert not held[0] & held[1]
    assert owners == dict.fromkeys(held[0], "first") | dict.fromkeys(held[1], "second")
    running = [row.dag_id for row in world.rows(dag_run, dag_run.c.state == "running")]
    assert sorted(running) == sorted([f"d{number}" for number in range(5)] * 3), "max_active_runs, for all together"
