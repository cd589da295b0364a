"""Why a task instance waits is shown wherever it is listed; ``hybrid tasks why`` has all that there is to say."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from runtime.db.schema import dag_run, task_attempt, task_instance

WHY = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."
UPSTREAM = "upstream: extract (queued); trigger rule all_success"


@pytest.fixture
def queued(database, run, live_scheduler):
    """Have the newest attempt of ``extract`` wait, with a reason or without."""

    def put(reason: str | None) -> None:
        with database.write() as connection:
            connection.execute(update(dag_run).values(state="running", lease_owner="alive"))
            connection.execute(update(task_instance).where(task_instance.c.task_id == "extract").values(state="queued"))
            connection.execute(
                update(task_attempt).where(task_attempt.c.pid == 42).values(state="queued", reason=reason)
            )

    return put


@pytest.fixture
def states(hybrid):
    return lambda output: hybrid("tasks", "states-for-dag-run", "etl", "r1", "-o", output)


def test_the_states_of_a_run_say_so(queued, states):
    queued(WHY)
    assert [record["waiting_on"] for record in states("json").json] == [f"executor heavy: {WHY}", UPSTREAM]
    assert WHY in states("plain").out
    assert "waiting_on" in states("table").out


def test_a_table_leaves_out_what_goes_without_saying(queued, states):
    queued(WHY)
    for output in ("plain", "table"):
        assert "upstream" not in states(output).out


def test_a_run_that_has_ended_waits_for_nothing(database, run, live_scheduler, states):
    with database.write() as connection:
        connection.execute(update(task_instance).values(state="success"))
    assert [record["waiting_on"] for record in states("json").json] == [None, None]
    assert "waiting_on" not in states("table").out


def test_so_does_the_heading_of_its_log(queued, hybrid):
    queued(WHY)
    assert (
        f"dispatch 2 on heavy: queued: {WHY}; it logged nothing" in hybrid("tasks", "logs", "etl", "r1", "extract").err
    )


def test_why_tells_everything(queued, hybrid, database):
    queued(None)
    told = hybrid("tasks", "why", "etl", "r1", "extract")
    assert (told.code, told.out) == (0, "extract is queued:\n  executor heavy: no live scheduler has it\n")
    assert hybrid("tasks", "why", "etl", "r1", "load", "-o", "json").json == [
        {"task_id": "load", "map_index": -1, "state": "none", "waiting_on": [UPSTREAM]}
    ]
    assert hybrid("dags", "pause", "etl").code == 0
    assert "the DAG is paused" in hybrid("tasks", "why", "etl", "r1", "load").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("etl", "r1", "lod"), "run r1 of DAG etl has no task 'lod'; did you mean load?"),
        (("etl", "r2", "load"), "r2"),
    ],
)
def test_unknown_names_are_one_line(queued, hybrid, words, told):
    result = hybrid("tasks", "why", *words)
    assert result.code == 1
    assert told in result.err
    assert result.err.count("\n") == 1
