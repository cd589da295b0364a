"""What a branch does not follow, from its report to the end of the run: with restarts, clears and races."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event as listening

from runtime.db.schema import event, task_instance, xcom
from runtime.scheduler.loop import Scheduler
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]
FORK = (
    task("branch", decides=True),
    task("left", "branch"),
    task("right", "branch"),
    task("far", "right"),
    task("join", "left", "far", trigger_rule="none_failed_min_one_success"),
)
LEFT = {"branch": "success", "left": "success", "right": "skipped", "far": "skipped", "join": "success"}


def held(s: Scheduling, *tasks, **options):
    """A run whose branch runs and waits for :meth:`end_held`."""
    s.plan(branch="hold")
    run = s.begin_run(spec("d", *(tasks or FORK)), **options)
    s.until(lambda: "branch" in s.one.held, "the branch runs")
    return run


def test_what_is_not_followed_is_skipped_with_the_report(s: Scheduling) -> None:
    run = held(s)
    s.one.end_held("branch", skip=("right",))
    assert s.states(run.id)["right"] == "skipped", "before the scheduler does anything"
    assert s.ti("right").reason == "not followed by branch"
    assert s.run_to_end(run) == ["success"]
    assert s.states(run.id) == LEFT
    assert s.launches() == ["branch", "left", "join"]
    assert s.story(s.ti("right").id) == ["none>skipped"]
    s.check_nothing_is_left()


def test_a_chain_that_is_skipped_as_a_whole_needs_no_second_step(s: Scheduling, monkeypatch) -> None:
    """No guard is refused: the scheduler's model learns of all of it before it judges any of it."""
    undone = []
    monkeypatch.setattr(Scheduler, "_undo", lambda self, step: undone.append(step))
    run = held(s)
    s.one.end_held("branch", skip=("left", "right", "far", "join"))
    assert s.run_to_end(run) == ["success"]
    assert set(s.states(run.id).values()) == {"success", "skipped"}
    assert undone == []
    s.check_nothing_is_left()


def test_it_survives_a_scheduler_that_dies_before_it_has_heard(s: Scheduling) -> None:
    run = held(s)
    s.one.end_held("branch", skip=("right",))
    s.scheduler.finish()
    s.begin_scheduler()
    assert s.run_to_end(run) == ["success"]
    assert s.states(run.id) == LEFT


def test_a_report_that_is_repeated_or_failed_skips_nothing_more(s: Scheduling) -> None:
    run = held(s)
    s.one.end_held("branch", outcome="failed", skip=("right",), retry=False)
    assert s.run_to_end(run) == ["failed"]
    assert s.states(run.id)["right"] == "upstream_failed"
    assert s.rows(xcom) == []


def test_what_has_begun_is_left_alone_and_what_waits_is_not(s: Scheduling) -> None:
    """``early`` follows another task, too, and runs when the branch decides; ``late`` waits for its slot."""
    s.plan(early="hold")
    run = held(
        s,
        task("branch", decides=True),
        task("other"),
        task("early", "branch", "other", trigger_rule="one_success"),
        task("late", "branch"),
    )
    s.until(lambda: "early" in s.one.held, "early runs")
    s.one.end_held("branch", skip=("early", "late"))
    s.step(4)
    assert s.states(run.id)["early"] == "running"
    s.one.end_held("early")
    assert s.run_to_end(run) == ["success"]
    assert s.states(run.id) == {"branch": "success", "other": "success", "early": "success", "late": "skipped"}


def test_a_task_that_waits_for_a_slot_can_be_skipped(scheduling: Make) -> None:
    s = scheduling({"one": 1})
    s.plan(branch="hold")
    run = s.begin_run(
        spec("d", task("branch", decides=True, priority_weight=9), task("waiting", trigger_rule="always"))
    )
    s.until(lambda: "branch" in s.one.held and s.states(run.id)["waiting"] == "scheduled", "one runs, one waits")
    s.one.end_held("branch", skip=("waiting",))
    assert s.run_to_end(run) == ["success"]
    assert s.states(run.id)["waiting"] == "skipped"
    assert s.launches() == ["branch"]
    s.check_nothing_is_left()


def test_cleared_alone_it_stays_skipped_until_the_branch_runs_again(s: Scheduling) -> None:
    run = held(s)
    s.one.end_held("branch", skip=("right",))
    s.run_to_end(run)
    s.clear("d", run_id=run.run_id, task_regex="^(right|far)$")
    assert s.run_to_end(run) == ["success"]
    assert s.states(run.id) == LEFT
    s.clear("d", run_id=run.run_id)
    s.until(lambda: "branch" in s.one.held, "the branch runs again")
    assert s.rows(xcom) == []
    s.one.end_held("branch", skip=("left",))
    assert s.run_to_end(run) == ["success"]
    assert s.states(run.id) | {"join": ""} == dict.fromkeys(("branch", "right", "far"), "success") | {
        "left": "skipped",
        "join": "",
    }


def test_the_cost_is_that_of_what_is_skipped(s: Scheduling) -> None:
    """As many rows as are skipped, and no more statements than for one."""
    statements: list[str] = []

    def count(*arguments) -> None:
        statements.append(arguments[2])

    counts = []
    listening.listen(s.database.engine, "before_cursor_execute", count)
    for number in (1, 400):
        names = tuple(f"t{n}" for n in range(number))
        dag_id = f"d{number}"
        s.plan(branch="hold")
        run = s.begin_run(spec(dag_id, task("branch", decides=True), *(task(name, "branch") for name in names)))
        s.until(lambda: "branch" in s.one.held, "the branch runs")
        statements.clear()
        s.one.end_held("branch", skip=names)
        counts.append(len(statements))
        assert s.run_to_end(run) == ["success"]
        assert (
            len(s.rows(task_instance, task_instance.c.state == "skipped", task_instance.c.dag_run_id == run.id))
            == number
        )
    assert counts[0] == counts[1]
    assert len(s.rows(event, event.c.new_state == "skipped")) == 401
