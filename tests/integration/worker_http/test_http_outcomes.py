"""``hybrid tasks run`` where nothing is in its way: each outcome, its exit code, and what the API was told."""

from __future__ import annotations

import pytest

from runtime.core.messages import Start
from runtime.core.task_api import TICKET_VARIABLE
from runtime.scheduler.tickets import ticket_folder, write_ticket
from tests.integration.worker_http.launches import Office


@pytest.mark.parametrize(
    ("task_id", "options", "code", "state"),
    [
        ("succeeds", {}, 0, "success"),
        ("skips", {}, 0, "skipped"),
        ("fails", {}, 1, "failed"),
        ("fails", {"retries": 1}, 1, "up_for_retry"),
        ("fails_for_good", {"retries": 1}, 1, "failed"),
    ],
)
def test_the_exit_code_says_what_was_reported(office: Office, task_id, options, code, state):
    attempt_id = office.attempt(task_id, **options)
    launched = office.launch(attempt_id)
    assert launched.wait() == code, launched.err
    assert office.state(attempt_id) == state
    assert (launched.out, launched.err) == ("", "")


def test_a_return_value_travels_with_the_report(office: Office):
    assert office.run(office.attempt("returns")) == 0
    assert office.xcoms() == {"return_value": {"a": [1, 2.5, None, "ü"]}}


def test_a_task_pushes_and_pulls_xcoms(office: Office):
    assert office.run(office.attempt("pushes_and_pulls")) == 0
    assert office.xcoms() == {"k": {"n": 1}, "return_value": [{"n": 1}, "none"]}


def test_what_a_task_says_is_in_the_attempts_log_and_nowhere_else(office: Office):
    launched = office.launch(office.attempt("floods"))
    assert launched.wait() == 0
    assert (launched.out, launched.err) == ("", "")
    lines = office.log().splitlines()
    assert len(lines) == 20_000 + 3
    assert lines[-1].endswith("success")


def test_the_service_learns_which_process_runs_user_code_and_where(office: Office):
    attempt_id = office.attempt("succeeds")
    assert office.run(attempt_id) == 0
    (pid,) = office.noted("ran")
    (start,) = office.api.requests("start")
    assert isinstance(start, Start)
    assert (start.pid, office.row(attempt_id).pid) == (int(pid), int(pid))
    assert start.hostname
    assert start.boot_id


def test_a_task_that_runs_longer_than_a_heartbeat_sends_them_with_ever_newer_tokens(office: Office):
    launched = office.launch(office.attempt("waits"), scheduler__task_heartbeat_sec="0.1")
    office.api.wait_count("heartbeat", 5)
    (office.notes / "go").touch()
    assert launched.wait() == 0
    assert len({seen.connection for seen in office.api.seen}) == 1
    assert office.api.statuses.count(("heartbeat", 200)) >= 5


def test_the_start_ticket_opens_nothing_but_the_start(office: Office):
    attempt_id = office.attempt("succeeds")
    ticket = office.ticket(attempt_id)
    assert office.run(attempt_id, ticket=ticket) == 0
    first, *others = office.api.token_seen
    assert first == ticket
    assert others
    assert ticket not in others


def test_a_command_alone_is_enough_on_the_schedulers_host(office: Office):
    attempt_id = office.attempt("succeeds")
    write_ticket(ticket_folder(office.home), attempt_id, office.ticket(attempt_id))
    assert office.run(attempt_id, ticket="") == 0
    assert list(ticket_folder(office.home).iterdir()) == []


def test_a_second_launch_of_an_attempt_runs_nothing_and_says_so(office: Office):
    attempt_id = office.attempt("waits")
    first = office.launch(attempt_id)
    office.wait_note("running")
    second = office.launch(attempt_id)
    assert second.wait() == 3
    (line,) = second.err.splitlines()
    assert line.endswith("not started: the attempt is running and the task instance running")
    (office.notes / "go").touch()
    assert first.wait() == 0
    assert len(office.noted("running")) == 1


def test_two_launches_at_once_run_user_code_once(office: Office):
    attempt_id = office.attempt("succeeds")
    codes = [launched.wait() for launched in [office.launch(attempt_id) for _ in range(3)]]
    assert sorted(codes) == [0, 3, 3]
    assert len(office.noted("ran")) == 1
    assert len({start.nonce for start in office.api.requests("start")}) == 3


# -- what cannot begin


def test_without_a_ticket_one_line_says_where_it_was_looked_for(office: Office):
    launched = office.launch(office.attempt("succeeds"), ticket="")
    assert launched.wait() == 2
    (line,) = launched.err.splitlines()
    assert line.startswith("hybrid: there is no start ticket for attempt ")
    assert TICKET_VARIABLE in line
    assert str(office.home / "run") in line
    assert office.api.seen == []


@pytest.mark.parametrize("ticket", ["a b", "täcket", "x\ty", "a\nX-Header: y"])
def test_what_cannot_be_a_ticket_is_none_and_is_not_quoted(office: Office, ticket):
    launched = office.launch(office.attempt("succeeds"), ticket=ticket)
    assert launched.wait() == 2
    assert ticket not in launched.err
    assert office.api.seen == []


@pytest.mark.parametrize("attempt_id", ["42", "../../etc/passwd", "0190A000-0000-7000-8000-000000000000"])
def test_what_is_no_attempt_id_is_a_usage_error(office: Office, attempt_id):
    launched = office.launch(attempt_id, ticket="t")
    assert launched.wait() == 2
    assert launched.err.startswith(f"hybrid: {attempt_id!r} is no attempt id")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"workers__start_patience": "soon"}, "[workers] start_patience"),
        ({"core__execution_api_server_url": "http://host:99999/execution/v1"}, "the task API's URL names no host"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_one_line(office: Office, settings, complaint):
    launched = office.launch(office.attempt("succeeds"), **settings)
    assert launched.wait() == 2
    (line,) = launched.err.splitlines()
    assert complaint in line
