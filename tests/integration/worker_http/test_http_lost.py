"""Answers that get lost, servers that are away: nothing is run twice, nothing is taken for a "no", all waits end."""

from __future__ import annotations

import pytest

from tests.integration.worker_http.faulty_api import Fault
from tests.integration.worker_http.launches import Office, alive, eventually

UNKNOWN = [Fault.DROP, Fault.LOSE, Fault.HANG, Fault.ERROR, Fault.BUSY, Fault.FOREIGN]
"""After which nobody knows what became of the request."""


# -- single answers


@pytest.mark.parametrize("fault", UNKNOWN)
def test_a_start_without_an_answer_is_asked_for_again_by_the_same_launch(office: Office, fault):
    attempt_id = office.attempt("succeeds")
    office.api.fail("start", fault)
    assert office.run(attempt_id) == 0
    starts = office.api.requests("start")
    assert len(starts) == 2
    assert starts[0] == starts[1]
    assert len(office.noted("ran")) == 1


@pytest.mark.parametrize("fault", UNKNOWN)
def test_a_report_without_an_answer_is_sent_again(office: Office, fault):
    attempt_id = office.attempt("returns")
    office.api.fail("finish", fault, fault)
    assert office.run(attempt_id) == 0
    reports = office.api.requests("finish")
    assert len(reports) >= 3
    assert all(report == reports[0] for report in reports)
    assert office.state(attempt_id) == "success"
    assert [kind for _, kind in office.world.inbox()] == ["ended"]


@pytest.mark.parametrize("fault", UNKNOWN)
def test_heartbeats_without_an_answer_are_no_reason_to_stop(office: Office, fault):
    launched = office.launch(office.attempt("waits"))
    office.wait_note("running")
    office.api.fail("heartbeat", fault)
    before = office.api.statuses.count(("heartbeat", 200))
    eventually(lambda: office.api.statuses.count(("heartbeat", 200)) >= before + 2)
    (office.notes / "go").touch()
    assert launched.wait() == 0


@pytest.mark.parametrize("fault", UNKNOWN)
def test_xcoms_ride_out_a_fault(office: Office, fault):
    office.api.fail("xcom_push", fault)
    office.api.fail("xcom_pull", fault)
    assert office.run(office.attempt("pushes_and_pulls")) == 0
    assert office.xcoms()["return_value"] == [{"n": 1}, "none"]


def test_a_kept_connection_that_the_server_has_closed_costs_no_wait(office: Office):
    attempt_id = office.attempt("succeeds")
    office.api.close_after("start")
    launched = office.launch(attempt_id)
    assert launched.wait() == 0
    assert len({seen.connection for seen in office.api.seen}) == 2
    assert launched.err == "", "a problem was told of"


# -- an API that is away


def test_a_launch_waits_for_an_api_that_comes_up_later(office: Office):
    attempt_id = office.attempt("succeeds")
    office.api.down()
    launched = office.launch(attempt_id)
    launched.wait_line("the task API gives no answer: Connection refused; trying again")
    office.api.up()
    assert launched.wait() == 0
    assert "the task API answers again" in launched.err
    assert len(launched.err.splitlines()) == 2


def test_a_start_is_given_up_after_its_patience_and_nothing_was_run(office: Office):
    attempt_id = office.attempt("succeeds")
    office.api.down()
    launched = office.launch(attempt_id, workers__start_patience="1")
    assert launched.wait() == 4
    assert launched.err.splitlines()[-1].endswith("not started: the task service gave no answer for 1 s")
    assert office.noted("ran") == []
    assert office.state(attempt_id) == "queued"


def test_a_running_task_rides_out_a_restart_of_the_api(office: Office):
    launched = office.launch(office.attempt("pulls_when_told"))
    office.wait_note("running")
    office.api.down()
    (office.notes / "go").touch()
    launched.wait_line("gives no answer")
    office.api.up()
    assert launched.wait() == 0
    assert office.xcoms() == {"return_value": "none"}


def test_a_report_is_kept_beyond_the_self_kill_limit_until_the_api_is_back(office: Office):
    attempt_id = office.attempt("waits")
    launched = office.launch(attempt_id, scheduler__task_instance_heartbeat_timeout="10")
    (pid,) = office.wait_note("running")
    office.api.down()
    (office.notes / "go").touch()
    eventually(lambda: not alive(int(pid)))
    launched.outlive(6.0)
    office.api.up()
    assert launched.wait() == 0
    assert office.state(attempt_id) == "success"
    assert office.xcoms() == {"return_value": "went"}


def test_a_task_is_killed_when_the_api_stays_away_and_is_not_reported_as_failed(office: Office):
    attempt_id = office.attempt("ignores_sigterm")
    launched = office.launch(attempt_id, scheduler__task_instance_heartbeat_timeout="10")
    (pid,) = office.wait_note("running")
    office.api.down()
    assert launched.wait() == 4
    assert launched.err.splitlines()[-1].endswith("no heartbeat was acknowledged for 5 s")
    assert not alive(int(pid))
    assert office.log().splitlines()[-1].endswith("no heartbeat was acknowledged for 5 s")
    office.api.up()
    assert office.state(attempt_id) == "running", "the scheduler repeats it without charging the task"


@pytest.mark.slow
def test_an_xcom_that_gets_no_answer_fails_the_task_in_the_end(office: Office):
    """After the heartbeat timeout, although its heartbeats are answered all the while."""
    office.api.fail_always("xcom_pull", Fault.ERROR)
    attempt_id = office.attempt("pulls_when_told")
    (office.notes / "go").touch()
    assert office.run(attempt_id, scheduler__task_instance_heartbeat_timeout="10") == 1
    assert "no answer for 10 s: HTTP 500: the database is away" in office.log()
    assert office.state(attempt_id) == "failed"


def test_an_xcom_is_asked_for_until_the_supervisor_stops_its_task_because_the_api_is_away(office: Office):
    """The task must not fail by its own account a moment before it would have been an infrastructure loss."""
    office.api.fail_always("xcom_pull", Fault.DROP)
    office.api.fail_always("heartbeat", Fault.DROP)
    attempt_id = office.attempt("pulls_when_told")
    (office.notes / "go").touch()
    assert office.run(attempt_id, scheduler__task_instance_heartbeat_timeout="10") == 4
    assert office.log().splitlines()[-1].endswith("no heartbeat was acknowledged for 5 s")
    assert office.state(attempt_id) == "running"


# -- answers that are a no


@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault.OVER, "cleared by hand"), (Fault.REPLACED, "another launch has it")]
)
def test_a_refused_heartbeat_stops_the_task_and_its_end_is_reported(office: Office, fault, reason):
    attempt_id = office.attempt("sleeps")
    launched = office.launch(attempt_id)
    office.wait_note("running")
    office.api.fail_always("heartbeat", fault)
    assert launched.wait() == 1
    assert office.noted("finally") == ["done"]
    (report,) = office.api.requests("finish")
    assert report.reason == reason
    assert office.log().splitlines()[-1].endswith(reason)


def test_a_start_that_the_api_forbids_runs_nothing(office: Office):
    office.api.fail("start", Fault.FORBIDDEN)
    launched = office.launch(office.attempt("succeeds"))
    assert launched.wait() == 3
    assert launched.err.splitlines()[-1].endswith("not started: not for you (HTTP 403)")
    assert office.api.count("start") == 1
    assert office.noted("ran") == []


def test_an_xcom_that_the_api_forbids_fails_the_task_with_the_reason(office: Office):
    office.api.fail("xcom_push", Fault.FORBIDDEN)
    assert office.run(office.attempt("pushes_and_pulls")) == 1
    assert "xcom_push of key 'k' failed: not for you (HTTP 403)" in office.log()


def test_a_report_that_is_refused_is_no_success(office: Office):
    office.api.fail("finish", Fault.FORBIDDEN)
    launched = office.launch(office.attempt("succeeds"))
    assert launched.wait() == 4
    assert launched.err.splitlines()[-1].endswith("the report was refused: not for you (HTTP 403)")


def test_a_forged_ticket_starts_nothing(office: Office):
    attempt_id = office.attempt("succeeds")
    launched = office.launch(attempt_id, ticket=office.ticket(attempt_id)[:-4] + "AAAA")
    assert launched.wait() == 3
    assert "the token is not valid: InvalidSignatureError (HTTP 401)" in launched.err
    assert office.state(attempt_id) == "queued"


def test_an_expired_ticket_starts_nothing(office: Office):
    attempt_id = office.attempt("succeeds")
    launched = office.launch(attempt_id, ticket=office.ticket(attempt_id, seconds=-10))
    assert launched.wait() == 3
    assert "the token has expired (HTTP 401)" in launched.err


def test_the_ticket_of_another_attempt_starts_nothing(office: Office):
    attempt_id, other = office.attempt("succeeds"), office.attempt("succeeds")
    launched = office.launch(attempt_id, ticket=office.ticket(other))
    assert launched.wait() == 3
    assert "the token belongs to another attempt (HTTP 403)" in launched.err


def test_a_report_is_given_up_when_its_token_has_expired(office: Office, tokens):
    tokens._lifetime = 2.0
    launched = office.launch(office.attempt("waits"))
    office.wait_note("running")
    office.api.down()
    (office.notes / "go").touch()
    assert launched.wait() == 4
    assert launched.err.splitlines()[-1].endswith(
        "the report was refused: this launch's token has expired: Connection refused"
    )
