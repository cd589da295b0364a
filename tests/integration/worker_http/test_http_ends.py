"""However a launch ends, nothing of its attempt runs on, and the task API hears of it where it can."""

from __future__ import annotations

import os
import signal

import pytest

from runtime.worker import linux
from tests.integration.worker_http.faulty_api import Fault
from tests.integration.worker_http.launches import Office, alive, children, eventually

STOPPED = "its supervisor got SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_task_and_its_end_is_reported(office: Office, number):
    attempt_id = office.attempt("sleeps")
    launched = office.launch(attempt_id)
    office.wait_note("running")
    launched.signal(number)
    assert launched.wait() == 1
    assert office.noted("finally") == ["done"]
    assert office.state(attempt_id) == "failed"
    assert office.row(attempt_id).reason == f"its supervisor got {number.name}"
    assert office.log().splitlines()[-1].endswith(f"its supervisor got {number.name}")


def test_a_task_that_ignores_sigterm_is_killed_when_its_grace_is_over(office: Office):
    launched = office.launch(office.attempt("ignores_sigterm"), core__killed_task_cleanup_time="0.5")
    (pid,) = office.wait_note("running")
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 1
    assert not alive(int(pid))


def test_a_second_signal_kills_at_once_and_the_end_is_reported_all_the_same(office: Office):
    attempt_id = office.attempt("ignores_sigterm")
    launched = office.launch(attempt_id)  # whose grace is a minute
    office.wait_note("running")
    launched.signal(signal.SIGTERM)
    launched.wait_line("a second signal kills it")
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 1
    assert office.row(attempt_id).reason == STOPPED


def test_a_third_signal_does_not_wait_for_an_api_that_is_away(office: Office):
    launched = office.launch(office.attempt("ignores_sigterm"))
    (pid,) = office.wait_note("running")
    office.api.down()
    launched.signal(signal.SIGTERM)
    launched.wait_line("a second signal kills it")
    launched.signal(signal.SIGTERM)
    launched.wait_line("a third signal gives up its report")
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 4
    assert "the report was given up: a third signal" in launched.err
    assert not alive(int(pid))


def test_a_signal_while_the_api_is_away_ends_the_wait_for_the_start(office: Office):
    attempt_id = office.attempt("succeeds")
    office.api.down()
    launched = office.launch(attempt_id)
    launched.wait_line("gives no answer")
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 4
    assert "not started: " in launched.err.splitlines()[-1]
    office.api.up()
    assert office.state(attempt_id) == "queued"


def test_a_signal_is_obeyed_although_the_child_that_waits_for_the_start_is_dead(office: Office):
    office.api.down()
    launched = office.launch(office.attempt("succeeds"))
    launched.wait_line("gives no answer")
    os.kill(launched.child(), signal.SIGKILL)
    eventually(lambda: children(launched.pid) == [])
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 4


def test_a_start_that_is_granted_after_the_signal_is_reported_as_failed_and_runs_nothing(office: Office):
    attempt_id = office.attempt("succeeds")
    office.api.fail("start", Fault.SLOW)
    launched = office.launch(attempt_id, workers__execution_api_timeout="30")
    office.api.wait_count("start", 1)
    launched.signal(signal.SIGTERM)
    launched.wait_line("a second signal kills it")
    office.api.released.set()
    assert launched.wait() == 1
    assert office.noted("ran") == []
    assert (office.state(attempt_id), office.row(attempt_id).reason) == ("failed", STOPPED)


def test_a_killed_child_is_a_failure_with_its_cause(office: Office):
    attempt_id = office.attempt("sleeps")
    launched = office.launch(attempt_id)
    (pid,) = office.wait_note("running")
    os.kill(int(pid), signal.SIGKILL)
    assert launched.wait() == 1
    assert office.row(attempt_id).reason == "killed by SIGKILL (out of memory?)"


def test_children_and_daemons_of_a_task_are_gone_when_it_is_reported(office: Office):
    assert office.run(office.attempt("leaves_processes")) == 0
    left = [int(pid) for pid in office.noted("left")]
    assert len(left) == 2
    assert not any(alive(pid) for pid in left)


def test_daemons_of_a_task_that_is_stopped_are_gone_too(office: Office):
    launched = office.launch(office.attempt("leaves_processes_and_sleeps"))
    office.wait_note("running")
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 1
    (daemon,) = office.noted("left")
    assert not alive(int(daemon))


def test_a_killed_supervisor_takes_the_task_with_it(office: Office):
    """What the task has started in a session of its own is left to the next launch's scheduler."""
    launched = office.launch(office.attempt("sleeps"))
    (pid,) = office.wait_note("running")
    launched.signal(signal.SIGKILL)
    launched.wait()
    eventually(lambda: not alive(int(pid)))


def test_a_frozen_launch_does_no_harm_when_it_wakes(office: Office):
    attempt_id = office.attempt("waits")
    launched = office.launch(attempt_id, scheduler__task_instance_heartbeat_timeout="10")
    (pid,) = office.wait_note("running")
    asked = linux.boottime()
    launched.signal(signal.SIGSTOP)
    os.kill(int(pid), signal.SIGSTOP)
    eventually(lambda: linux.boottime() > asked + 6)
    os.kill(int(pid), signal.SIGCONT)
    launched.signal(signal.SIGCONT)
    assert launched.wait() == 4
    assert launched.err.splitlines()[-1].endswith("no heartbeat was acknowledged for 5 s")
    assert not alive(int(pid))
    assert office.api.requests("finish") == []


def test_stderr_that_nobody_reads_any_more_ends_nothing(office: Office):
    attempt_id = office.attempt("succeeds")
    office.api.down()
    launched = office.launch(attempt_id, deaf=True)
    eventually(lambda: len(children(launched.pid)) == 1)
    office.api.up()
    assert launched.wait() == 0
