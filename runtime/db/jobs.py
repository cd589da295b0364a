"""Daemons that live, under the names that Airflow's ``jobs check`` has for them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select

from runtime.core.clock import SECOND
from runtime.db.components import API_SERVER, DAG_PROCESSOR, SILENT_SECONDS
from runtime.db.engine import database_clock
from runtime.db.schema import component, scheduler

_TYPES = {DAG_PROCESSOR: "DagProcessorJob", API_SERVER: "ApiServerJob"}


class Job(NamedTuple):
    """``heartbeat_at`` in microseconds."""

    job_type: str
    hostname: str
    pid: int
    heartbeat_at: int


def live_jobs(
    connection: Connection, *, scheduler_seconds: float, job_type: str | None = None, hostname: str | None = None
) -> list[Job]:
    """Those heard of last, first.

    :param scheduler_seconds: a scheduler that was silent for longer is not alive; others after ``SILENT_SECONDS``.
    """
    at = database_clock(connection)
    found = []
    for table, seconds in ((scheduler, scheduler_seconds), (component, SILENT_SECONDS)):
        query = select(table).where(table.c.ended_at.is_(None), table.c.heartbeat_at >= at - round(seconds * SECOND))
        for row in connection.execute(query):
            name = "SchedulerJob" if table is scheduler else _TYPES.get(row.kind, row.kind)
            found.append(Job(name, row.hostname, row.pid, row.heartbeat_at))
    chosen = [job for job in found if job_type in (None, job.job_type) and hostname in (None, job.hostname)]
    return sorted(chosen, key=lambda job: (-job.heartbeat_at, job.hostname, job.pid))
