"""Callbacks that no worker runs become requests for the DAG processor, in the transaction of the outcome."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from runtime.core.callbacks import RunCallback, TaskCallback, decode_wanted
from runtime.core.errors import HybridError
from runtime.core.retries import retry_pause
from runtime.core.specs import DagSpec
from runtime.db.schema import callback_request, dag, event, run_inbox
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
ALL = ("execute", "success", "failure", "retry", "skipped")


def wanted(s: Scheduling) -> list[Any]:
    return [decode_wanted(row.request) for row in s.rows(callback_request)]


def owing(s: Scheduling) -> list[tuple[str, int, str]]:
    return [(one.kind, one.try_number, one.message) for one in wanted(s) if isinstance(one, TaskCallback)]


def dag_of(**options: Any) -> DagSpec:
    return spec("d", task("t", **({"callbacks": ALL} | options)))


def test_an_attempt_whose_process_died_owes_its_callbacks(s: Scheduling) -> None:
    """The supervisor reports, and the process that would have called back is dead."""
    s.plan(t="failed")
    run = s.begin_run(dag_of(retries=1, retry_delay=1.0))
    s.pass_time(70)
    assert s.run(run.id).state == "failed"
    assert owing(s) == [("retry", 1, "as planned"), ("failure", 2, "as planned")]


@pytest.mark.parametrize("called_back", [True, False])
def test_one_that_has_called_back_owes_nothing(s: Scheduling, called_back: bool) -> None:
    s.plan(t="hold")
    run = s.begin_run(dag_of())
    s.rest()
    s.one.end_held("t", "failed", called_back=called_back)
    assert s.run_to_end(run) == ["failed"]
    assert len(owing(s)) == (not called_back)


def test_only_the_kinds_that_the_task_has_are_owed(s: Scheduling) -> None:
    s.plan(t="failed")
    s.run_to_end(s.begin_run(dag_of(callbacks=("retry", "success"))))
    assert wanted(s) == []


def test_what_the_infrastructure_lost_for_good_owes_them_too(s: Scheduling) -> None:
    """Refused by its executor: no process of it has ever run."""
    s.plan(t="refused")
    s.run_to_end(s.begin_run(dag_of()))
    assert owing(s) == [("failure", 1, "as planned")]


def test_an_end_that_waits_in_the_inbox_of_a_run_read_anew_is_not_forgotten(s: Scheduling) -> None:
    """Reading a run forgets its inbox, for the states are read with it; who owes callbacks stands there alone."""
    s.plan(t="hold")
    run = s.begin_run(dag_of())
    s.rest()
    s.one.end_held("t", "failed")
    assert [kind for _, kind in s.inbox()] == ["ended, owing"]
    s.memory.stale.add(run.id)
    assert s.run_to_end(run) == ["failed"]
    assert s.rows(run_inbox) == []
    assert owing(s) == [("failure", 1, "")]


@pytest.mark.parametrize(("outcome", "called"), [("success", "success"), ("failed", "failure")])
def test_the_end_of_a_run_asks_for_the_callbacks_of_its_dag(s: Scheduling, outcome: str, called: str) -> None:
    s.plan(t=outcome)
    run = s.begin_run(spec("d", task("t"), has_on_success_callback=True, has_on_failure_callback=True))
    s.run_to_end(run)
    reason = "success" if outcome == "success" else "task_failure"
    assert wanted(s) == [RunCallback(run.id, called, reason)]


def test_a_run_that_took_too_long_says_so(s: Scheduling) -> None:
    s.plan(t="hold")
    run = s.begin_run(spec("d", task("t"), dagrun_timeout=5.0, has_on_failure_callback=True))
    s.pass_time(6)
    assert s.run(run.id).state == "failed"
    assert wanted(s) == [RunCallback(run.id, "failure", "timed_out")]


def test_a_dag_is_paused_after_so_many_failed_runs_in_a_row_and_says_why(s: Scheduling) -> None:
    s.plan(t="failed, failed, success, failed, failed, failed")
    failing = spec("d", task("t"), max_consecutive_failed_dag_runs=3)
    s.save(failing)
    for number in range(5):
        s.run_to_end(s.trigger("d", f"r{number}", logical_date=s.at + number))
        assert not s.dag("d").is_paused, f"run {number}"
    last = s.trigger("d", "r5", logical_date=s.at + 5)
    s.run_to_end(last)
    row = s.dag("d")
    assert row.is_paused
    assert row.pause_reason == "paused after 3 failed runs in a row (max_consecutive_failed_dag_runs)"
    assert [(one.dag_run_id, one.reason) for one in s.rows(event, event.c.new_state == "dag paused")] == [
        (last.id, row.pause_reason)
    ]
    with pytest.raises(HybridError, match=r"DAG d is paused \(paused after 3 failed runs in a row \(max_"):
        s.trigger("d")
    s.pause("d", paused=False)
    assert s.row(dag, dag.c.dag_id == "d").pause_reason is None


def test_infrastructure_failures_back_off_by_the_rule_of_the_worker(s: Scheduling) -> None:
    s.plan(t="refused, success")
    run = s.begin_run(spec("d", task("t", retries=1, retry_delay=10.0, retry_exponential_backoff=2.0)))
    s.rest()
    ti = s.ti("t")
    pause = retry_pause(10.0, 2.0, None, dag_id="d", task_id="t", run_id=run.run_id, try_number=1)
    assert (ti.state, ti.retry_at) == ("up_for_retry", s.at + round(pause * 1_000_000))
    assert 10.0 <= pause < 20.0


def test_an_owing_end_behind_a_change_by_hand_is_not_forgotten(s: Scheduling) -> None:
    s.plan(t="hold", u="hold")
    run = s.begin_run(spec("d", task("t", callbacks=ALL), task("u")))
    s.rest()
    row = {"dag_run_id": run.id, "task_instance_id": s.ti("u").id, "kind": "marked", "created_at": s.at}
    with s.database.write() as connection:
        connection.execute(insert(run_inbox).values(row))
    s.one.end_held("t", "failed")
    s.rest()
    assert owing(s) == [("failure", 1, "")]
