"""Scheduled runs: exactly one for each date, none left out, none beyond what the DAG allows."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import text

from runtime.core.clock import SECOND
from runtime.core.ids import scheduled_run_id
from runtime.core.specs import TimetableSpec, encode
from runtime.db.engine import Database
from runtime.db.runs import create_manual_run, insert_run, set_paused
from runtime.db.schema import dag_run, dag_version, event
from runtime.scheduler.creation import create_due_runs
from runtime.scheduler.loading import GraphCache
from tests.database.builders import HOURLY, START, World, spec

HOUR = 3600 * SECOND


@pytest.fixture(autouse=True)
def _clock_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.db.dags.clock_now", lambda: START)


def create(world: World, limit: int = 100) -> int:
    with world.database.write() as connection:
        return create_due_runs(connection, world.graphs, limit=limit, at=world.at, actor="scheduler test")


def dates(world: World, dag_id: str = "d") -> list[int]:
    """Logical dates of the DAG's runs, in hours from START."""
    return [(row.logical_date - START) // HOUR for row in world.runs(dag_id)]


def hourly(dag_id: str = "d", since: int = -5, **options: Any) -> Any:
    usual = {"timetable": HOURLY, "start_date": START + since * HOUR, "catchup": True, "max_active_runs": 100}
    return spec(dag_id, **usual | options)


def wait_until_somebody_waits(database: Database) -> None:
    """For a lock, in a transaction on the same PostgreSQL database."""
    waiting = text("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    deadline = time.monotonic() + 30
    while True:
        with database.read() as connection:
            if connection.execute(waiting).first() is not None:
                return
        assert time.monotonic() < deadline


def end_all(world: World, dag_id: str = "d") -> None:
    with world.database.write() as connection:
        connection.execute(dag_run.update().where(dag_run.c.dag_id == dag_id).values(state="success"))


def test_catchup_creates_every_interval_that_has_ended(world: World) -> None:
    world.save(hourly())
    assert create(world) == 5
    assert dates(world) == [-5, -4, -3, -2, -1]
    first = world.runs("d")[0]
    assert (first.run_id, first.run_type, first.state) == (scheduled_run_id(START - 5 * HOUR), "scheduled", "queued")
    assert (first.data_interval_start, first.data_interval_end) == (START - 5 * HOUR, START - 4 * HOUR)
    assert first.run_after == START - 4 * HOUR
    assert create(world) == 0


def test_without_catchup_only_the_latest(world: World) -> None:
    world.save(hourly(catchup=False))
    create(world)
    assert dates(world) == [-1]


def test_time_brings_the_next_one_and_not_before(world: World) -> None:
    world.save(hourly(since=0))
    assert create(world) == 0
    world.at = START + HOUR - 1
    assert create(world) == 0
    world.at += 1
    assert create(world) == 1
    assert dates(world) == [0]


def test_limit_per_loop_leaves_the_rest_to_the_next(world: World) -> None:
    world.save(hourly())
    assert [create(world, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert dates(world) == [-5, -4, -3, -2, -1]


def test_no_more_open_runs_than_max_active_runs(world: World) -> None:
    world.save(hourly(max_active_runs=2))
    assert [create(world), create(world)] == [2, 0]
    end_all(world)
    assert create(world) == 2
    assert dates(world) == [-5, -4, -3, -2]


def test_many_dags_at_their_limit_hide_no_other(world: World) -> None:
    """Those that wait for their own runs stay due: they must not fill up the limit of every loop."""
    waiting = [hourly(f"a{number:02}", max_active_runs=1) for number in range(10)]
    world.save(*waiting, rel_path="waiting.py")
    for _ in range(3):
        create(world, limit=5)
    world.save(hourly("z", since=-1), rel_path="z.py")
    create(world, limit=5)
    assert dates(world, "z") == [-1]


def test_paused_dag_gets_none_and_then_only_the_latest_without_catchup(world: World) -> None:
    world.save(hourly(since=-1, catchup=False))
    create(world)
    with world.database.write() as connection:
        set_paused(connection, "d", True)
    world.at += 5 * HOUR
    assert create(world) == 0
    with world.database.write() as connection:
        set_paused(connection, "d", False)
    create(world)
    assert dates(world) == [-1, 4]


def test_paused_dag_with_catchup_misses_none(world: World) -> None:
    world.save(hourly(since=-1), paused=True)
    assert create(world) == 0
    world.at += 2 * HOUR
    with world.database.write() as connection:
        set_paused(connection, "d", False)
    create(world)
    assert dates(world) == [-1, 0, 1]


def test_inactive_dag_gets_none(world: World) -> None:
    world.save(hourly())
    world.save(spec("other"))
    assert create(world) == 0


def test_run_triggered_for_a_scheduled_date_stands_for_it(world: World) -> None:
    world.save(hourly(since=-3))
    world.trigger("d", logical_date=START - 3 * HOUR)
    create(world)
    assert dates(world) == [-3, -2, -1]
    assert [row.run_type for row in world.runs("d")] == ["manual", "scheduled", "scheduled"]


def test_run_triggered_for_a_scheduled_date_does_not_stop_the_schedule(world: World) -> None:
    """With room for one run at a time, the date that is taken must not use up the room."""
    world.save(hourly(since=-3, max_active_runs=1))
    for hour in (-3, -2):
        world.trigger("d", logical_date=START + hour * HOUR)
    create(world)
    assert dates(world) == [-3, -2, -1]


def test_end_date_is_the_last(world: World) -> None:
    world.save(hourly(end_date=START - 4 * HOUR))
    create(world)
    assert dates(world) == [-5, -4]
    assert world.dag("d").next_run_after is None


def test_dag_whose_schedule_cannot_be_told_stops_no_other(world: World) -> None:
    """A time zone that this machine no longer knows, or a spec of another version of this program."""
    world.save(hourly("a"), hourly("z"), rel_path="two.py")
    broken = hourly("a", timetable=TimetableSpec("cron", "0 * * * *", timezone="Mars/Olympus"))
    with world.database.write() as connection:
        connection.execute(dag_version.update().where(dag_version.c.dag_id == "a").values(spec=encode(broken).decode()))
    assert create(world) == 5
    assert (dates(world, "a"), len(dates(world, "z"))) == ([], 5)
    assert world.dag("a").next_run_after is None


def test_second_run_of_a_date_is_impossible(world: World) -> None:
    """Whatever the program believes, the unique key forbids it, and the transaction goes on."""
    world.save(hourly(since=-1))
    create(world)
    row = world.runs("d")[0]
    options = {"dag_id": "d", "run_type": "scheduled", "version_id": row.version_id, "interval": (None, None)}
    options |= {"run_after": START, "conf": {}, "now": START, "actor": "test"}
    with world.database.write() as connection:
        assert insert_run(connection, run_id="another", logical_date=row.logical_date, **options) is None
        assert insert_run(connection, run_id=row.run_id, logical_date=None, **options) is None
        assert insert_run(connection, run_id="another", logical_date=None, **options) is not None
    assert len(world.runs("d")) == 2
    assert [row.dag_run_id for row in world.rows(event)] == [run.id for run in world.runs("d")]


def test_a_date_that_somebody_triggers_at_this_moment_stops_no_scheduler(world: World, database: Database) -> None:
    """Each sees no run of the date, and the second one to insert waits for the first to commit."""
    world.save(hourly(since=-1))
    created: list[int] = []
    scheduler = threading.Thread(target=lambda: created.append(create(world)))
    with database.write() as connection:
        create_manual_run(
            connection, dag_id="d", run_id="mine", conf={}, logical_date=START - HOUR, now=START, even_if_paused=True
        )
        scheduler.start()
        if not database.is_sqlite:
            wait_until_somebody_waits(database)
    scheduler.join(60)
    assert created == [0]
    assert [run.run_id for run in world.runs("d")] == ["mine"]


def test_many_creators_at_once_create_each_date_once(world: World, database: Database) -> None:
    """Three schedulers look at the same moment, again and again."""
    world.save(*[hourly(f"d{number}", since=-8, max_active_runs=3) for number in range(4)])
    failures: list[BaseException] = []

    def look() -> None:
        graphs = GraphCache()
        try:
            for _ in range(12):
                with database.write() as connection:
                    create_due_runs(connection, graphs, limit=2, at=START, actor="one of many")
                    connection.execute(dag_run.update().values(state="success"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    look()  # where rows are locked, the others pass by: what nobody came to is left
    assert not failures
    for number in range(4):
        assert dates(world, f"d{number}") == [-8, -7, -6, -5, -4, -3, -2, -1]
