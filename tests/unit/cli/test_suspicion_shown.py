"""``hybrid tasks states-for-dag-run`` shows an attempt that is not heard of, before it is given up."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from runtime.core import clock
from runtime.db.schema import task_attempt, task_instance

SHOWN = "no heartbeat for {} s (host w1, pid 42); given up at 60 s"


@pytest.fixture
def beat(database, run):
    """Have ``extract`` run, with a last heartbeat so many seconds ago."""

    def beat(seconds: float, state: str = "running") -> None:
        at = clock.now() - round(seconds * clock.SECOND)
        with database.write() as connection:
            connection.execute(
                update(task_attempt).where(task_attempt.c.pid == 42).values(state=state, heartbeat_at=at, hostname="w1")
            )
            connection.execute(
                update(task_instance).where(task_instance.c.task_id == "extract").values(state=state, end_date=None)
            )

    return beat


@pytest.fixture
def states(hybrid):
    return lambda output: hybrid("tasks", "states-for-dag-run", "etl", "r1", "-o", output)


def test_a_silent_attempt_is_suspected(beat, states):
    beat(20)
    extract, load = states("json").json
    assert extract["suspicion"] in {SHOWN.format(seconds) for seconds in range(20, 26)}
    assert load["suspicion"] is None
    for output in ("table", "plain"):
        assert "no heartbeat for 2" in states(output).out


@pytest.mark.parametrize(("seconds", "state"), [(2, "running"), (500, "success"), (500, "failed")])
def test_nobody_else_is(beat, states, seconds, state):
    beat(seconds, state)
    assert [record["suspicion"] for record in states("json").json] == [None, None]
    for output in ("table", "plain"):
        assert "suspicion" not in states(output).out, "no column without news"


def test_patience_follows_the_configured_heartbeat(beat, states, monkeypatch):
    monkeypatch.setenv("HYBRID__SCHEDULER__TASK_HEARTBEAT_SEC", "30")
    beat(20)
    assert states("json").json[0]["suspicion"] is None
