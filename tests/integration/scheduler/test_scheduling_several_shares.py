"""Who claims how many runs: schedulers share what waits, what rests moves to one that joins, and nobody waits long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from runtime.core.clock import SECOND
from runtime.db.runs import CreatedRun
from runtime.db.schema import dag_run
from runtime.scheduler.sharing import AMNESTY, PATIENCE, Shares, fair_room
from tests.database.builders import START, spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]


@pytest.fixture
def kind() -> str:
    """Nothing here depends on the database, and several schedulers are PostgreSQL's."""
    return "postgresql"


def owners(s: Scheduling) -> Counter[str]:
    return Counter(row.lease_owner for row in s.rows(dag_run, dag_run.c.lease_owner.is_not(None)))


def begin_runs(s: Scheduling, count: int) -> list[CreatedRun]:
    """Runs of ``a`` and then ``b``, the oldest first."""
    dag = spec("d", task("a"), task("b", "a"), max_active_runs=count)
    return [s.begin_run(dag, f"r{number}", now=START + number) for number in range(count)]


def look(*several: Scheduling) -> None:
    """Each looks at the database once, in turn."""
    for one in several:
        one.scheduler.step(hinted=True)
        one.check()
        one.turn()


@pytest.mark.parametrize(
    ("mine", "others", "waiting", "room"),
    [
        pytest.param(0, [], 7, 7, id="alone, all of it"),
        pytest.param(0, [0], 7, 4, id="the odd one is for whoever comes first"),
        pytest.param(4, [0], 3, 0, id="the rest is the other one's"),
        pytest.param(9, [0], 3, -3, id="half of what it holds too many"),
        pytest.param(0, [9], 3, 3, id="not more than there is"),
        pytest.param(2, [1], 0, 0, id="one more is no surplus"),
        pytest.param(5, [3, 1], 0, -2, id="among three"),
    ],
)
def test_fair_room(mine: int, others: list[int], waiting: int, room: int) -> None:
    assert fair_room(mine, others, waiting) == room


def test_one_that_leaves_runs_lying_has_no_share_until_it_claims_again() -> None:
    shares, at, later = Shares(), START, START + round(PATIENCE * SECOND)
    shares.meet(["other"])
    assert shares.judge(4, {"other": 4}, 4, at) == 2
    assert shares.judge(6, {"other": 4}, 2, later - 1) == 0, "it is given its time"
    assert shares.judge(6, {"other": 4}, 2, later) == 2
    assert (shares.judge(8, {"other": 4}, 0, later), shares.surplus) == (0, 0), "it would not take them"
    assert shares.judge(8, {"other": 4}, 1, later) == 1, "nor is it waited for again"
    assert shares.judge(8, {"other": 5}, 3, later) == 0, "it has claimed one"
    shares.judge(9, {"other": 5}, 0, later)
    assert shares.surplus == 2


def test_two_that_start_together_share_what_waits(scheduling: Make) -> None:
    """However often the first looks before the second does."""
    pair = [scheduling(), scheduling()]
    pair[0].plans.default_factory = lambda: pair[0].plans["a"]
    for one in pair:
        one.plan(a="wait")
    begin_runs(pair[0], 30)
    pair[0].pass_time(5, by=5)  # it has met the other one
    held = owners(pair[0])
    assert held == {pair[0].me.id: 15}
    look(pair[1])
    assert owners(pair[0]) == {one.me.id: 15 for one in pair}


def test_runs_that_rest_move_to_one_that_joins(scheduling: Make) -> None:
    """What runs stays where it runs; each run goes on where it has come to, and no task runs twice."""
    first = scheduling({"one": 2})
    first.plan(a="wait", b="success")
    runs = begin_runs(first, 10)
    first.rest()
    busy = first.one.launched.copy()
    assert (len(busy), owners(first)) == (2, {first.me.id: 10})
    joined = scheduling({"one": 2})
    joined.plan(a="wait")
    for _ in range(6):
        first.forward(1)
        joined.at = first.at
        look(first, joined)
    assert owners(first) == {one.me.id: 5 for one in (first, joined)}
    rows = {row.run_id: row for row in first.rows(dag_run)}
    assert {rows[key.run_id].lease_owner for key in busy} == {first.me.id}
    assert Counter(row.lease_epoch for row in rows.values()) == {1: 5, 2: 5}
    for one in (first, joined):
        one.plan(a="success")
        for key in one.one.launched.copy():
            one.one._run(key, "success")
            one.one.success(key)
    for _ in range(10):
        look(first, joined)
    assert first.finished(*runs)
    launched = Counter((key.run_id, key.task_id) for one in (first, joined) for key in one.one.launched)
    assert set(launched.values()) == {1}
    assert len(launched) == 20
    for one in (first, joined):
        one.check_nothing_is_left()


def test_one_that_is_about_to_end_leaves_at_once_what_rests(scheduling: Make) -> None:
    """The grace for what runs may be long; nothing else waits for it."""
    ending = scheduling({"one": 1})
    ending.plan(a="hold")
    begin_runs(ending, 4)
    ending.step(2)
    assert owners(ending) == {ending.me.id: 4}
    other = scheduling({"one": 4})
    ending.scheduler.dispatching = False
    ending.forward(3)
    look(ending)
    assert owners(ending) == {ending.me.id: 1}
    look(other)
    other.forward(PATIENCE)
    look(other)
    assert owners(other) == {ending.me.id: 1, other.me.id: 3}


def test_alone_it_keeps_everything(scheduling: Make) -> None:
    s = scheduling({"one": 1})
    s.plan(a="hold")
    begin_runs(s, 6)
    s.pass_time(10)
    s.scheduler.dispatching = False
    s.pass_time(10)
    assert owners(s) == {s.me.id: 6}


@contextmanager
def answer_lost(s: Scheduling) -> Iterator[None]:
    """The next write transaction is committed, and its scheduler hears that the database is away."""
    write = s.database.write

    @contextmanager
    def deaf() -> Iterator[Any]:
        with write() as connection:
            yield connection
        raise OperationalError("COMMIT", None, Exception("the connection is lost"))

    s.scheduler.database = type("Deaf", (), {"write": staticmethod(deaf), "read": staticmethod(s.database.read)})()
    try:
        yield
    finally:
        s.scheduler.database = s.database


def test_runs_that_were_let_go_unheard_are_not_decided_by_two(scheduling: Make) -> None:
    """The commit that let go of them was done, and its answer lost: the old owner must not go on with them."""
    first = scheduling({"one": 1})
    first.plan(a="hold, success")
    runs = begin_runs(first, 4)
    first.rest()
    joined = scheduling({"one": 4})
    first.forward(3)
    joined.at = first.at
    with answer_lost(first), pytest.raises(OperationalError):
        first.scheduler.step(hinted=True)
    look(joined)
    first.one.end_held("a")
    for _ in range(10):
        look(first, joined)
        assert not set(first.memory.runs) & set(joined.memory.runs)
    assert joined.one.launched, "it has got some"
    assert first.finished(*runs)
    for one in (first, joined):
        one.check_nothing_is_left()


def test_a_run_whose_end_was_committed_unheard_is_forgotten(s: Scheduling) -> None:
    """Else it would be ended again, and refused, for ever, and with it everything else that the step does."""
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    s.one.end_held("a")
    with answer_lost(s), pytest.raises(OperationalError):
        s.scheduler.step(hinted=True)
    assert s.finished(run)
    other = s.begin_run(spec("e", task("x")))
    assert s.run_to_end(other) == ["success"]
    s.check_nothing_is_left()


def test_what_one_gives_back_to_a_pool_the_other_uses_at_its_next_look(scheduling: Make) -> None:
    """Nobody tells it; it must not wait for its chores, which are ten seconds apart."""
    pair = [scheduling(), scheduling()]
    pair[0].set_pool("small", 1)
    for one in pair:
        one.plan(a="hold")
        one.scheduler.step(hinted=True)
    runs = [pair[0].begin_run(spec(name, task("a", pool="small")), "r") for name in ("x", "y")]
    look(*pair, *pair, *pair)
    assert len({row.lease_owner for row in pair[0].rows(dag_run)}) == len(runs), "each has one of the runs"
    (holder,) = [one for one in pair if one.one.held]
    (waiting,) = [one for one in pair if one is not holder]
    holder.one.end_held("a")
    look(holder, holder)
    waiting.at = holder.at = holder.at + 2 * SECOND
    look(waiting, waiting)
    assert list(waiting.one.held) == ["a"]


def test_one_that_had_no_share_is_offered_one_again() -> None:
    """Where nothing waits it cannot show that it is well again."""
    shares = Shares()
    shares.meet(["b"])
    for second in range(4):
        shares.judge(100, {"b": 0}, 10, second * SECOND)
    shares.judge(110, {"b": 0}, 0, 5 * SECOND)
    assert shares.surplus == 0
    shares.judge(110, {"b": 0}, 0, round(AMNESTY * SECOND))
    assert shares.surplus == 55
