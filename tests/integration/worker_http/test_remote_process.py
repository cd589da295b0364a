"""A supervisor in a process of its own: what its host is told, whatever happens to either."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from runtime.core.ids import uuid7
from tests.integration.worker_http.faulty_api import eventually
from tests.integration.worker_http.launches import ROOT, Office, alive, children

CODE = """
import json, os, resource, signal, sys, threading, time
from runtime.config import load
from runtime.config.worker import remote_worker_config
from runtime.worker.remote_process import start_worker

worker = start_worker(remote_worker_config(load()))
signal.signal(signal.SIGTERM, lambda *_: worker.stop("the worker was asked to leave"))
signal.signal(signal.SIGINT, lambda *_: worker.stop("", kill=True))
early = os.environ.get("EARLY")


def ask_to_leave(before):
    while worker._pid in (before, 0):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)


for number, (attempt_id, ticket) in enumerate(json.loads(os.environ["ATTEMPTS"])):
    if early == "kill" or early in ("replace", "starve") and number == 0:
        os.kill(worker._pid, signal.SIGKILL)
        os.waitid(os.P_PID, worker._pid, os.WEXITED | os.WNOWAIT)
    if early == "stop" and number == 0:
        worker.stop("too early")
    if early == "replace":
        threading.Thread(target=ask_to_leave, args=[worker._pid]).start()
    if early == "starve":
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 if number < 2 else limits[1], limits[1]))
    try:
        print(json.dumps(worker.run(attempt_id, ticket)), flush=True)
    except OSError as error:
        print(json.dumps(str(error)), flush=True)
"""


def launch(
    office: Office, *attempts: str, tickets: dict[str, str] | None = None, early: str = "", **options: Any
) -> Any:
    """:param early: what happens before an attempt begins; see ``CODE``."""
    orders = [(attempt, (tickets or {}).get(attempt, office.ticket(attempt))) for attempt in attempts]
    environment = {"ATTEMPTS": json.dumps(orders), "EARLY": early}
    return office.launch(attempts[0], code=CODE, ticket="", environment=environment, **options)


def answers(launched: Any) -> list[Any]:
    assert launched.wait() == 0, launched.err
    return [json.loads(line) for line in launched.out.splitlines()]


def test_attempts_run_one_after_the_other_in_one_supervisor(office: Office) -> None:
    attempts = [office.attempt("returns") for _ in range(3)]
    launched = launch(office, *attempts)
    assert answers(launched) == [[True, ""]] * 3
    assert [office.state(attempt) for attempt in attempts] == ["success"] * 3


def test_what_is_not_to_run_runs_nothing(office: Office) -> None:
    good, unknown = office.attempt("returns"), uuid7()
    found = answers(launch(office, good, good, unknown, "no-id", tickets={"no-id": "x.y.z"}))
    assert [line[0] for line in found] == [True, False, False, False]
    assert "not started" in found[1][1]


def test_a_stop_is_passed_on_and_reported(office: Office) -> None:
    waits, after = office.attempt("waits"), office.attempt("returns")
    launched = launch(office, waits, after)
    office.wait_note("running")
    launched.signal(signal.SIGTERM)
    assert [line[0] for line in answers(launched)] == [True, True]
    assert "the worker was asked to leave" in office.row(waits).reason
    assert office.state(after) == "success"


def test_a_start_that_nobody_answers_raises(office: Office, api: Any) -> None:
    attempt = office.attempt("returns")
    api.down()
    found = answers(launch(office, attempt, workers__start_patience="1"))
    assert found == ["the task service gave no answer for 1 s"]


def test_supervisor_that_is_killed_is_replaced(office: Office) -> None:
    """Its attempt dies with it; the host is told, and the next attempt runs."""
    waits, after = office.attempt("waits"), office.attempt("returns")
    launched = launch(office, waits, after)
    (pid,) = map(int, office.wait_note("running"))
    (supervisor,) = children(launched.pid)
    os.kill(supervisor, signal.SIGKILL)
    found = answers(launched)
    assert found[0] == "the process that supervised it killed by SIGKILL (out of memory?)", "the message goes back"
    assert found[1] == [True, ""]
    eventually(lambda: not alive(pid))
    assert office.state(after) == "success"


def test_supervisor_that_is_killed_while_nothing_runs_is_not_noticed(office: Office) -> None:
    attempts = [office.attempt("returns") for _ in range(2)]
    assert answers(launch(office, *attempts, early="kill")) == [[True, ""], [True, ""]]


def test_everything_dies_with_the_host(office: Office) -> None:
    waits = office.attempt("waits")
    launched = launch(office, waits)
    (pid,) = map(int, office.wait_note("running"))
    (supervisor,) = children(launched.pid)
    launched.signal(signal.SIGKILL)
    launched.wait()
    eventually(lambda: not alive(pid) and not alive(supervisor))


def test_a_stop_that_comes_before_the_attempt_has_it_go_back(office: Office) -> None:
    """Nothing has begun, so the host may hand it out again."""
    attempt = office.attempt("returns")
    launched = launch(office, attempt, attempt, early="stop")
    assert answers(launched) == ["it was stopped before it began", [True, ""]]
    assert office.state(attempt) == "success"


def test_a_stop_that_comes_while_a_supervisor_is_started_is_passed_on(office: Office) -> None:
    """The attempt is on its way already; without the stop it would wait for all time."""
    waits = office.attempt("waits")
    launched = launch(office, waits, early="replace")
    assert len(answers(launched)) == 1
    assert office.state(waits) == "failed"
    assert "the worker was asked to leave" in office.row(waits).reason
    assert office.noted("running") == []


def test_a_supervisor_that_cannot_be_started_is_tried_again(office: Office) -> None:
    """Where the one before was killed, and no descriptors were left for the next one."""
    attempt = office.attempt("returns")
    launched = launch(office, attempt, attempt, attempt, early="starve")
    found = answers(launched)
    assert [type(line) for line in found] == [str, str, list], found
    assert found[2] == [True, ""]
    assert office.state(attempt) == "success"


def test_user_code_has_the_environment_of_the_host(office: Office) -> None:
    """What the supervisor needs to find this package is no business of a task's."""
    attempt = office.attempt("shows_its_environment")
    assert answers(launch(office, attempt)) == [[True, ""]]
    shown = json.loads((office.notes / "environment").read_text())
    assert shown["PYTHONPATH"] == str(ROOT)
