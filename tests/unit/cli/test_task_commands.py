"""``hybrid tasks``: state, set-state, clear, failed-deps, list --tree, run; and what each refuses."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from runtime.db.schema import dag_run, event, task_instance


@pytest.fixture
def begun(run, database) -> int:
    """As ``run``, in state running."""
    with database.write() as connection:
        connection.execute(update(dag_run).values(state="running"))
    return run


class TestState:
    def test_it_is_one_word(self, hybrid, run):
        assert hybrid("tasks", "state", "etl", "extract", "r1").out == "success\n"
        assert hybrid("tasks", "state", "etl", "load", "2025-06-15T15:06:40", "-o", "json").json["state"] == "none"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["etl", "extrct", "r1"], "run r1 of DAG etl has no task 'extrct', did you mean 'extract'?"),
            (["etl", "extract", "r"], "DAG etl has no run 'r'"),
            (["elt", "extract", "r1"], "there is no DAG 'elt', did you mean 'etl'?"),
        ],
    )
    def test_what_is_not_there_is_named(self, hybrid, run, words, message):
        refused = hybrid("tasks", "state", *words)
        assert (refused.code, refused.err.startswith(f"hybrid: {message}")) == (1, True)


class TestSetState:
    def test_it_is_done_and_who_did_it_is_written_down(self, hybrid, begun, database, monkeypatch):
        monkeypatch.setenv("LOGNAME", "ann")
        done = hybrid("tasks", "set-state", "etl", "extract", "r1", "failed", "-d", "-o", "json")
        assert [(one["task_id"], one["old_state"], one["state"]) for one in done.json] == [
            ("extract", "success", "failed"),
            ("load", "none", "failed"),
        ]
        with database.read() as connection:
            actors = connection.execute(select(event.c.actor).where(event.c.new_state == "failed")).scalars().all()
        assert actors == ["ann", "ann"]

    def test_what_is_so_already_is_said(self, hybrid, begun):
        done = hybrid("tasks", "set-state", "etl", "extract", "r1", "success")
        assert (done.code, done.err) == (0, "hybrid: it is success already; nothing was changed\n")

    def test_only_ends_can_be_set(self, hybrid, begun):
        assert "invalid choice: 'running'" in hybrid("tasks", "set-state", "etl", "extract", "r1", "running").err

    def test_other_runs_are_asked_for(self, hybrid, begun):
        refused = hybrid("tasks", "set-state", "etl", "extract", "r1", "failed", "--past")
        assert refused.code == 2
        assert "pass -y to mean yes" in refused.err


class TestClear:
    def test_a_dry_run_shows_and_changes_nothing(self, hybrid, run):
        shown = hybrid("tasks", "clear", "etl", "--dry-run", "-o", "json").json
        assert [(one["run_id"], one["task_id"], one["state"]) for one in shown] == [("r1", "extract", "success")]
        assert hybrid("tasks", "state", "etl", "extract", "r1").out == "success\n"

    def test_nothing_to_clear_is_said_and_is_no_failure(self, hybrid, run):
        done = hybrid("tasks", "clear", "etl", "-f", "-y")
        assert (done.code, done.out) == (0, "nothing to clear\n")
        assert hybrid("tasks", "clear", "etl", "-s", "2030-01-01", "-y").out == "nothing to clear\n"

    def test_what_would_go_is_shown_before_it_asks(self, hybrid, run):
        refused = hybrid("tasks", "clear", "etl")
        assert "extract" in refused.out
        assert refused.err.startswith("hybrid: Clear these 1 task instance of DAG etl, so that they run again?")
        assert refused.code == 2

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["-s", "2026-02-01", "-e", "2026-01-01"], 2, "--end-date 2026-01-01 is before --start-date 2026-02-01"),
            (["-t", "["], 1, "--task-regex '[' is no regular expression: unterminated character set at position 0"),
            (["-t", "extrct"], 1, "no task of DAG etl matches 'extrct', did you mean 'extract'?"),
            (["-e", "31.1."], 2, "--end-date '31.1.' is no ISO-8601 date and time such as 2026-01-31T06:00+00:00"),
        ],
    )
    def test_what_it_refuses(self, hybrid, run, words, code, message):
        refused = hybrid("tasks", "clear", "etl", "-y", *words)
        assert (refused.code, refused.err) == (code, f"hybrid: {message}\n")


class TestRun:
    def test_unmet_dependencies_are_told_and_nothing_is_changed(self, hybrid, begun, live_scheduler, database):
        with database.write() as connection:
            connection.execute(
                update(task_instance).where(task_instance.c.task_id == "extract").values(state="none", attempt_id=None)
            )
        refused = hybrid("tasks", "run", "etl", "load", "r1")
        assert refused.code == 1
        assert "the dependencies of task load are not met: upstream: extract (none)" in refused.err

    def test_without_a_scheduler_it_says_so(self, hybrid, begun):
        assert "no scheduler is running" in hybrid("tasks", "run", "etl", "load", "r1", "-A").err

    def test_an_ended_one_needs_force(self, hybrid, begun, live_scheduler):
        refused = hybrid("tasks", "run", "etl", "extract", "r1")
        assert refused.err == "hybrid: task extract of run r1 has ended: success; --force runs it again\n"

    def test_mark_success_runs_nothing(self, hybrid, begun):
        assert hybrid("tasks", "run", "etl", "load", "r1", "-m").code == 0
        assert hybrid("tasks", "state", "etl", "load", "r1").out == "success\n"

    @pytest.mark.parametrize("words", [["etl", "load"], ["etl", "load", "r1", "x"]])
    def test_one_word_or_three(self, hybrid, words):
        refused = hybrid("tasks", "run", *words)
        assert (refused.code, refused.err.startswith("hybrid: name an attempt, or DAG TASK RUN_OR_DATE")) == (2, True)

    def test_local_is_refused_with_what_to_use_in_its_place(self, hybrid):
        refused = hybrid("tasks", "run", "etl", "load", "r1", "--local")
        assert (refused.code, "`hybrid tasks test`" in refused.err) == (2, True)


def test_failed_deps_is_why_in_airflows_order(hybrid, begun):
    assert hybrid("tasks", "failed-deps", "etl", "load", "r1").out == hybrid("tasks", "why", "etl", "r1", "load").out


def test_the_tree_shows_each_task_below_what_it_waits_for(hybrid, etl):
    assert hybrid("tasks", "list", "etl", "--tree").out == "<@task extract>\n    <BashOperator load>\n"
