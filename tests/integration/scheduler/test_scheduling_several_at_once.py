"""Two schedulers in the very same moment: one is stopped inside its transaction, and the other comes along.

Nothing is left to luck: the second goes on until it has ended, or until PostgreSQL says that it waits for a lock.
"""

from __future__ import annotations

import select
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text, update

from runtime.core.states import RunState, TaskState
from runtime.db.schema import dag_run, event, run_inbox, scheduler, task_attempt, task_instance
from runtime.db.transitions import GuardRefusedError
from runtime.scheduler import leases
from runtime.scheduler import loop as looping
from runtime.scheduler.limits import PoolAccess
from runtime.scheduler.loop import CHORES
from runtime.scheduler.step import Step
from tests.database.builders import DAY, HOURLY, START, spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]
DEADLINE = 20.0
_WAITS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@pytest.fixture
def kind() -> str:
    """SQLite has one writer at a time."""
    return "postgresql"


class InThread:
    """One step in a thread of its own."""

    def __init__(self, s: Scheduling) -> None:
        self.s = s
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._step)
        self._reached, self._go = threading.Event(), threading.Event()

    def begin(self) -> InThread:
        self._thread.start()
        return self

    def stopped_after(self, monkeypatch: Any, module: Any, name: str) -> InThread:
        """Begin it; return when it has called this function and its transaction is open."""
        original = getattr(module, name)

        def stopping(*args: Any, **options: Any) -> Any:
            result = original(*args, **options)
            if threading.current_thread() is self._thread:
                self._reached.set()
                assert self._go.wait(DEADLINE)
            return result

        monkeypatch.setattr(module, name, stopping)
        self.begin()
        assert self._reached.wait(DEADLINE)
        return self

    def settle(self) -> InThread:
        """Return when it has ended, or waits for a lock."""
        deadline = time.monotonic() + DEADLINE
        while self._thread.is_alive() and not self.waits:
            assert time.monotonic() < deadline
            select.select([], [], [], 0.005)
        return self

    @property
    def waits(self) -> bool:
        with self.s.database.read() as connection:
            return connection.execute(_WAITS).scalar_one() > 0

    def finish(self) -> InThread:
        self._go.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        return self

    def _step(self) -> None:
        try:
            self.s.scheduler.step(hinted=True)
        except BaseException as error:
            self.error = error


def both(first: InThread, second: Scheduling) -> list[BaseException | None]:
    """Let ``second`` do a step while ``first`` is stopped, then both come to their end; their errors."""
    other = InThread(second).begin().settle()
    first.finish()
    other.finish()
    return [first.error, other.error]


def waiting_for_slots(pair: list[Scheduling], slots: int) -> None:
    """Both hold three tasks that wait for a pool, which has so many slots from now on."""
    pair[0].set_pool("shared", 0)
    for number, one in enumerate(pair):
        one.plan(**{f"t{n}": "wait" for n in range(3)})
        one.begin_run(spec(f"d{number}", *[task(f"t{n}", pool="shared") for n in range(3)]))
        one.step()
    assert [len(one.memory.runs) for one in pair] == [1, 1]
    pair[0].set_pool("shared", slots)
    for one in pair:
        one.forward(CHORES)  # then they look whether limits were raised
        one.memory.pools = PoolAccess(has_others=True)


def test_the_last_slots_of_a_pool_go_to_one_of_two(scheduling: Make, monkeypatch: Any) -> None:
    """Both want three of the four; whoever comes second counts what the first has taken."""
    pair = [scheduling(), scheduling()]
    waiting_for_slots(pair, 4)
    for one in pair:
        one.scheduler.step(hinted=True)  # beside each other they may take nothing of so few
        assert one.scheduler.pause == 0, "but they try again at once, alone"
    first = InThread(pair[0]).stopped_after(monkeypatch, PoolAccess, "read")
    assert both(first, pair[1]) == [None, None]
    for one in pair:
        one.turn()
        one.check()
    launched = Counter(key.dag_id for one in pair for key in one.one.launched)
    assert sorted(launched.values()) == [1, 3]


def test_slots_that_are_plenty_are_taken_by_both_at_once(scheduling: Make, monkeypatch: Any) -> None:
    """Nobody waits until the other has committed."""
    pair = [scheduling(), scheduling()]
    waiting_for_slots(pair, 64)
    first = InThread(pair[0]).stopped_after(monkeypatch, PoolAccess, "read")
    second = InThread(pair[1]).begin().settle()
    assert not second.waits
    assert len(pair[1].rows(task_attempt)) == 3
    second.finish()
    first.finish()
    assert (first.error, second.error) == (None, None)
    assert len(pair[0].rows(task_attempt)) == 6


def test_who_counts_alone_waits_for_those_who_count_beside_each_other(scheduling: Make, monkeypatch: Any) -> None:
    """Else it would not see what they are about to take."""
    pair = [scheduling(), scheduling()]
    waiting_for_slots(pair, 64)
    first = InThread(pair[0]).stopped_after(monkeypatch, PoolAccess, "read")
    pair[1].memory.pools = PoolAccess(has_others=True, _steps_alone=1)
    second = InThread(pair[1]).begin().settle()
    assert second.waits
    first.finish()
    second.finish()
    assert (first.error, second.error) == (None, None)
    assert len(pair[0].rows(task_attempt)) == 6


@pytest.mark.parametrize("used", [28, 29])
def test_parts_do_not_add_up_to_more_than_the_pool(scheduling: Make, monkeypatch: Any, used: int) -> None:
    """Of 32 slots each may take two beside the other, as long as there are two for each. All are used in the end."""
    pair = [scheduling(), scheduling()]
    pair[0].set_pool("wide", 32)
    for number, one in enumerate(pair):
        one.plan(used="wait", **{f"t{n}": "wait" for n in range(3)})
        one.save(spec(f"d{number}", *[task(f"t{n}", pool="wide") for n in range(3)]), rel_path=f"d{number}.py")
    pair[0].begin_run(spec("first", task("used", pool="wide", pool_slots=used)))
    pair[0].step(4)
    assert pair[0].launches() == ["used"]
    for number, one in enumerate(pair):
        one.memory.pools = PoolAccess(has_others=True)
        one.trigger(f"d{number}")
    first = InThread(pair[0]).stopped_after(monkeypatch, PoolAccess, "read")
    assert both(first, pair[1]) == [None, None]
    for one in pair:
        one.turn()
        one.check()
    for one in pair:
        one.step(4)
    assert sum(len(one.one.launched) for one in pair) == 1 + 32 - used


def test_the_last_place_of_a_dag_goes_to_one_of_two(scheduling: Make, monkeypatch: Any) -> None:
    """``max_active_runs`` of 1: while one claims the only run that waits, an older one comes up for the other."""
    pair = [scheduling(), scheduling()]
    for one in pair:
        one.plan(a="wait")
    pair[0].begin_run(spec("d", task("a"), max_active_runs=1), "younger")
    first = InThread(pair[0]).stopped_after(monkeypatch, looping, "claimable_runs")
    pair[0].trigger("d", "older", now=START - 1)
    assert both(first, pair[1]) == [None, None]
    pair[0].check()
    assert {row.run_id: row.state for row in pair[0].rows(dag_run)} == {"younger": "running", "older": "queued"}


def test_each_date_has_one_run(scheduling: Make, monkeypatch: Any) -> None:
    """Both see that runs are due; no date is left out, none has two."""
    pair = [scheduling(runs_to_create=3), scheduling(runs_to_create=3)]
    for one in pair:
        one.plan(only="wait")
    hours = 8
    start = (START - hours * 3600 * 1_000_000) // DAY * DAY
    pair[0].save(spec("d", timetable=HOURLY, start_date=start, catchup=True, max_active_runs=100))
    for turn in range(4):
        mine, other = pair[turn % 2], pair[1 - turn % 2]
        with monkeypatch.context() as patched:
            first = InThread(mine).stopped_after(patched, looping, "create_due_runs")
            assert both(first, other) == [None, None]
        for one in pair:
            one.turn()
    dates = sorted(row.logical_date for row in pair[0].rows(dag_run))
    assert len(dates) >= 6
    assert dates == [start + number * 3600 * 1_000_000 for number in range(len(dates))]


def everything(s: Scheduling) -> Any:
    """All that a scheduler decides on, but for whose the runs are."""
    runs = [(row.id, row.state, row.lease_epoch) for row in s.rows(dag_run)]
    return [runs, *(s.rows(table) for table in (task_instance, task_attempt, run_inbox, event))]


def lose_the_lease(s: Scheduling) -> None:
    """From now on ``s`` is on another host, and has not renewed for long."""
    with s.database.write() as connection:
        gone = {"hostname": "elsewhere", "lease_expires_at": 1}
        connection.execute(update(scheduler).where(scheduler.c.id == s.me.id).values(gone))


def test_one_that_is_buried_while_its_step_waits_for_the_lock_writes_and_launches_nothing(scheduling: Make) -> None:
    """It asked for its row before the burial was committed, and gets it after that."""
    old, heir = pair = [scheduling(), scheduling()]
    for one in pair:
        one.plan(a="success", b="wait")
    run = old.begin_run(spec("d", task("a"), task("b", "a")))
    old.scheduler.step(hinted=True)
    old.turn()
    lose_the_lease(old)
    before = everything(old)
    waiting = InThread(old)
    with heir.database.write() as connection:
        assert leases.bury_dead(connection, heir.me).dead == [old.me.id]
        assert waiting.begin().settle().waits
    waiting.finish()
    assert isinstance(waiting.error, leases.LeaseLostError)
    assert everything(old) == before
    old.turn()
    assert old.launches() == ["a"]
    heir.until(lambda: heir.launches() == ["b"])
    assert heir.run(run.id).lease_epoch == 2


def test_one_whose_transaction_is_open_is_not_buried_before_it_ends(scheduling: Make, monkeypatch: Any) -> None:
    """What it decided is committed first, so its successor reads it; nobody waits for it meanwhile."""
    old, heir = pair = [scheduling(), scheduling()]
    for one in pair:
        one.plan(a="wait")
    run = old.begin_run(spec("d", task("a")))
    lose_the_lease(old)
    writing = InThread(old).stopped_after(monkeypatch, looping, "claimable_runs")
    assert InThread(heir).begin().finish().error is None
    assert old.row(scheduler, scheduler.c.id == old.me.id).ended_at is None
    assert writing.finish().error is None
    lose_the_lease(old)
    heir.forward(5)
    heir.rest()
    assert set(heir.memory.runs) == {run.id}
    assert [row.scheduler_id for row in heir.rows(task_attempt)] == [old.me.id], "it was queued, and is adopted"


def test_the_dead_one_is_buried_once_and_its_attempts_are_adopted_once(scheduling: Make, monkeypatch: Any) -> None:
    """Two heirs in the same moment; afterwards both look again and again."""
    old, *heirs = [scheduling() for _ in range(3)]
    for one in (old, *heirs):
        one.plan(a="hold")
    run = old.begin_run(spec("d", task("a")))
    old.rest()
    with old.database.write() as connection:
        leases.end(connection, old.me.id)
    for heir in heirs:
        heir.one.adopts = True
    first = InThread(heirs[0]).stopped_after(monkeypatch, looping, "claimable_runs")
    assert both(first, heirs[1]) == [None, None]
    for heir in heirs:
        heir.turn()
        heir.rest()
        heir.scheduler.memory.stale.update(heir.memory.runs)
        heir.rest()
    assert [set(heir.memory.runs) for heir in heirs] == [{run.id}, set()]
    asked = [[method for method, _ in heir.one.calls].count("try_adopt_task_instances") for heir in heirs]
    assert asked == [1, 0]
    old.one.end_held("a")
    heirs[0].one.success(old.one.launched[0])
    heirs[0].bell()
    assert heirs[0].run_to_end(run) == ["success"]
    heirs[0].check_nothing_is_left()


def test_the_epoch_refuses_what_an_old_owner_still_decides(scheduling: Make) -> None:
    """A run that was given to another one behind its owner's back is not ended by the old one, who forgets it."""
    old, heir = scheduling(), scheduling()
    old.plan(a="hold")
    run = old.begin_run(spec("d", task("a")))
    old.rest()
    with old.database.write() as connection:
        connection.execute(update(dag_run).where(dag_run.c.id == run.id).values(lease_owner=None))
    heir.one.adopts = True
    heir.rest()
    old.one.end_held("a")
    model = old.memory.runs[run.id]
    (instance,) = model.instances.values()
    model.end(instance, TaskState.SUCCESS)
    with (
        pytest.raises(GuardRefusedError, match="no longer this scheduler's to end"),
        old.database.write() as connection,
    ):
        Step(old.memory, connection, old.at).end_run(model, RunState.SUCCESS)
    old.memory.stale.add(run.id)
    old.rest()
    assert (old.memory.runs, old.run(run.id).state) == ({}, "running")
    heir.bell()
    assert heir.run_to_end(run) == ["success"]


def test_one_that_was_buried_quarantines_nothing(scheduling: Make) -> None:
    s = scheduling()
    run = s.begin_run(spec("d", task("a")), "r")
    with s.database.write() as connection:
        leases.end(connection, s.me.id)
    with pytest.raises(leases.LeaseLostError):
        s.scheduler._quarantine(run.id, ValueError("x"))
    assert s.run(run.id).reason is None
