"""What ``/api/v2/monitor/health`` says, and that it says it with 200 whatever it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from calling import Caller
from sqlalchemy import insert, update

from runtime.api.embedded import serve
from runtime.core.clock import SECOND, iso, now
from runtime.db import components
from runtime.db.engine import Database
from runtime.db.schema import executor_status, scheduler
from runtime.scheduler.leases import Identity, register

HEALTH = "/api/v2/monitor/health"


def health(api: Caller) -> dict[str, Any]:
    answer = api.get(HEALTH)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json


def write(database: Database, *statements: Any) -> None:
    with database.write() as connection:
        for statement in statements:
            connection.execute(statement)


def add_scheduler(database: Database, beat: int, **executors: str) -> str:
    """A scheduler that was last heard of at ``beat``, and what it says of its executors."""
    identity = Identity()
    with database.write() as connection:
        register(connection, identity, 60.0)
        connection.execute(update(scheduler).where(scheduler.c.id == identity.id).values(heartbeat_at=beat))
        for name, value in executors.items():
            row = {"class_name": name, "is_default": True, "parallelism": 1, "open_slots": 1, "queued": 0, "running": 0}
            values = {"scheduler_id": identity.id, "name": name, "health": value, "updated_at": beat, **row}
            connection.execute(insert(executor_status).values(values))
    return identity.id


def test_of_an_empty_deployment(api: Caller):
    found = health(api)
    assert found["metadatabase"] == {"status": "healthy"}
    assert found["scheduler"] == {"status": "unhealthy", "latest_scheduler_heartbeat": None}
    assert found["dag_processor"] == {"status": "unhealthy", "latest_dag_processor_heartbeat": None}
    assert found["triggerer"] == {"status": None, "latest_triggerer_heartbeat": None}
    assert found["api_server"]["status"] == "healthy"
    assert found["executors"] == {}


def test_of_a_deployment_that_runs(api: Caller, database):
    beat = now() - 29 * SECOND
    add_scheduler(database, beat, LocalExecutor="healthy")
    with database.write() as connection:
        components.register(connection, components.DAG_PROCESSOR, beat)
    found = health(api)
    assert found["scheduler"] == {"status": "healthy", "latest_scheduler_heartbeat": iso(beat)}
    assert found["dag_processor"] == {"status": "healthy", "latest_dag_processor_heartbeat": iso(beat)}
    assert found["executors"] == {"LocalExecutor": "healthy"}


def test_after_the_threshold_they_are_unhealthy_and_their_executors_unknown(api: Caller, database):
    beat = now() - 31 * SECOND
    add_scheduler(database, beat, LocalExecutor="healthy")
    with database.write() as connection:
        components.register(connection, components.DAG_PROCESSOR, beat)
    found = health(api)
    assert found["scheduler"] == {"status": "unhealthy", "latest_scheduler_heartbeat": iso(beat)}
    assert found["dag_processor"]["status"] == "unhealthy"
    assert found["executors"] == {}


def test_the_newest_scheduler_counts(api: Caller, database):
    add_scheduler(database, now() - 300 * SECOND)
    add_scheduler(database, now())
    assert health(api)["scheduler"]["status"] == "healthy"


def test_a_scheduler_that_has_ended_is_none(api: Caller, database):
    identifier = add_scheduler(database, now(), LocalExecutor="healthy")
    write(database, update(scheduler).where(scheduler.c.id == identifier).values(ended_at=now()))
    found = health(api)
    assert found["scheduler"]["status"] == "unhealthy"
    assert found["executors"] == {}


def test_of_several_schedulers_the_worst_word_on_an_executor_counts(api: Caller, database):
    add_scheduler(database, now(), a="healthy", b="unavailable", c="draining", d="healthy")
    add_scheduler(database, now(), a="degraded", b="healthy", c="paused", d="a word of later")
    expected = {"a": "degraded", "b": "unavailable", "c": "draining", "d": "a word of later"}
    assert health(api)["executors"] == expected


@pytest.mark.parametrize("kind", ["sqlite"])
def test_without_the_database_nothing_is_known_and_the_answer_is_still_200(api: Caller, database):
    """A file in whose place a folder is: no new connection can read from it."""
    database.engine.dispose()
    path = Path(database.engine.url.database)
    files = list(path.parent.glob(f"{path.name}*"))
    for file in files:
        file.rename(file.with_name(f"away-{file.name}"))
    path.mkdir()
    found = health(api)
    assert found["metadatabase"] == {"status": "unhealthy"}
    assert {found[name]["status"] for name in ("scheduler", "dag_processor", "api_server")} == {"unhealthy"}
    assert api.get("/metrics").status == 503
    path.rmdir()
    for file in files:
        file.with_name(f"away-{file.name}").rename(file)
    assert health(api)["metadatabase"] == {"status": "healthy"}


def test_a_database_that_does_not_answer_is_unhealthy(api: Caller, database, monkeypatch, wait_until):
    """Everybody who asks gets the same read's answer, so that it holds one thread only."""
    monkeypatch.setattr("runtime.api.reading.PATIENCE", 0.1)
    asked, go_on = [], []

    def hang(*_: object) -> object:
        asked.append(1)
        wait_until(lambda: go_on)
        raise AssertionError("its answer comes too late for anybody")

    monkeypatch.setattr("runtime.api.app.read_health", hang)
    try:
        assert [health(api)["metadatabase"]["status"] for _ in range(3)] == ["unhealthy"] * 3
        assert asked == [1]
    finally:
        go_on.append(1)


def test_metrics_are_the_figures_of_the_live_processes(api: Caller, world, queued, wait_until):
    from tests.database.builders import start

    assert api.ask(start(queued)).status == 200
    wait_until(lambda: b"hybrid_ti_start_total{" in api.get("/metrics").body)
    answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Cache-Control"] == "no-store"


def test_metrics_can_be_turned_off(options, database, tokens):
    options = replace(options, metrics=replace(options.metrics, prometheus_on=False))
    with serve(options, database, tokens) as url:
        assert Caller(url, tokens).get("/metrics").status == 404
