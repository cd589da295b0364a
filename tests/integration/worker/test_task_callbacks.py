"""Callbacks of tasks: which are called when, with what, and that nothing they do changes how the attempt ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runtime.core.retries import retry_pause

HERE = Path(__file__).parent


@pytest.fixture
def caller(hire, tmp_path, request):
    worker = hire(callback_timeout=0.5, killed_task_cleanup_time=5, task_isolation=getattr(request, "param", "fork"))
    shutil.copy(HERE / "called_back.py", tmp_path / "dags" / "dag.py")
    return worker


@pytest.fixture
def calls(notes):
    return lambda: (notes / "calls").read_text().splitlines()


@pytest.mark.parametrize("caller", ["fork", "reuse"], indirect=True)
def test_each_outcome_has_its_callbacks_and_the_context_says_how_it_came_to_be(caller, calls):
    tries = {"fails": 1}
    names = ("succeeds", "fails", "skips", "takes_too_long")
    reports = [caller.run(name, max_tries=tries.get(name, 0)) for name in names]
    assert reports[0].reason == "", caller.log("succeeds")
    assert [report.outcome for report in reports] == ["success", "failed", "skipped", "failed"]
    assert all(report.called_back for report in reports)
    late = "ran longer than its execution_timeout of 0.2 s"
    assert calls() == [
        "execute succeeds running NoneType None True",
        "body",
        "success succeeds success NoneType  True",
        "execute fails running NoneType None True",
        "retry fails up_for_retry ValueError ValueError: no luck True",
        "execute skips running NoneType None True",
        "skipped skips skipped SkipTask nothing to do True",
        "execute takes_too_long running NoneType None True",
        f"failure takes_too_long failed TaskTimeout {late} True",
    ]


def test_the_last_try_calls_back_for_failure(caller, calls):
    assert caller.run("fails", try_number=2, max_tries=1).called_back
    assert calls()[-1].startswith("failure fails failed")


def test_one_that_raises_is_told_in_the_log_and_the_next_is_called(caller, calls):
    report = caller.run("has_a_broken_one")
    assert (report.outcome, report.reason) == ("failed", "ValueError: no luck")
    assert calls()[-1].startswith("failure has_a_broken_one failed")
    text = caller.log("has_a_broken_one")
    assert "on_failure_callback breaks failed; the task's state stays what it is: ZeroDivisionError" in text
    assert 'raise ZeroDivisionError("in a callback")' in text


def test_one_that_hangs_is_ended_and_the_next_is_called(caller, calls):
    report = caller.run("has_one_that_hangs")
    assert (report.outcome, bytes(report.return_value)) == ("success", b"2")
    assert calls()[-1].startswith("success has_one_that_hangs success")
    limit = "ran longer than [core] callback_timeout, which bounds on_success_callback hangs, of 0.5 s"
    assert limit in caller.log("has_one_that_hangs")


@pytest.mark.parametrize(("task_id", "outcome"), [("has_one_that_leaves", "success"), ("has_one_that_kills", "failed")])
def test_one_that_ends_the_process_does_not_change_the_outcome(caller, task_id, outcome):
    report = caller.run(task_id)
    assert (report.outcome, report.called_back) == (outcome, True)
    assert report.reason == ("ValueError: no luck" if outcome == "failed" else "")


def test_one_may_read_xcoms(caller, calls):
    caller.service.xcoms["other", "return_value", -1] = 7
    caller.run("has_one_that_pulls")
    assert calls()[-1] == "pulled 7"


def test_a_broken_one_before_the_task_does_not_keep_it_from_running(caller):
    assert caller.value("has_a_broken_beginning") == 4


def test_an_attempt_that_dies_says_that_nobody_has_called_back(caller, calls):
    report = caller.run("dies")
    assert (report.outcome, report.called_back) == ("failed", False)
    assert calls() == ["execute dies running NoneType None True"]


def test_an_attempt_that_is_stopped_calls_nobody_back(caller, calls, notes):
    attempt_id = caller.assign("waits")
    caller.pump(lambda: (notes / "calls").exists() and "running" in calls())
    caller.kill(attempt_id)
    caller.wait_end(attempt_id)
    assert not caller.service.finishes[attempt_id].called_back
    assert calls()[-1] == "running"


@pytest.mark.parametrize(("number", "bounds"), [(1, (10, 20)), (2, (30, 60)), (4, (100, 100))])
def test_the_delay_grows_with_each_try(caller, number, bounds):
    report = caller.run("backs_off", try_number=number, max_tries=5)
    run_id = "r"
    expected = retry_pause(10.0, 3.0, 100.0, dag_id="d", task_id="backs_off", run_id=run_id, try_number=number)
    assert report.retry_delay == expected
    assert bounds[0] <= expected <= bounds[1]
