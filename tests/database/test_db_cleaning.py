"""``db clean`` deletes what is old and over, and nothing that anything still needs."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, update

from runtime.core.clock import SECOND
from runtime.db import cleaning
from runtime.db.cleaning import RULES
from runtime.db.engine import Database
from runtime.db.runs import insert_run
from runtime.db.schema import (
    component,
    dag,
    dag_run,
    dag_version,
    event,
    run_inbox,
    scheduler,
    task_attempt,
    task_instance,
    xcom,
)
from tests.database.builders import START, World, spec, task

ALL = list(RULES)
LATER = START + 10**12


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def ended_run(world: World, run_id: str, **values: object) -> int:
    """A run of ``d`` that ended at ``START``, with a task instance, an attempt, an XCom, an event and an inbox row."""
    with world.database.write() as db:
        version = world.dag("d").version_id
        run = insert_run(
            db,
            dag_id="d",
            run_id=run_id,
            run_type="manual",
            version_id=version,
            logical_date=None,
            interval=(None, None),
            run_after=START,
            conf={},
            now=START,
            actor="test",
        )
        row = {"state": "success", "end_date": START} | values
        db.execute(update(dag_run).where(dag_run.c.id == run).values(**row))
        instance = {"id": f"ti-{run}", "dag_run_id": run, "task_id": "t", "map_index": -1, "state": "success"}
        instance |= dict.fromkeys(("try_number", "max_tries", "dispatch_number", "infra_losses", "pool_slots"), 1)
        db.execute(insert(task_instance).values(**instance, pool="p", priority_weight=1, queue="q"))
        attempt = {"id": f"at-{run}", "task_instance_id": f"ti-{run}", "dag_run_id": run, "try_number": 1}
        attempt |= {
            "dispatch_number": 1,
            "state": "success",
            "executor": "x",
            "executor_reason": "",
            "queued_at": START,
        }
        db.execute(insert(task_attempt).values(**attempt, scheduler_id="s", version_id=version))
        row = {"dag_run_id": run, "task_id": "t", "map_index": -1, "key": "k", "value": "1", "attempt_id": "a"}
        db.execute(insert(xcom).values(**row, created_at=START))
        db.execute(insert(run_inbox).values(dag_run_id=run, kind="ended", created_at=START))
    return int(run or 0)


def clean(world: World, names: list[str] = ALL, at: int = LATER, batch: int = 2) -> dict[str, int]:
    """What went; as many as were counted before."""
    with world.database.read() as db:
        counted = cleaning.count(db, names, at)
    went = cleaning.clean(world.database, names, at, batch)
    assert went["dag_run"] == counted["dag_run"] if "dag_run" in names else True
    return went


def test_an_old_run_goes_with_all_that_it_has_in_batches(world: World) -> None:
    world.save(spec("d", task("t")))
    for number in range(5):
        ended_run(world, f"r{number}")
    assert clean(world)["dag_run"] == 5
    for table in (dag_run, task_instance, task_attempt, xcom, run_inbox, event):
        assert not world.rows(table), table.name


def test_what_is_younger_or_open_stays_whole(world: World) -> None:
    world.save(spec("d", task("t")))
    young = ended_run(world, "young", end_date=LATER + 1)
    open_ones = [ended_run(world, state, state=state) for state in ("running", "queued")]
    went = clean(world)
    assert (went["dag_run"], {run.id for run in world.runs("d")}) == (0, {young, *open_ones})
    assert {row.dag_run_id for row in world.rows(xcom)} == set(open_ones), "XComs of an ended run may go before it"
    assert {row.dag_run_id for row in world.rows(event)} == set(open_ones)
    assert len(world.rows(task_instance)) == len(world.rows(task_attempt)) == 3


def test_the_newest_scheduled_run_stays_for_the_next_is_counted_from_it(world: World) -> None:
    world.save(spec("d", task("t")))
    for number in range(3):
        ended_run(world, f"s{number}", run_type="scheduled", logical_date=START + number)
    ended_run(world, "manual", logical_date=START + 9)
    assert clean(world)["dag_run"] == 3
    assert [run.run_id for run in world.runs("d")] == ["s2"]


def test_the_newest_version_and_those_in_use_stay(world: World) -> None:
    world.save(spec("d", task("t")), file_hash="1")
    ended_run(world, "uses version 1", state="running")
    world.save(spec("d", task("t")), file_hash="2")
    world.save(spec("d", task("t")), file_hash="3")
    assert clean(world, ["dag_version"], at=10**17)["dag_version"] == 1
    assert {row.file_hash for row in world.rows(dag_version)} == {"1", "3"}


def test_a_dag_goes_when_it_is_gone_and_has_no_run(world: World) -> None:
    world.save(spec("d", task("t")), rel_path="d.py")
    world.save(spec("e", task("t")), rel_path="e.py")
    ended_run(world, "r", state="running")
    with world.database.write() as db:
        db.execute(update(dag).values(is_active=False, last_parsed_at=START))
    assert clean(world)["dag"] == 1
    assert [row.dag_id for row in world.rows(dag)] == ["d"]


def test_dead_daemons_go_unless_a_run_names_them(world: World) -> None:
    world.save(spec("d", task("t")))
    ended_run(world, "held", state="running", lease_owner=world.me.id)
    common = {"hostname": "h", "pid": 1, "started_at": START, "heartbeat_at": START}
    with world.database.write() as db:
        db.execute(update(scheduler).values(heartbeat_at=START))
        row = {"id": "dead", "pid_started": 1, "boot_id": "b", "lease_expires_at": START, "ended_at": START}
        db.execute(insert(scheduler).values(**common, **row))
        db.execute(insert(component).values(id="c", kind="api-server", **common))
    went = clean(world)
    assert (went["scheduler"], went["component"]) == (1, 1)
    assert [row.id for row in world.rows(scheduler)] == [world.me.id]


def test_daemons_that_live_are_kept(world: World) -> None:
    """Whatever the moment: a row that names no lease may be that of an idle scheduler."""
    living = {"id": "c", "kind": "api-server", "hostname": "h", "pid": 1, "started_at": START, "heartbeat_at": START}
    with world.database.write() as db:
        db.execute(update(scheduler).values(heartbeat_at=START, ended_at=None))
        db.execute(insert(component).values(living))
    assert cleaning.clean(world.database, ["job"], START + SECOND) == {"scheduler": 0, "component": 0}


def test_only_the_tables_that_are_asked_for(world: World) -> None:
    world.save(spec("d", task("t")))
    ended_run(world, "r")
    assert clean(world, ["log"]) == {"event": 1}
    assert len(world.runs("d")) == 1
