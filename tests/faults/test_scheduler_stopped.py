"""SIGTERM of the scheduler: who may finish, who is stopped, and what runs again afterwards."""

from __future__ import annotations

import signal

import pytest
from faulty import FAST


def with_grace(faulty, seconds):
    faulty.configure({"scheduler": {**FAST["scheduler"], "shutdown_grace": str(seconds)}})
    faulty.waiting()
    return faulty.scheduler()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_task_that_ends_within_the_grace_is_recorded(faulty, signum):
    scheduler = with_grace(faulty, 60)
    run, attempt = faulty.trigger_waiting()
    scheduler.send(signum)
    faulty.wait_for_words(scheduler, "stopping; local attempts get 60 s")
    faulty.open_gate()
    assert scheduler.wait() == 0
    assert faulty.attempts(run, "waits") == [{**attempt, **faulty.attempts(run, "waits")[0], "state": "success"}]
    faulty.settle(again := faulty.scheduler())
    assert again.process.returncode == 0
    assert faulty.run_state("waiting", run) == "success"


def test_nothing_new_is_dispatched_during_the_grace(faulty):
    scheduler = with_grace(faulty, 60)
    run, _ = faulty.trigger_waiting()
    scheduler.send(signal.SIGTERM)
    faulty.wait_for_words(scheduler, "stopping; local attempts get 60 s")
    late = faulty.trigger("waiting")
    faulty.open_gate()
    assert scheduler.wait() == 0
    assert faulty.attempts(late, "waits") == []
    again = faulty.scheduler()
    assert faulty.wait_for_run("waiting", late) == "success"
    assert faulty.wait_for_run("waiting", run) == "success"
    faulty.settle(again)


def test_a_longer_one_is_stopped_and_runs_again_after_a_restart(faulty):
    """An infrastructure loss, no failed try."""
    scheduler = with_grace(faulty, 0.5)
    run, _ = faulty.trigger_waiting()
    assert scheduler.stop() == 0
    assert "1 local attempts are stopped" in scheduler.text
    (first,) = faulty.attempts(run, "waits")
    assert first["state"] == "lost"
    again = faulty.scheduler()
    faulty.running_attempt(run, 2)
    faulty.open_gate()
    assert faulty.wait_for_run("waiting", run) == "success"
    record = faulty.states("waiting", run)["waits"]
    assert (record["try_number"], record["infra_losses"]) == (1, 1)
    faulty.settle(again)


def test_a_second_signal_stops_at_once(faulty):
    scheduler = with_grace(faulty, 3600)
    run, _ = faulty.trigger_waiting()
    scheduler.send(signal.SIGTERM)
    faulty.wait_for_words(scheduler, "stopping; local attempts get 3600 s")
    assert scheduler.stop() == 0
    assert faulty.attempts(run, "waits")[0]["state"] == "lost"
    faulty.open_gate()
    again = faulty.scheduler()
    assert faulty.wait_for_run("waiting", run) == "success"
    faulty.settle(again)


def test_stopped_in_mid_run_and_started_again(faulty, seed):
    """As a deployment of a new version does it, at a random moment."""
    dice = faulty.dice(3000 + seed)
    faulty.mixed()
    faulty.configure({"scheduler": {**FAST["scheduler"], "shutdown_grace": str(dice.choice([0, 0.2, 5]))}})
    scheduler = faulty.scheduler()
    run = faulty.trigger("mixed")
    faulty.let_pass(dice.uniform(0, 1.2))
    assert scheduler.stop() == 0, scheduler.text
    again = faulty.scheduler()
    assert faulty.wait_for_run("mixed", run) == "success"
    assert set(faulty.task_states(run).values()) == {"success"}
    faulty.settle(again)
