"""Bad luck with files: a log folder that takes nothing, a database that somebody else has locked."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from faulty import FAST


@pytest.mark.parametrize("dag_id", ["waiting", "mixed"])
def test_an_unwritable_log_folder_fails_the_attempt_with_its_reason(faulty, dag_id):
    """A file stands where the folder should be, which stops root as well."""
    faulty.waiting()
    faulty.mixed()
    faulty.open_gate()
    logs = faulty.home / "logs"
    logs.write_text("")
    scheduler = faulty.scheduler()
    run = faulty.trigger(dag_id)
    assert faulty.wait_for_run(dag_id, run) == "failed"
    reasons = {attempt["reason"] for attempt in faulty.query("SELECT reason FROM task_attempt")}
    assert all(reason.startswith(f"cannot write the log {logs}") for reason in reasons), reasons
    logs.unlink()
    again = faulty.trigger(dag_id)
    assert faulty.wait_for_run(dag_id, again) == "success"
    faulty.settle(scheduler)


@pytest.mark.parametrize("busy_timeout", [30, 1])
def test_a_locked_database_delays_and_loses_nothing(faulty, busy_timeout):
    """Two seconds, several times in mid-run; also longer than anybody waits for a lock."""
    faulty.configure({**FAST, "database": {"sqlite_busy_timeout": str(busy_timeout)}})
    faulty.mixed()
    scheduler = faulty.scheduler()
    run = faulty.trigger("mixed")
    for pause in (0.3, 0.2):
        faulty.let_pass(pause)
        with closing(sqlite3.connect(faulty.database, timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            faulty.let_pass(2.0)
            connection.rollback()
    assert faulty.wait_for_run("mixed", run) == "success", faulty.states("mixed", run)
    assert set(faulty.task_states(run).values()) == {"success"}
    faulty.settle(scheduler, quiet=busy_timeout > 2)


def test_a_database_that_is_locked_while_the_scheduler_ends(faulty):
    """It ends all the same, in good order; the next one buries it and runs again what it had to stop."""
    faulty.configure({**FAST, "database": {"sqlite_busy_timeout": "0.5"}})
    faulty.waiting()
    first = faulty.scheduler()
    run, _ = faulty.trigger_waiting()
    with closing(sqlite3.connect(faulty.database, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert first.stop() == 0
        connection.rollback()
    assert "while the scheduler ends" in first.text
    second = faulty.scheduler()
    faulty.running_attempt(run, 2)
    faulty.open_gate()
    assert faulty.wait_for_run("waiting", run) == "success"
    faulty.settle(second)
