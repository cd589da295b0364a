"""The real parts of a simulation: settings, a database in a home of its own, task service, scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import insert

from benchmarks.simulation.clock import VirtualClock
from benchmarks.simulation.profiles import Profile
from benchmarks.simulation.workload import Workload, routes
from executors.names import parse_executors
from runtime.config import Settings, load
from runtime.config.routing import make_router
from runtime.core.clock import SECOND
from runtime.core.specs import ParsedFile
from runtime.db import components
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database, open_database
from runtime.db.migrate import migrate
from runtime.db.schema import pool
from runtime.metrics.collector import Collector
from runtime.scheduler.assembly import loop_options
from runtime.scheduler.leases import Identity
from runtime.scheduler.loop import Scheduler
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.memory import Memory
from runtime.scheduler.waking import Bell

if TYPE_CHECKING:
    from benchmarks.simulation.executors import SimulatedLane
    from runtime.scheduler.lanes import Lane

QUEUED_TIMEOUT = 120
"""Seconds; shorter than shipped, so that a stuck launch does not make up the makespan."""


def simulated_settings(home: Path, profiles: Sequence[Profile]) -> Settings:
    """The defaults, but for what is simulated."""
    executors = ", ".join(f"{profile.name}:benchmarks.simulation.executors.SimulatedExecutor" for profile in profiles)
    return load(
        home,
        env={
            "HYBRID__CORE__EXECUTOR": executors,
            "HYBRID__CORE__EXECUTOR_ROUTES": routes(profiles),
            "HYBRID__CORE__EXECUTOR_FALLBACK": "unavailable, full, queued_longer_than=40",
            "HYBRID__CORE__DEFAULT_POOL_TASK_SLOT_COUNT": "10000000",
            "HYBRID__SCHEDULER__TASK_QUEUED_TIMEOUT": str(QUEUED_TIMEOUT),
        },
    )


def make_database(settings: Settings, workload: Workload) -> Database:
    """Migrated, with the workload's DAGs and pools in it."""
    migrate(settings)
    database = open_database(settings)
    store = DatabaseDagStore(database, paused_at_creation=False)
    for dag_id, spec in workload.specs.items():
        store.save(ParsedFile(f"{dag_id}.py", dag_id, (spec,)))
    with database.write() as connection:
        for name, slots in workload.pools.items():
            connection.execute(insert(pool).values(name=name, slots=slots, description=""))
    return database


def make_scheduler(
    settings: Settings, database: Database, lanes: Mapping[str, SimulatedLane], clock: VirtualClock, bell: Bell
) -> Scheduler:
    """As :func:`runtime.scheduler.assembly.assemble` does it, on the virtual clock; it has begun."""
    memory = Memory(Identity(), make_router(settings, parse_executors(settings.core.executor)))
    policy = LossPolicy(settings.scheduler.infra_retries, "simulated", local=())
    scheduler = Scheduler(
        database,
        memory,
        cast("Mapping[str, Lane]", lanes),
        policy,
        loop_options(settings),
        bell=bell,
        stats=Collector(),
        clock=clock,
    )
    scheduler.begin()
    return scheduler


class ApiServer:
    """Its heartbeats: while they come, attempts that report over HTTP may be called silent."""

    def __init__(self, database: Database, at: int) -> None:
        self._database = database
        self._next = at
        with database.write() as connection:
            self._id = components.register(connection, components.API_SERVER, at)

    @property
    def next_due(self) -> int:
        return self._next

    def beat(self, at: int) -> None:
        """Write one, if it is time."""
        if at >= self._next:
            self._next = at + round(components.BEAT_SECONDS * SECOND)
            with self._database.write() as connection:
                components.beat(connection, self._id, at)
