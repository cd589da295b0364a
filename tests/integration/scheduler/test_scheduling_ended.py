"""Attempts whose remote backend is certain that nothing of them runs any more: nobody waits for silence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from executors.events import Failed, Lost, Succeeded
from runtime.scheduler.loop import CHORES
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]
TIMEOUT = 60
ENDED = pytest.mark.parametrize("report", ["fail", "lost"])


def began(s: Scheduling, **options: int) -> int:
    """A run whose first task has been started over the task API and whose second waits for it; the run's id."""
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a", **options), task("b", "a")))
    s.rest()
    assert s.states(run.id) == {"a": "running", "b": "none"}
    s.plan(a="success")
    return run.id


def end(s: Scheduling, report: str, why: str = "exit code 137: OOMKilled", *, ended: bool = True) -> None:
    """The backend says that the held launch has ended."""
    getattr(s.one, report)(s.one.held["a"], why, ended=ended)
    s.turn()


def test_a_failure_costs_one_of_the_users_tries_at_once(s: Scheduling) -> None:
    run = began(s, retries=1)
    end(s, "fail")
    s.step()
    assert s.states(run)["a"] == "up_for_retry"
    s.pass_time(301, by=60)
    assert s.states(run) == {"a": "success", "b": "success"}
    assert s.history("a") == [(1, 1, "failed"), (2, 1, "success")]
    assert (s.ti("a").infra_losses, s.attempts("a")[0].reason) == (0, "exit code 137: OOMKilled")
    s.check_nothing_is_left()


def test_a_retry_without_a_delay_follows_at_once(s: Scheduling) -> None:
    run = began(s, retries=2, retry_delay=0)
    end(s, "fail")
    s.step(3)
    s.pass_time(1)
    assert s.states(run) == {"a": "success", "b": "success"}
    assert s.history("a") == [(1, 1, "failed"), (2, 1, "success")]
    s.check_nothing_is_left()


def test_without_a_try_left_it_is_the_end(s: Scheduling) -> None:
    run = began(s)
    end(s, "fail")
    s.step()
    assert s.states(run) == {"a": "failed", "b": "upstream_failed"}
    assert s.ti("a").reason == "exit code 137: OOMKilled"
    s.check_nothing_is_left()


def test_a_loss_is_charged_to_the_infrastructure_at_once(s: Scheduling) -> None:
    run = began(s)
    end(s, "lost", "Evicted: The node was low on resource: memory.")
    s.rest()
    assert s.states(run) == {"a": "success", "b": "success"}
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.ti("a").infra_losses == 1
    assert s.attempts("a")[0].reason.startswith("Evicted: ")
    s.check_nothing_is_left()


def test_losses_beyond_infra_retries_fail_the_try(scheduling: Make) -> None:
    s = scheduling(infra_retries=1)
    run = began(s)
    s.plan(a="hold")
    for _ in range(2):
        end(s, "lost", "its pod was deleted")
        s.rest()
    assert s.states(run)["a"] == "failed"
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "lost")]


@ENDED
def test_without_proof_the_heartbeat_timeout_decides(s: Scheduling, report: str) -> None:
    """Its supervisor may live on, whatever the backend says."""
    run = began(s, retries=1)
    end(s, report, "gone", ended=False)
    s.rest()
    assert s.states(run)["a"] == "running"
    assert s.one.beat("a").go_on
    s.pass_time(TIMEOUT + CHORES)
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.ti("a").infra_losses == 1


@ENDED
def test_who_still_speaks_for_it_is_refused(s: Scheduling, report: str) -> None:
    """A backend that was wrong: the fence holds, and nothing that the old launch says counts."""
    began(s, retries=1)
    end(s, report)
    s.rest()
    reply = s.one.beat("a")
    assert (reply.go_on, reply.gone) == (False, True)
    assert not s.one.end_held("a", "success", return_value=b"1").accepted
    s.rest()
    assert s.attempts("a")[0].state == ("failed" if report == "fail" else "lost")


@ENDED
def test_a_report_that_came_first_counts(s: Scheduling, report: str) -> None:
    """The worker reports, then its pod ends with whatever code."""
    run = began(s, retries=1)
    key = s.one.held["a"]
    getattr(s.one, report)(key, "exit code 1", ended=True)
    s.one.held["a"] = key
    s.one.end_held("a", "success")
    s.turn()
    s.rest()
    assert s.states(run) == {"a": "success", "b": "success"}
    assert s.history("a") == [(1, 1, "success")]
    s.check_nothing_is_left()


@ENDED
def test_cleared_while_it_ran_and_ended_by_its_backend(s: Scheduling, report: str) -> None:
    """The clear and the end reach the scheduler in one step: it begins anew, and no try is spent."""
    run = began(s)
    s.clear("d", task_regex="^a$")
    end(s, report)
    s.rest()
    assert s.states(run) == {"a": "success", "b": "success"}
    assert s.history("a") == [(1, 1, "failed" if report == "fail" else "lost"), (2, 1, "success")]
    assert s.memory.stopping == set()
    s.check_nothing_is_left()


@ENDED
def test_cleared_before_its_scheduler_died_and_ended_after_it_was_adopted(s: Scheduling, report: str) -> None:
    run = began(s)
    (key,) = (key for key in s.one.launched if key.task_id == "a")
    s.clear("d", task_regex="^a$")
    s.scheduler.finish()
    s.begin_scheduler()
    s.one.adopts = True
    s.rest()
    assert s.states(run)["a"] == "restarting"
    getattr(s.one, report)(key, "deleted", ended=True)
    s.turn()
    s.rest()
    assert s.states(run) == {"a": "success", "b": "success"}
    s.check_nothing_is_left()


@ENDED
def test_before_the_start_proof_changes_nothing(s: Scheduling, report: str) -> None:
    """Nothing of it ever ran: launched again, free of charge."""
    s.plan(a="wait")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    s.plan(a="success")
    getattr(s.one, report)(s.one.launched[0], "exit code 2", ended=True)
    assert s.run_to_end(run) == ["success"]
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.ti("a").infra_losses == 0


def test_a_started_attempt_whose_launch_ended_well_has_succeeded(s: Scheduling) -> None:
    """``Succeeded`` is a verified exit code 0: what it means is the executor's to know."""
    run = began(s)
    s.one.success(s.one.held["a"])
    s.turn()
    s.rest()
    assert s.states(run) == {"a": "success", "b": "success"}
    assert not s.one.beat("a").go_on
    s.check_nothing_is_left()


def test_a_local_attempt_is_killed_all_the_same(scheduling: Make) -> None:
    """On this host a look at the processes is worth more than the executor's word."""
    s = scheduling({"one": 4}, local=["one"])
    run = began(s, retries=1)
    end(s, "fail")
    s.rest()
    assert s.states(run) == {"a": "success", "b": "success"}
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]


def test_only_the_first_end_of_a_launch_counts(s: Scheduling) -> None:
    run = began(s, retries=1)
    key = s.one.held["a"]
    for event in (Lost(key, "x", ended=True), Failed(key, "y", ended=True), Succeeded(key)):
        s.lanes["one"]._mail.deliver([event])
        s.rest()
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.run(run).state == "success"
