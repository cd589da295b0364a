"""Making the run of one date, or running again the one that is there: what a backfill does with each of its dates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, select, update

from runtime.core.ids import backfill_run_id
from runtime.core.states import RUN_FINISHED, RunState
from runtime.db.clearing import clear_tasks
from runtime.db.runs import insert_run, reopen
from runtime.db.schema import dag_run

IN_FLIGHT = "in flight"
ALREADY_EXISTS = "already exists"
MADE = "made"


class Reprocess(StrEnum):
    """Which of the runs that are there a backfill runs again; Airflow's ``--reprocess-behavior``."""

    NONE = "none"
    FAILED = "failed"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Making:
    """Whose runs are made: of a backfill, of a DAG's current version."""

    backfill_id: int
    dag_id: str
    version_id: str
    reprocess: Reprocess
    conf: dict[str, Any]
    actor: str


def unmakable(state: str, reprocess: Reprocess) -> str | None:
    """Why the run that is there, in ``state``, is left as it is; ``None`` where it is to run again."""
    if RunState(state) not in RUN_FINISHED:
        return IN_FLIGHT
    wanted = reprocess is Reprocess.COMPLETED or (reprocess is Reprocess.FAILED and state == RunState.FAILED)
    return None if wanted else ALREADY_EXISTS


def make_run(connection: Connection, making: Making, date: Row[Any], now: int) -> tuple[int | None, str]:
    """Make the run of a date, or run the one of that date again: its id, ``None`` where there is none, and why."""
    query = select(dag_run).where(dag_run.c.dag_id == making.dag_id, dag_run.c.logical_date == date.logical_date)
    present = connection.execute(query.with_for_update(key_share=True)).first()
    if present is None:
        made = insert_run(
            connection,
            dag_id=making.dag_id,
            run_id=backfill_run_id(date.logical_date),
            run_type="backfill",
            version_id=making.version_id,
            logical_date=date.logical_date,
            interval=(date.data_interval_start, date.data_interval_end),
            run_after=date.run_after,
            conf=making.conf,
            now=now,
            actor=making.actor,
            backfill_id=making.backfill_id,
        )
        return (made, MADE) if made is not None else (None, IN_FLIGHT)
    if why := unmakable(present.state, making.reprocess):
        return None, why
    _run_again(connection, making, present, now)
    return present.id, MADE


def _run_again(connection: Connection, making: Making, present: Row[Any], now: int) -> None:
    clear_tasks(connection, dag_id=making.dag_id, run_id=present.run_id, now=now)
    # A scheduled run stays one: the next scheduled run is counted from the newest that there is.
    run_type = present.run_type if present.run_type == "scheduled" else "backfill"
    values: dict[str, Any] = {"run_type": run_type, "backfill_id": making.backfill_id}
    if making.conf:
        values["conf"] = json.dumps(making.conf)
    connection.execute(update(dag_run).where(dag_run.c.id == present.id).values(values))
    # Where no task had begun, nothing was cleared, and the run is over still.
    state = connection.execute(select(dag_run.c.state).where(dag_run.c.id == present.id)).scalar_one()
    reopen(connection, present.id, state, now)
