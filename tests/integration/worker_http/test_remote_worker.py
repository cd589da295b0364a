"""One warm process runs attempt after attempt over HTTP, each in a fork of its own."""

from __future__ import annotations

import json
import signal
from typing import Any

from runtime.core.ids import uuid7
from tests.integration.worker_http.faulty_api import FaultyApi
from tests.integration.worker_http.launches import Office

CODE = """
import json, os, signal, sys
from runtime.config import load
from runtime.config.worker import remote_worker_config
from runtime.worker.remote import open_worker

worker = open_worker(remote_worker_config(load()))
signal.signal(signal.SIGTERM, lambda *_: worker.stop("the worker was asked to leave"))
signal.signal(signal.SIGINT, lambda *_: worker.stop("", kill=True))
for attempt_id, ticket in json.loads(os.environ["ATTEMPTS"]):
    ok, reason = worker.run(attempt_id, ticket)
    print(json.dumps([ok, reason, len(os.listdir("/proc/self/task")), worker._code.versions]), flush=True)
"""


def launch(office: Office, *attempts: str, tickets: dict[str, str] | None = None, **options: Any) -> Any:
    orders = [(attempt, (tickets or {}).get(attempt, office.ticket(attempt))) for attempt in attempts]
    return office.launch(attempts[0], code=CODE, ticket="", environment={"ATTEMPTS": json.dumps(orders)}, **options)


def answers(launched: Any) -> list[list[Any]]:
    assert launched.wait() == 0, launched.err
    return [json.loads(line) for line in launched.out.splitlines()]


def test_one_after_the_other(office: Office) -> None:
    """Each has a process of its own; between them the worker has one thread, so that it may fork."""
    attempts = [office.attempt("returns") for _ in range(3)]
    found = answers(launch(office, *attempts))
    assert [line[:3] for line in found] == [[True, "", 1]] * 3
    assert [office.state(attempt) for attempt in attempts] == ["success"] * 3
    assert len({office.row(attempt).pid for attempt in attempts}) == 3


def test_what_an_attempt_had_to_import_is_held_for_the_next(office: Office) -> None:
    attempts = [office.attempt("returns") for _ in range(2)]
    found = answers(launch(office, *attempts))
    assert [len(line[3]) for line in found] == [1, 2], "each is a file of its own"


def test_an_attempt_that_fails_is_reported_and_the_worker_goes_on(office: Office) -> None:
    bad, good = office.attempt("fails"), office.attempt("returns")
    found = answers(launch(office, bad, good))
    assert [line[0] for line in found] == [True, True]
    assert [office.state(bad), office.state(good)] == ["failed", "success"]


def test_what_is_not_to_run_runs_nothing(office: Office) -> None:
    """No attempt id, an attempt that there is not, a forged ticket, one that somebody else has started."""
    good = office.attempt("returns")
    unknown = uuid7()
    found = answers(launch(office, good, good, unknown, "no-id", tickets={"no-id": "x.y.z"}))
    assert [line[0] for line in found] == [True, False, False, False]
    assert "not started" in found[1][1]
    assert found[3][1] == "this is no attempt id"
    forged = office.attempt("returns")
    assert answers(launch(office, forged, tickets={forged: "a.b.c"}))[0][0] is False
    assert office.row(forged).state == "queued"


def test_a_stop_is_obeyed_and_reported(office: Office) -> None:
    waits, after = office.attempt("waits"), office.attempt("returns")
    launched = launch(office, waits, after)
    office.wait_note("running")
    launched.signal(signal.SIGTERM)
    assert [line[0] for line in answers(launched)] == [True, True]
    assert office.row(waits).state == "failed"
    assert "the worker was asked to leave" in office.row(waits).reason
    assert office.state(after) == "success"


def test_an_api_that_comes_back_is_waited_for(office: Office, api: FaultyApi) -> None:
    attempt = office.attempt("returns")
    api.down()
    launched = launch(office, attempt)
    launched.wait_line("gives no answer")
    api.up()
    assert answers(launched)[0][:2] == [True, ""]
    assert office.state(attempt) == "success"


def test_the_tickets_stay_out_of_sight(office: Office) -> None:
    attempt = office.attempt("waits")
    ticket = office.ticket(attempt)
    launched = launch(office, attempt, tickets={attempt: ticket})
    office.wait_note("running")
    launched.signal(signal.SIGINT)
    answers(launched)
    assert ticket not in launched.err
    assert ticket not in office.log()
