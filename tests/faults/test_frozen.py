"""Processes that are neither dead nor alive: SIGSTOP, and SIGCONT when it is too late."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing, suppress

import psutil
import pytest
from deployment import wait_until


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(0, id="fork"),
        pytest.param(1, id="spawn", marks=pytest.mark.slow),  # each waits for the timeout of at least 10 s
        pytest.param(2, id="reuse"),
        pytest.param(3, id="fresh worker", marks=pytest.mark.slow),
    ],
)
def test_a_frozen_worker_is_given_up_and_does_no_harm_when_it_wakes(faulty, way):
    """No heartbeat for ``task_instance_heartbeat_timeout``: its task is killed, and only then runs again."""
    slots = faulty.choose_way(way)
    faulty.waiting()
    scheduler = faulty.scheduler()
    run, attempt = faulty.trigger_waiting()
    worker = faulty.supervisor_of(attempt)
    worker.suspend()
    wait_until(lambda: len(faulty.attempts(run, "waits")) == 2, "the attempt to be given up", 40)
    faulty.running_attempt(run, 2)
    assert faulty.attempts(run, "waits")[0]["reason"] == "no heartbeat for 10 s"
    with suppress(psutil.NoSuchProcess):
        worker.resume()
    faulty.open_gate()
    assert faulty.wait_for_run("waiting", run) == "success"
    states = [(a["state"], a["dispatch_number"]) for a in faulty.attempts(run, "waits")]
    assert states == [("lost", 1), ("success", 2)]
    faulty.settle(scheduler, slots)


def test_a_scheduler_frozen_for_a_while_loses_nothing(faulty):
    """Shorter than the fence: attempts run on, and their reports wait for it."""
    faulty.waiting()
    scheduler = faulty.scheduler()
    run, _ = faulty.trigger_waiting()
    scheduler.send(signal.SIGSTOP)
    faulty.let_pass(2.0)
    faulty.open_gate()
    faulty.let_pass(0.5)
    scheduler.send(signal.SIGCONT)
    assert faulty.wait_for_run("waiting", run) == "success"
    assert len(faulty.attempts(run, "waits")) == 1
    faulty.settle(scheduler)


def freeze_while_it_writes_nothing(faulty, scheduler):
    """SQLite has one writer: while one is frozen in a transaction, nobody else can write."""

    def is_frozen_idle() -> bool:
        scheduler.send(signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(faulty.home / "hybrid.db", timeout=0.2)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            scheduler.send(signal.SIGCONT)
            return False
        return True

    wait_until(is_frozen_idle, "a moment without a transaction")


def test_a_task_cleared_while_the_scheduler_was_frozen_runs_again_soon(faulty):
    """The refused heartbeat arrives before the KILL: whichever comes first, the end of the attempt must be known."""
    faulty.waiting()
    scheduler = faulty.scheduler()
    run, _ = faulty.trigger_waiting()
    freeze_while_it_writes_nothing(faulty, scheduler)
    faulty.hybrid("tasks", "clear", "waiting", "--run-id", run, "-y")
    faulty.let_pass(1.0)
    scheduler.send(signal.SIGCONT)
    wait_until(lambda: len(faulty.attempts(run, "waits")) == 2, "another attempt", 5)
    faulty.open_gate()
    assert faulty.wait_for_run("waiting", run) == "success"
    faulty.settle(scheduler)


def test_a_scheduler_frozen_beyond_the_fence_runs_the_task_again(faulty):
    """Nobody acknowledged a heartbeat for timeout - 5 s: the supervisor has stopped its task by itself."""
    faulty.waiting()
    scheduler = faulty.scheduler()
    run, attempt = faulty.trigger_waiting()
    scheduler.send(signal.SIGSTOP)
    wait_until(lambda: not faulty.is_alive(attempt["pid"]), "the supervisor to stop its task", 15)
    scheduler.send(signal.SIGCONT)
    faulty.running_attempt(run, 2)
    faulty.open_gate()
    assert faulty.wait_for_run("waiting", run) == "success"
    record = faulty.states("waiting", run)["waits"]
    assert (record["try_number"], record["infra_losses"]) == (1, 1)
    faulty.settle(scheduler)
