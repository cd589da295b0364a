"""``hybrid tasks run`` against the API server itself."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from runtime.api.embedded import serve
from runtime.config import Settings
from runtime.tokens.keys import load_tokens
from tests.database.builders import World, spec, task
from tests.integration.worker_http.launches import Office, alive


@pytest.fixture
def served(world: World, settings: Settings, tmp_path) -> Iterator[Office]:
    """Attempts in the database that a real API server answers from."""
    tokens = load_tokens(settings)
    with serve(settings, world.database, tokens) as url:
        office = Office(world, SimpleNamespace(url=url), tokens, tmp_path)
        yield office
        office.close()


@pytest.mark.parametrize(("task_id", "code", "state"), [("returns", 0, "success"), ("fails", 1, "failed")])
def test_a_launch_reports_to_the_api_server(served: Office, task_id, code, state):
    attempt_id = served.attempt(task_id)
    launched = served.launch(attempt_id)
    assert launched.wait() == code, launched.err
    assert served.state(attempt_id) == state
    assert launched.err == ""


def test_xcoms_pass_through_the_api_server(served: Office):
    assert served.run(served.attempt("pushes_and_pulls")) == 0
    assert served.xcoms()["return_value"] == [{"n": 1}, "none"]


def test_a_branch_skips_and_a_task_triggers_through_the_api_server(served: Office):
    branch = served.attempt("branches", task("left", "branches"), task("right", "branches"))
    assert served.run(branch) == 0
    assert served.world.states(1) == {"branches": "success", "left": "none", "right": "skipped"}
    served.world.save(spec("child"), rel_path="child.py")
    assert served.run(served.attempt("triggers")) == 0
    (run,) = served.world.runs("child")
    assert (run.state, run.conf) == ("queued", '{"n": 1}')
    assert served.xcoms()["trigger_run_id"] == run.run_id


def test_the_api_server_refuses_a_second_launch(served: Office):
    attempt_id = served.attempt("waits")
    first = served.launch(attempt_id)
    served.wait_note("running")
    assert served.run(attempt_id) == 3
    (served.notes / "go").touch()
    assert first.wait() == 0


def test_a_task_that_was_cleared_is_stopped_by_its_next_heartbeat(served: Office):
    attempt_id = served.attempt("sleeps")
    launched = served.launch(attempt_id)
    (pid,) = served.wait_note("running")
    served.world.clear("d1")
    assert launched.wait() == 1, launched.err
    assert served.noted("finally") == ["done"]
    assert not alive(int(pid))
    assert served.row(attempt_id).state == "failed"


def test_the_api_server_refuses_a_ticket_of_another_key(served: Office, tokens):
    attempt_id = served.attempt("succeeds")
    launched = served.launch(attempt_id, ticket=tokens.start_ticket(attempt_id, 600.0))
    assert launched.wait() == 3
    assert "(HTTP 401)" in launched.err
