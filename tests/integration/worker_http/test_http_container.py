"""``hybrid tasks run`` in a container that an executor has made: its log on stdout, and who tells of its end."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from runtime.db.schema import task_instance
from tests.integration.worker_http.launches import Launched, Office, eventually

CONTAINER = {"HYBRID_IS_EXECUTOR_CONTAINER": "True"}
STOPPED = "its supervisor got SIGTERM"


def launch(office: Office, task_id: str, **options: Any) -> Launched:
    return office.launch(office.attempt(task_id), environment=CONTAINER, **options)


def last_line(text: str) -> str:
    return text.splitlines()[-1].rpartition(" - ")[2]


# -- the log


def test_stdout_gets_the_whole_log(office: Office) -> None:
    launched = launch(office, "floods")
    assert launched.wait() == 0
    assert launched.out == office.log()
    assert len(launched.out) > 2_000_000


def test_it_can_be_watched_while_the_task_runs(office: Office) -> None:
    launched = launch(office, "talks")
    office.wait_note("running")
    eventually(lambda: "the first word" in launched.out)
    (office.notes / "go").touch()
    assert launched.wait() == 0
    assert launched.out == office.log()


def test_elsewhere_stdout_stays_empty(office: Office) -> None:
    launched = office.launch(office.attempt("talks"))
    (office.notes / "go").touch()
    assert launched.wait() == 0
    assert launched.out == ""


def test_what_a_crash_left_is_copied_too(office: Office) -> None:
    """And the supervisor's word on it."""
    launched = launch(office, "crashes")
    assert launched.wait() == 1
    assert launched.out == office.log()
    assert "the last word" in launched.out
    assert last_line(launched.out) == "killed by SIGKILL (out of memory?)"


def test_a_reader_who_does_not_read_holds_up_nothing(office: Office) -> None:
    """Heartbeats go on, the task ends, its report is taken; then he gets it all."""
    reader, writer = os.pipe()
    launched = launch(office, "floods", out=writer)
    os.close(writer)
    eventually(lambda: office.state(launched.attempt_id) == "success")
    assert launched.process.poll() is None, "it has not all been read yet"
    with open(reader, "rb") as stdout:
        copied = stdout.read()
    assert launched.wait() == 0
    assert copied.decode() == office.log()


def test_a_reader_who_is_gone_matters_to_nobody(office: Office) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    launched = launch(office, "floods", out=writer)
    os.close(writer)
    assert launched.wait() == 0
    assert len(office.log()) > 2_000_000


@pytest.fixture
def unwritable(tmp_path: Path) -> dict[str, str]:
    """Settings with a folder of logs that nobody can make, root neither."""
    (tmp_path / "file").touch()
    return {"logging__base_log_folder": str(tmp_path / "file" / "logs")}


def test_where_no_file_can_be_written_the_log_goes_to_stdout_alone(office: Office, unwritable: dict[str, str]) -> None:
    launched = launch(office, "floods", **unwritable)
    assert launched.wait() == 0
    assert "cannot write the log" in launched.out
    assert launched.out.count("x" * 100) == 20_000
    assert last_line(launched.out) == "success"


def test_there_the_supervisors_last_words_are_on_stderr(office: Office, unwritable: dict[str, str]) -> None:
    launched = launch(office, "crashes", **unwritable)
    assert launched.wait() == 1
    assert "the last word" in launched.out
    assert last_line(launched.err) == "killed by SIGKILL (out of memory?)"


def test_elsewhere_a_log_that_cannot_be_written_fails_the_attempt(office: Office, unwritable: dict[str, str]) -> None:
    launched = office.launch(office.attempt("succeeds"), **unwritable)
    assert launched.wait() == 1
    assert office.row(launched.attempt_id).reason.startswith("cannot write the log ")


# -- when it is taken away


def test_a_task_that_is_stopped_from_outside_is_not_reported(office: Office) -> None:
    """It has not failed: its executor says what became of its container, and whose fault that was."""
    launched = launch(office, "sleeps")
    office.wait_note("running")
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 4
    assert office.noted("finally") == ["done"]
    assert (office.state(launched.attempt_id), office.row(launched.attempt_id).reason) == ("running", None)
    assert f"{STOPPED}; its end is for its executor to tell" in launched.err
    assert last_line(launched.out) == STOPPED


def test_one_that_ends_well_all_the_same_is(office: Office) -> None:
    launched = launch(office, "ends_well_on_sigterm")
    office.wait_note("running")
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 0
    assert office.state(launched.attempt_id) == "success"


def test_one_that_was_cleared_is_for_that_is_waited_for(office: Office) -> None:
    """Here the container is taken away because the task is to begin anew."""
    launched = launch(office, "sleeps", scheduler__task_heartbeat_sec="30")
    office.wait_note("running")
    office.world.clear("d1")
    assert office.state(launched.attempt_id) == "restarting"
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 1
    row = office.row(launched.attempt_id)
    assert (row.state, row.reason) == ("failed", STOPPED)
    assert office.world.row(task_instance, task_instance.c.id == row.task_instance_id).state == "none"


def test_an_api_that_is_away_is_not_waited_for(office: Office) -> None:
    launched = launch(office, "sleeps")
    office.wait_note("running")
    office.api.down()
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 4
    assert office.state(launched.attempt_id) == "running"
