"""Why an attempt is still queued is shown wherever it is listed, as its executor's backend says it."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from runtime.db.schema import task_attempt

WHY = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."


@pytest.fixture
def queued(database, run):
    """Have the newest attempt of ``extract`` wait, with a reason or without."""

    def put(reason: str | None) -> None:
        with database.write() as connection:
            connection.execute(
                update(task_attempt).where(task_attempt.c.pid == 42).values(state="queued", reason=reason)
            )

    return put


@pytest.fixture
def states(hybrid):
    return lambda output: hybrid("tasks", "states-for-dag-run", "etl", "r1", "-o", output)


def test_the_states_of_a_run_say_so(queued, states):
    queued(WHY)
    assert [record["waiting_on"] for record in states("json").json] == [WHY, None]
    assert WHY in states("plain").out
    assert "waiting_on" in states("table").out


def test_without_a_reason_there_is_no_column(queued, states):
    queued(None)
    assert [record["waiting_on"] for record in states("json").json] == [None, None]
    for output in ("plain", "table"):
        assert "waiting_on" not in states(output).out


def test_a_reason_of_an_end_is_none_to_wait(database, queued, states):
    queued(WHY)
    with database.write() as connection:
        connection.execute(update(task_attempt).values(state="failed"))
    assert [record["waiting_on"] for record in states("json").json] == [None, None]


def test_so_does_the_heading_of_its_log(queued, hybrid):
    queued(WHY)
    assert (
        f"dispatch 2 on heavy: queued: {WHY}; it logged nothing" in hybrid("tasks", "logs", "etl", "r1", "extract").err
    )
