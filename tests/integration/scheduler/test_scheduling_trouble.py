"""Lost attempts, silent workers, clears in the middle, rows changed behind the back, runs that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from executors.events import Lost, Succeeded
from runtime.core import messages as m
from runtime.core.clock import SECOND
from runtime.core.specs import encode
from runtime.db.schema import dag_run, dag_version, scheduler, task_attempt, task_instance
from runtime.scheduler import leases
from runtime.scheduler.health import Health
from runtime.scheduler.leases import LeaseLostError
from runtime.scheduler.loop import CHORES
from runtime.scheduler.losses import FREE_DISPATCHES, MOST_DISPATCHES
from runtime.scheduler.runs import RunModel
from tests.database.builders import START, spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]


def write(s: Scheduling, statement: Any) -> None:
    with s.database.write() as connection:
        connection.execute(statement)


# -- lost before the start


def test_lost_before_the_start_is_dispatched_again_without_charge(s: Scheduling) -> None:
    s.plan(a="lost, lost, success")
    run = s.begin_run(spec("d", task("a")))
    assert s.run_to_end(run) == ["success"]
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "lost"), (1, 3, "success")]
    assert (s.ti("a").infra_losses, s.at) == (0, START)
    s.check_nothing_is_left()


def test_launches_that_never_work_slow_down_and_end(s: Scheduling) -> None:
    s.plan(a="lost")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    assert len(s.attempts("a")) == FREE_DISPATCHES
    s.pass_time(MOST_DISPATCHES * 30, by=10)
    assert s.run(run.id).state == "failed"
    assert len(s.attempts("a")) == MOST_DISPATCHES
    assert s.ti("a").reason == f"not started after {MOST_DISPATCHES} dispatches: as planned"
    s.check_nothing_is_left()


def test_launch_that_dies_before_its_start_costs_no_try(s: Scheduling) -> None:
    """Its process was killed before it asked, say: that is the infrastructure's affair."""
    s.plan(a="died, died, success")
    run = s.begin_run(spec("d", task("a")))
    assert s.run_to_end(run) == ["success"]
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "lost"), (1, 3, "success")]
    assert s.ti("a").infra_losses == 0


def test_refused_launch_fails_its_try(s: Scheduling) -> None:
    """The executor said that this one cannot be launched: its configuration is bad, and stays so."""
    s.plan(a="refused, success")
    run = s.begin_run(spec("d", task("a", retries=1, retry_delay=5.0)))
    s.rest()
    assert (s.ti("a").state, s.ti("a").reason) == ("up_for_retry", "as planned")
    s.pass_time(5)
    assert (s.run(run.id).state, s.history("a")) == ("success", [(1, 1, "failed"), (2, 1, "success")])


# -- lost after the start


def test_remote_attempt_is_lost_only_once_its_heartbeats_have_stopped(s: Scheduling) -> None:
    """The backend's word is no proof: its supervisor may still run it."""
    s.plan(a="vanish, success")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    s.pass_time(59)
    assert s.history("a") == [(1, 1, "running")]
    s.pass_time(1 + CHORES)
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert (s.run(run.id).state, s.ti("a").infra_losses) == ("success", 1)
    assert s.attempts("a")[0].reason == "no heartbeat for 60 s"
    assert not s.one.beat("a").go_on
    s.check_nothing_is_left()


def test_silence_means_nothing_until_the_api_has_been_back_for_a_full_timeout(s: Scheduling) -> None:
    """While it is down nobody can send a heartbeat."""
    s.plan(a="vanish, success")
    s.begin_run(spec("d", task("a")))
    s.rest()
    s.pass_time(20)
    s.api_is_up = False
    s.pass_time(120, by=2)
    assert s.history("a") == [(1, 1, "running")]
    s.api_is_up = True
    s.pass_time(59)
    assert s.history("a") == [(1, 1, "running")]
    s.pass_time(5)
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]


def test_local_attempts_do_not_speak_through_the_api(scheduling: Make) -> None:
    s = scheduling({"one": 16, "local": 4}, local=("local",))
    s.api_is_up = False
    s.plan(a="vanish, success", b="vanish")
    s.begin_run(spec("d", task("a", executor="local"), task("b", executor="one")))
    s.rest()
    s.pass_time(65)
    assert s.history("b") == [(1, 1, "running")]
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]


def test_attempt_that_goes_on_beating_is_never_lost(s: Scheduling) -> None:
    s.plan(a="vanish")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    for _ in range(20):
        s.pass_time(20, by=5)
        assert s.one.beat("a").go_on
    assert s.one.end_held("a").accepted
    s.rest()
    assert (s.run(run.id).state, s.history("a")) == ("success", [(1, 1, "success")])
    s.check_nothing_is_left()


def test_local_attempt_is_lost_as_soon_as_nothing_of_it_runs(scheduling: Make) -> None:
    s = scheduling({"one": 4}, local=["one"])
    s.plan(a="vanish, success")
    run = s.begin_run(spec("d", task("a")))
    assert s.run_to_end(run) == ["success"]
    assert (s.history("a"), s.at) == ([(1, 1, "lost"), (1, 2, "success")], START)
    s.check_nothing_is_left()


def test_infra_retries_come_before_the_users_retries(scheduling: Make) -> None:
    s = scheduling({"one": 4}, local=["one"], infra_retries=2)
    s.plan(a="vanish")
    run = s.begin_run(spec("d", task("a", retries=1, retry_delay=5.0)))
    s.rest()
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "lost"), (1, 3, "lost")]
    assert (s.ti("a").state, s.ti("a").infra_losses) == ("up_for_retry", 2)
    s.pass_time(5)
    assert (s.run(run.id).state, s.history("a")[3:]) == ("failed", [(2, 1, "lost")])
    s.check_nothing_is_left()


def test_without_infra_retries_a_loss_is_a_failure(scheduling: Make) -> None:
    s = scheduling({"one": 4}, local=["one"], infra_retries=0)
    s.plan(a="vanish")
    assert s.run_to_end(s.begin_run(spec("d", task("a")))) == ["failed"]
    assert s.history("a") == [(1, 1, "lost")]


@pytest.mark.parametrize("slots", [0, 5], ids=["waits for a slot", "finds a slot at once"])
def test_losses_are_remembered_over_the_users_retry(scheduling: Make, slots: int) -> None:
    s = scheduling({"one": 4}, local=["one"], infra_retries=2)
    s.plan(a="vanish, vanish, vanish, success")
    s.begin_run(spec("d", task("a", retries=1, retry_delay=5.0, pool="p")), now=START)
    s.set_pool("p", 1)
    s.rest()
    assert s.ti("a").infra_losses == 2
    s.set_pool("p", slots)
    s.pass_time(5)
    assert s.ti("a").infra_losses == 2
    assert s.ti("a").state == ("success" if slots else "scheduled")


def test_stopped_process_is_no_silence_of_the_workers(s: Scheduling) -> None:
    """A scheduler that slept for an hour (a closed lid) has read nothing: nobody is called silent at once."""
    s.plan(a="hold")
    s.begin_run(spec("d", task("a")))
    s.rest()
    s.forward(3600)
    s.rest()
    assert s.history("a") == [(1, 1, "running")]
    s.pass_time(30)
    assert s.one.beat("a").go_on
    s.pass_time(45)
    assert s.history("a") == [(1, 1, "running")]


def test_never_started_within_the_queued_timeout_is_dispatched_again(scheduling: Make) -> None:
    s = scheduling({"one": 4}, queued_timeout=120.0)
    s.plan(a="wait, success")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    s.pass_time(119, by=7)
    assert s.history("a") == [(1, 1, "queued")]
    s.pass_time(1 + CHORES)
    assert s.run(run.id).state == "success"
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.attempts("a")[0].reason == "not started within 120 s"
    first = s.one.launched[0]
    assert ("revoke_task", first) in s.one.calls
    (reply,) = s.ask(m.Start(first.attempt_id, "late", "worker", 1, 1, "boot"))
    assert not reply.granted
    s.check_nothing_is_left()


# -- clear


def test_cleared_running_task_runs_again_after_it_was_stopped(scheduling: Make) -> None:
    s = scheduling({"one": 4}, local=["one"])
    s.plan(a="hold, success")
    run = s.begin_run(spec("d", task("a"), task("b", "a")))
    s.rest()
    s.clear("d", task_regex="^a$")
    s.rest()
    assert s.states(run.id) == {"a": "restarting", "b": "none"}
    assert s.launches() == ["a"], "two attempts of one instance never overlap"
    assert not s.one.beat("a").go_on, "the supervisor stops it now"
    s.one.end_held("a", "failed")
    assert s.run_to_end(run) == ["success"]
    assert s.history("a") == [(1, 1, "failed"), (2, 1, "success")]
    s.check_nothing_is_left()


def test_cleared_running_task_whose_worker_is_gone(scheduling: Make) -> None:
    s = scheduling({"one": 4}, local=["one"])
    s.plan(a="hold, success")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    s.clear("d")
    s.one.lost(s.one.held.pop("a"), "killed")
    s.turn()
    assert s.run_to_end(run) == ["success"]
    assert s.history("a") == [(1, 1, "lost"), (2, 1, "success")]
    s.check_nothing_is_left()


def test_cleared_running_task_that_falls_silent(s: Scheduling) -> None:
    s.plan(a="hold, success")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    s.clear("d")
    s.rest()
    s.pass_time(60 + CHORES)
    assert (s.run(run.id).state, s.history("a")) == ("success", [(1, 1, "lost"), (2, 1, "success")])


def test_cleared_queued_task_is_dispatched_anew(s: Scheduling) -> None:
    s.plan(a="wait, success")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    s.clear("d")
    assert s.run_to_end(run) == ["success"]
    assert [state for *_, state in s.history("a")] == ["lost", "success"]


def test_cleared_while_its_consequences_were_not_applied(s: Scheduling) -> None:
    """The report and the clear reach the scheduler in one step."""
    s.plan(a="hold, success")
    run = s.begin_run(spec("d", task("a"), task("b", "a")))
    s.rest()
    s.one.end_held("a")
    s.clear("d", task_regex="^a$")
    assert s.run_to_end(run) == ["success"]
    assert s.launches() == ["a", "a", "b"]
    s.check_nothing_is_left()


def test_clear_of_an_ended_run_runs_it_again(s: Scheduling) -> None:
    s.plan(b="failed, success")
    run = s.begin_run(spec("d", task("a"), task("b", "a"), task("c", "b")))
    assert s.run_to_end(run) == ["failed"]
    s.clear("d", only_failed=True)
    assert s.run_to_end(run) == ["success"]
    assert (s.launches(), s.run(run.id).lease_epoch) == (["a", "b", "b", "c"], 2)
    s.check_nothing_is_left()


def test_clear_of_one_task_among_finished_ones_in_a_running_run(s: Scheduling) -> None:
    s.plan(z="hold")
    run = s.begin_run(spec("d", task("a"), task("b", "a"), task("z")))
    s.rest()
    s.clear("d", task_regex="^a$")
    s.rest()
    assert s.states(run.id) == {"a": "success", "b": "success", "z": "running"}
    assert s.launches() == ["a", "z", "b", "a"]


# -- behind the back


def test_row_changed_behind_its_back_is_read_again_and_the_run_goes_on(s: Scheduling) -> None:
    s.plan(a="hold")
    dag = spec("d", task("a"), task("b", "a"))
    run, other = s.begin_run(dag, "one"), s.begin_run(dag, "two", now=START + 1)
    s.rest()
    write(s, task_instance.update().where(task_instance.c.id == s.ti("b", run.id).id).values(state="skipped"))
    s.one.held["a"] = next(k for k in s.one.launched if k.run_id == "one")
    s.one.end_held("a")
    s.rest()
    assert s.run(run.id).state == "success"
    assert s.states(run.id) == {"a": "success", "b": "skipped"}
    s.one.held["a"] = next(k for k in s.one.launched if k.run_id == "two")
    s.one.end_held("a")
    assert s.run_to_end(other) == ["success"]
    s.check_nothing_is_left()


def test_guard_refused_takes_the_executors_event_along(s: Scheduling) -> None:
    """The step that was to apply it is undone: it must be applied by the next one."""
    s.plan(a="hold", b="wait")
    run = s.begin_run(spec("d", task("a"), task("b"), task("c", "a")))
    s.rest()
    write(s, task_instance.update().where(task_instance.c.id == s.ti("c").id).values(state="skipped"))
    s.one.end_held("a")
    key = next(k for k in s.one.launched if k.task_id == "b")
    s.one.lost(key, "gone")
    s.plan(b="success")
    assert s.run_to_end(run) == ["success"]
    assert s.history("b") == [(1, 1, "lost"), (1, 2, "success")]
    s.check_nothing_is_left()


def test_late_events_of_old_attempts_change_nothing(s: Scheduling) -> None:
    s.plan(a="lost, hold")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    old = s.one.launched[0]
    for late in (Succeeded(old), Lost(old)):
        s.lanes["one"]._mail.deliver([late])
        s.rest()
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "running")]
    s.one.end_held("a")
    assert s.run_to_end(run) == ["success"]


# -- a run that fails


def breaking(method: Callable[..., Any], run_id: str) -> Callable[..., Any]:
    """A bug that shows in one run only."""

    def breaks(run: RunModel, *args: Any) -> Any:
        if run.run_id == run_id:
            raise RuntimeError("a bug")
        return method(run, *args)

    return breaks


def test_run_that_fails_is_quarantined_and_leaves_the_others_going(s: Scheduling, monkeypatch: Any) -> None:
    s.plan(a="hold, success")
    dag = spec("d", task("a"), task("b", "a"))
    bad = s.begin_run(dag, "bad")
    s.rest()
    good = s.begin_run(dag, "good", now=START + 1)
    for name in ("end", "settle"):
        monkeypatch.setattr(RunModel, name, breaking(getattr(RunModel, name), "bad"))
    s.one.end_held("a")
    assert s.run_to_end(good) == ["success"]
    s.rest()
    row = s.run(bad.id)
    assert row.state == "running"
    assert row.reason == "quarantined until the scheduler restarts: RuntimeError: a bug"
    monkeypatch.undo()
    s.scheduler.finish()
    s.begin_scheduler()
    assert s.run_to_end(bad) == ["success"]
    s.check_nothing_is_left()


POISON = {"no spec": "{}", "no such upstream task": encode(spec("d", task("a", "ghost"))).decode()}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_run_that_cannot_be_loaded_is_quarantined_and_leaves_the_others_going(s: Scheduling, poison: str) -> None:
    """Stored by another version of this program, say; it must not stop every claim after it."""
    bad = s.begin_run(spec("bad"))
    good = [s.begin_run(spec(f"good{n}"), now=START + n) for n in range(3)]
    write(s, dag_version.update().where(dag_version.c.dag_id == "bad").values(spec=poison))
    assert s.run_to_end(*good) == ["success"] * 3
    later = s.begin_run(spec("later"), now=START + 9)
    assert s.run_to_end(later) == ["success"]
    row = s.run(bad.id)
    assert row.state == "queued"
    assert row.reason.startswith("quarantined until the scheduler restarts: ")
    assert s.memory.quarantined == {bad.id}


def test_rule_of_another_version_is_quarantined_too(s: Scheduling) -> None:
    bad, good = s.begin_run(spec("bad", task("a"), task("b", "a"))), s.begin_run(spec("good"), now=START + 1)
    poison = encode(spec("bad", task("a"), task("b", "a", trigger_rule="from_the_future"))).decode()
    write(s, dag_version.update().where(dag_version.c.dag_id == "bad").values(spec=poison))
    assert s.run_to_end(good) == ["success"]
    s.rest()
    assert "from_the_future" in s.run(bad.id).reason


# -- the database


def test_database_that_is_away_for_a_moment_costs_nothing(s: Scheduling, monkeypatch: Any) -> None:
    """Whatever statement it is that fails, the same step may be tried again."""
    s.plan(a="hold, success")
    run = s.begin_run(spec("d", task("a"), task("b", "a")))
    s.rest()
    for name in ("reload", "claimable_runs", "paused_dags"):
        s.clear("d", task_regex="^a$")
        with monkeypatch.context() as patch:
            patch.setattr(f"runtime.scheduler.loop.{name}", away)
            failures = [step_fails(s) for _ in range(4)]
        assert failures[1:] == [True] * 3, "the first may only have noticed that the run is to be read again"
    s.rest()
    s.one.end_held("a", "failed")
    assert s.run_to_end(run) == ["success"]
    s.check_nothing_is_left()


def test_database_that_goes_while_runs_are_tried_alone_loses_no_slot(s: Scheduling, monkeypatch: Any) -> None:
    """What the executor had said is not forgotten, whatever fails after it."""
    s.plan(a="hold")
    bad = s.begin_run(spec("d", task("a")), "bad")
    s.rest()
    with monkeypatch.context() as patch:
        patch.setattr(RunModel, "end", breaking(RunModel.end, "bad"))
        patch.setattr("runtime.scheduler.loop.claimable_runs", away)
        s.one.end_held("a")
        s.turn()
        assert step_fails(s)
    assert s.run_to_end(bad) == ["success"]
    s.check_nothing_is_left()


def step_fails(s: Scheduling) -> bool:
    try:
        s.scheduler.step(hinted=True)
    except OperationalError:
        return True
    return False


def away(*_: Any, **__: Any) -> Any:
    raise OperationalError("SELECT", {}, Exception("the server is gone"))


# -- leases and restarts


def test_lost_lease_ends_the_step_and_changes_nothing(s: Scheduling) -> None:
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a"), task("b", "a")))
    s.rest()
    s.one.end_held("a")
    with s.database.write() as connection:
        leases.end(connection, s.me.id)
    before = (s.states(run.id), s.inbox(), s.run(run.id))
    with pytest.raises(LeaseLostError):
        s.scheduler.step(hinted=True)
    assert (s.states(run.id), s.inbox(), s.run(run.id)) == before
    s.begin_scheduler()
    assert s.run_to_end(run) == ["success"]
    assert s.run(run.id).lease_epoch == 2
    s.check_nothing_is_left()


def test_lease_is_renewed_while_the_loop_turns(s: Scheduling) -> None:
    """By the database's clock, which a test does not move."""
    s.step()
    write(s, scheduler.update().values(lease_expires_at=0))
    s.forward(5)
    s.scheduler.step()
    assert s.row(scheduler).lease_expires_at > 0


def test_clock_that_is_set_back_does_not_stop_the_loop(s: Scheduling) -> None:
    s.rest()
    s.forward(-7200)
    write(s, scheduler.update().values(lease_expires_at=0))
    s.scheduler.step()
    assert s.row(scheduler).lease_expires_at > 0
    assert s.run_to_end(s.begin_run(spec("d"))) == ["success"]


def die(s: Scheduling) -> None:
    """The scheduler is gone without a word, and somebody has noticed."""
    with s.database.write() as connection:
        leases.end(connection, s.me.id)
    s.begin_scheduler()


@pytest.mark.parametrize("word", ["hold", "wait"])
def test_local_attempts_of_a_dead_scheduler_run_again(scheduling: Make, word: str) -> None:
    s = scheduling({"one": 4}, local=["one"])
    s.plan(a=f"{word}, success")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    die(s)
    assert s.run_to_end(run) == ["success"]
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.ti("a").infra_losses == (word == "hold")
    s.check_nothing_is_left()


def test_remote_attempts_of_a_dead_scheduler_run_on(s: Scheduling) -> None:
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a"), task("b", "a")))
    s.rest()
    old = s.one
    die(s)
    s.rest()
    assert s.launches() == []
    assert old.end_held("a").accepted
    assert s.run_to_end(run) == ["success"]
    assert s.history("a") == [(1, 1, "success")]
    s.check_nothing_is_left()


def test_remote_attempts_that_nobody_adopts_take_no_slot(scheduling: Make) -> None:
    s = scheduling({"one": 1})
    s.plan(a="hold")
    s.begin_run(spec("d", task("a")))
    s.rest()
    die(s)
    s.rest()
    assert s.memory.handed == {}
    other = s.begin_run(spec("e", task("b")))
    assert s.run_to_end(other) == ["success"]


def test_adopted_attempts_take_their_slots(scheduling: Make) -> None:
    s = scheduling({"one": 2})
    s.plan(a="hold", b="hold")
    s.begin_run(spec("d", task("a"), task("b")))
    s.rest()
    with s.database.write() as connection:
        leases.end(connection, s.me.id)
    s.begin_scheduler()
    s.one.adopts = True
    s.rest()
    assert len(s.memory.handed) == 2
    s.begin_run(spec("e", task("c")))
    s.pass_time(5)
    assert s.launches() == [], "both slots are taken"


def test_remote_attempt_that_never_started_is_handed_over_again_with_its_id(s: Scheduling) -> None:
    """A second hand-over of one attempt is harmless: the start is granted once."""
    s.plan(a="wait, success")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    (first,) = s.one.launched
    die(s)
    assert s.run_to_end(run) == ["success"]
    assert s.one.launched == [first]
    assert s.history("a") == [(1, 1, "success")]
    s.check_nothing_is_left()


def test_attempts_of_an_executor_that_is_gone_end_by_themselves(scheduling: Make) -> None:
    s = scheduling({"one": 4, "two": 4}, missing="reroute")
    s.plan(a="hold, success", b="wait, success")
    run = s.begin_run(spec("d", task("a", executor="two"), task("b", executor="two")))
    s.rest()
    del s._parallelism["two"]
    die(s)
    s.rest()
    assert s.history("a") == [(1, 1, "running")], "a running attempt stays with its executor"
    s.pass_time(600 + CHORES, by=4)
    assert s.run(run.id).state == "success"
    assert [a.executor for a in s.attempts("a")] == ["two", "one"]
    s.check_nothing_is_left()


# -- executors


def test_sick_executor_gets_nothing_and_is_shown_with_its_reason(s: Scheduling) -> None:
    s.step()
    s.one.raises("sync", ConnectionError("no broker"))
    for _ in range(3):
        s.forward(40)
        s.turn()
    run = s.begin_run(spec("d"))
    s.step(3)
    assert s.status("one").health is Health.UNAVAILABLE
    shown = s.shown("one")
    assert (shown.health, shown.reason, shown.is_default) == (
        "unavailable",
        "heartbeat raised ConnectionError: no broker",
        True,
    )
    assert (s.launches(), s.states(run.id)) == ([], {"only": "scheduled"})
    s.one.raises("sync", times=0)
    s.forward(40)
    s.turn()
    assert s.run_to_end(run) == ["success"]
    assert s.shown("one").health == "healthy"


def test_status_is_written_every_few_seconds_and_on_change(s: Scheduling) -> None:
    s.rest()
    s.forward(5)
    s.step()
    assert s.shown("one").updated_at == s.at
    s.forward(1)
    s.step()
    assert s.shown("one").updated_at == s.at - SECOND


def test_external_id_is_kept(s: Scheduling) -> None:
    s.plan(a="wait")
    s.begin_run(spec("d", task("a")))
    s.rest()
    (key,) = s.one.launched
    s.one.accepted(key, "pod-7")
    s.rest()
    assert s.attempt(key.attempt_id).external_id == "pod-7"
    assert s.rows(task_attempt)[0].state == "queued"


def test_runs_over_more_than_one_look(scheduling: Make) -> None:
    """More runs than are claimed at once."""
    s = scheduling({"one": 100}, runs_to_claim=3)
    dag = spec("d", task("a"), max_active_runs=100)
    runs = [s.begin_run(dag, f"r{n}") for n in range(20)]
    assert s.run_to_end(*runs) == ["success"] * 20
    assert len(s.rows(dag_run, dag_run.c.lease_epoch == 1)) == 20
    s.check_nothing_is_left()
