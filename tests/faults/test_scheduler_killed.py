"""``kill -9`` of the scheduler in mid-run, at seeded moments, and a restart that finishes the run."""

from __future__ import annotations

import signal
import time

import pytest
from deployment import wait_until, wait_until_moment
from faulty import FaultyDeployment

RUN_SECONDS = 1.6
"""About as long as ``mixed`` takes, with a bit of what follows its end."""


def begin(faulty: FaultyDeployment, seed: int = 0):
    """A scheduler, a run of ``mixed``, and the moment when it was triggered. The seed also says how attempts run."""
    faulty.choose_way(seed)
    faulty.mixed()
    scheduler = faulty.scheduler()
    return scheduler, faulty.trigger("mixed"), time.monotonic()


def finish(faulty: FaultyDeployment, run: str, seed: int = 0):
    """Start again, expect every task to succeed, and check all invariants."""
    slots = faulty.choose_way(seed)
    scheduler = faulty.scheduler()
    assert faulty.wait_for_run("mixed", run) == "success"
    states = faulty.task_states(run)
    assert set(states.values()) == {"success"}
    assert len(states) == 12
    assert faulty.xcom(run, "join") == list(range(7))
    return faulty.settle(scheduler, slots)


def test_killed_once(faulty, seed):
    moment = faulty.dice(seed).uniform(0, RUN_SECONDS)
    scheduler, run, started = begin(faulty, seed)
    wait_until_moment(started + moment)
    scheduler.stop(signal.SIGKILL)
    finish(faulty, run, seed)


def test_killed_twice_in_a_row(faulty, seed):
    """The second scheduler dies at any point of its start or of its recovery, too."""
    dice = faulty.dice(1000 + seed)
    scheduler, run, started = begin(faulty, seed)
    wait_until_moment(started + dice.uniform(0.2, RUN_SECONDS))
    scheduler.stop(signal.SIGKILL)
    second = faulty.start("scheduler") if seed % 2 else faulty.scheduler()
    faulty.let_pass(dice.uniform(0, 0.8))
    second.stop(signal.SIGKILL)
    finish(faulty, run, seed)


def test_its_whole_group_killed(faulty, seed):
    """Zygotes and workers die with it, so nobody is left to clean up; what has a session of its own survives."""
    moment = faulty.dice(2000 + seed).uniform(0.2, RUN_SECONDS)
    scheduler, run, started = begin(faulty, seed)
    wait_until_moment(started + moment)
    scheduler.kill_group()
    scheduler.wait()
    finish(faulty, run, seed)


@pytest.mark.parametrize("group", [False, True], ids=["scheduler", "group"])
def test_a_grandchild_with_its_own_session_is_gone_before_the_task_runs_again(faulty, group):
    """Killed while a Bash task has just started children, one of them with ``setsid``."""
    scheduler, run, _ = begin(faulty)

    def daemonized():
        return faulty.running_command("sleep 300")

    wait_until(daemonized, "a sleep in a session of its own")
    if group:
        scheduler.kill_group()
        scheduler.wait()
    else:
        scheduler.stop(signal.SIGKILL)
        # The zygote outlives the scheduler to see to exactly this.
        wait_until(lambda: not daemonized(), "the end of the orphan", 5)
    story = finish(faulty, run)
    assert any(attempt["state"] == "lost" for attempt in story.attempts)


CATCHUP = """
from datetime import datetime
from runtime import DAG, task
from journal import busy, witnessed
with DAG("past", schedule="@daily", start_date=datetime(2025, 3, 1), end_date=datetime(2025, 3, 12), catchup=True,
         max_active_runs=3):
    @task
    def day(ds=None, run_id=None):
        with witnessed(f"past.day.{run_id}"):
            busy(0.1)
        return ds
    day()
"""


def test_killed_in_a_catchup(faulty, seed):
    """Exactly one run per date, no date left out, never more runs at once than allowed."""
    dice = faulty.dice(4000 + seed)
    scheduler = faulty.scheduler()
    faulty.write_dag("past", CATCHUP)
    for _ in range(2):
        wait_until(lambda: faulty.query("SELECT 1 FROM dag_run"), "a first run")
        faulty.let_pass(dice.uniform(0, 0.5))
        scheduler.stop(signal.SIGKILL)
        scheduler = faulty.scheduler()
    wait_until(lambda: faulty.query("SELECT count(*) AS n FROM dag_run WHERE state = 'success'")[0]["n"] == 12, "12")
    runs = faulty.query("SELECT run_id FROM dag_run ORDER BY logical_date")
    assert [faulty.xcom(run["run_id"], "day") for run in runs] == [f"2025-03-{day:02}" for day in range(1, 13)]
    faulty.settle(scheduler)


def test_killed_around_a_clear(faulty, seed):
    """A running task is cleared and the scheduler dies before, while or after it hears of that: it runs again, once."""
    dice = faulty.dice(5000 + seed)
    faulty.waiting()
    scheduler = faulty.scheduler()
    run, _ = faulty.trigger_waiting()
    clear = faulty.start("tasks", "clear", "waiting", "--run-id", run, "-y")
    faulty.let_pass(dice.uniform(0.2, 1.2))
    scheduler.stop(signal.SIGKILL)
    assert clear.wait() == 0
    scheduler = faulty.scheduler()
    wait_until(lambda: len(faulty.attempts(run, "waits")) > 1, "another attempt")
    faulty.open_gate()
    assert faulty.wait_for_run("waiting", run) == "success"
    faulty.settle(scheduler)
