"""Why a queued attempt does not start, as its backend says: kept while that is so, and no longer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import event, insert

from runtime.core.clock import SECOND
from runtime.db import queries
from runtime.db.schema import pool
from runtime.db.transitions import GuardRefusedError
from runtime.db.waiting import waiting as find_waiting
from runtime.scheduler.loop import CHORES
from tests.database.builders import spec, start, task
from tests.integration.scheduler.scheduling import Scheduling

WHY = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."


@pytest.fixture
def waiting(s: Scheduling) -> Scheduling:
    """``a`` was handed over and has not started."""
    s.plan(a="wait")
    s.begin_run(spec("d", task("a"), task("b", "a")), "r")
    s.rest()
    return s


def say(s: Scheduling, why: str | None) -> None:
    s.one.pending(s.one.launched[0], why)
    s.turn()
    s.step()


def shown(s: Scheduling) -> list[str | None]:
    """What the backend says of the newest attempt of each task, in order of task, while it is queued."""
    with s.database.read() as connection:
        names = [row["task_id"] for row in queries.states_for_run(connection, "d", "r")]
    newest = [next(reversed(s.attempts(name)), None) for name in names]
    return [attempt.reason if attempt and attempt.state == "queued" else None for attempt in newest]


def test_the_reason_is_shown_while_it_waits(waiting: Scheduling) -> None:
    say(waiting, WHY)
    assert shown(waiting) == [WHY, None]
    with waiting.database.read() as connection:
        (attempt,) = queries.dispatches(connection, "d", "r", "a", try_number=None)
    assert (attempt["state"], attempt["reason"]) == ("queued", WHY)


def test_the_newest_reason_counts(waiting: Scheduling) -> None:
    for why in ("first", "second"):
        waiting.one.pending(waiting.one.launched[0], why)
    waiting.turn()
    waiting.step()
    assert shown(waiting)[0] == "second"
    say(waiting, "third")
    assert shown(waiting)[0] == "third"


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_reason_that_is_gone_is_not_shown(waiting: Scheduling, nothing: str | None) -> None:
    say(waiting, WHY)
    say(waiting, nothing)
    assert shown(waiting) == [None, None]
    assert waiting.attempts("a")[0].reason is None


def test_a_start_ends_it(waiting: Scheduling) -> None:
    say(waiting, WHY)
    attempt_id = waiting.one.launched[0].attempt_id
    assert waiting.ask(start(attempt_id))[0].granted
    assert (waiting.attempt(attempt_id).state, waiting.attempt(attempt_id).reason) == ("running", None)
    say(waiting, WHY)
    assert waiting.attempt(attempt_id).reason is None, "what the backend says late is not written"
    assert shown(waiting) == [None, None]


def test_why_it_ended_is_not_overwritten(waiting: Scheduling) -> None:
    """A reason to wait and the end come together, in either order."""
    key = waiting.one.launched[0]
    waiting.plan(a="wait")
    waiting.one.pending(key, WHY)
    waiting.one.lost(key, "its pod was deleted")
    waiting.one.pending(key, WHY)
    waiting.turn()
    waiting.rest()
    first, second = waiting.attempts("a")
    assert (first.state, first.reason) == ("lost", "its pod was deleted")
    assert (second.state, second.reason) == ("queued", None), "another launch, another reason"


def test_what_is_taken_back_for_it_says_why(waiting: Scheduling) -> None:
    say(waiting, WHY)
    waiting.pass_time(600 + CHORES, by=10)
    assert waiting.attempts("a")[0].reason == f"not started within 600 s: {WHY}"


def test_it_costs_no_step_of_its_own_where_nobody_says_so(waiting: Scheduling) -> None:
    statements: list[str] = []
    listen = lambda *args: statements.append(args[2])  # noqa: E731
    event.listen(waiting.database.engine, "before_cursor_execute", listen)
    waiting.step(4)
    event.remove(waiting.database.engine, "before_cursor_execute", listen)
    assert statements
    assert not [text for text in statements if "reason" in text and text.startswith("UPDATE task_attempt")]


def test_many_at_once(scheduling: Callable[..., Scheduling]) -> None:
    """In one statement, and in any order."""
    s = scheduling({"one": 100})
    names = [f"t{number:02}" for number in range(50)]
    s.plan(**dict.fromkeys(names, "wait"))
    s.begin_run(spec("d", *(task(name) for name in names), max_active_tasks=100), "r")
    s.rest()
    for number, key in enumerate(reversed(s.one.launched)):
        s.one.pending(key, f"{key.task_id}: {number}")
    s.turn()
    s.step()
    assert all(why and why.startswith(name) for why, name in zip(shown(s), names, strict=True))


def test_a_reason_from_an_undone_step_is_written_by_the_next(
    waiting: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.one.pending(waiting.one.launched[0], WHY)
    waiting.turn()
    with monkeypatch.context() as patch:
        patch.setattr("runtime.scheduler.loop.record_callbacks", _fail)
        waiting.scheduler.step(hinted=True)
    assert shown(waiting)[0] is None
    waiting.step(2)
    assert shown(waiting)[0] == WHY


def _fail(*_: object) -> None:
    raise GuardRefusedError("somebody was there first")


def test_all_of_it_is_found_in_the_database(scheduling: Callable[..., Scheduling]) -> None:
    """Whatever a task waits for, on a real scheduler: the reason is there while it waits, and gone when it does not."""
    s = scheduling({"one": 1, "two": 4})
    with s.database.write() as connection:
        connection.execute(insert(pool).values(name="small", slots=1, description=""))
    s.plan(runs="hold", pooled="hold")
    tasks = (
        task("runs", priority_weight=9),
        task("full"),
        task("after", "full"),
        task("pooled", executor="two", pool="small", priority_weight=9),
        task("queues", executor="two", pool="small"),
        task("gone", executor="two", pool="gone"),
        task("away", executor="elsewhere"),
    )
    run = s.begin_run(spec("d", *tasks), "r")
    s.pass_time(12, by=2)
    assert reasons(s) == {
        "runs": [],
        "full": ["executor one: full"],
        "after": ["upstream: full (scheduled); trigger rule all_success"],
        "pooled": [],
        "queues": ["pool: 1 of 1 slots of pool 'small' are in use"],
        "gone": ["pool: there is no pool 'gone'"],
        "away": ["executor 'elsewhere' is not configured: unknown executor 'elsewhere'; configured: one, two"],
    }
    s.pause("d")
    assert reasons(s)["full"][0] == "the DAG is paused"
    s.pause("d", False)
    s.one.end_held("runs")
    s.executors["two"].end_held("pooled")
    s.rest()
    assert s.states(run.id)["queues"] == "success"
    assert reasons(s)["full"] == reasons(s)["queues"] == []


def reasons(s: Scheduling) -> dict[str, list[str]]:
    with s.database.read() as connection:
        found = find_waiting(
            connection, "d", "r", router=s.memory.router, doubt=lambda _: None, at=s.at, since=s.at - 60 * SECOND
        )
    return {one.task_id: one.reasons for one in found}
