"""Putting a scheduler together from the settings: registry, service, lanes, memory, loop."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.errors import TaskServiceAwayError
from executors.registry import ConfiguredExecutor, ExecutorRegistry
from runtime.config import Settings
from runtime.config.parity import SCHEDULER, SIGNING_KEY, declare
from runtime.config.routing import make_router
from runtime.config.worker import remote_worker_config, worker_config
from runtime.db.engine import Database
from runtime.metrics.collector import Collector
from runtime.scheduler.duties import LoopOptions
from runtime.scheduler.lanes import Lane
from runtime.scheduler.leases import Identity
from runtime.scheduler.log_sink import LogSink
from runtime.scheduler.loop import Scheduler
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.memory import Memory
from runtime.scheduler.tickets import Tickets, needs_tickets, ticket_folder
from runtime.scheduler.waking import Bell, Waker
from runtime.secrets.keyring import Keyring
from runtime.service.tasks import TaskService

if TYPE_CHECKING:
    from runtime.tokens.tokens import Tokens as Signer

WORKER_ENTRY = "runtime.worker.warm:serve"


@dataclass(frozen=True)
class Assembly:
    """A scheduler that is ready to begin, and what belongs to it."""

    scheduler: Scheduler
    lanes: dict[str, Lane]
    registry: ExecutorRegistry
    waker: Waker

    @property
    def local_lanes(self) -> list[Lane]:
        return [lane for name, lane in self.lanes.items() if name in self.scheduler.policy.local]

    @property
    def remote_lanes(self) -> list[Lane]:
        return [lane for name, lane in self.lanes.items() if name not in self.scheduler.policy.local]


def assemble(
    settings: Settings,
    database: Database,
    registry: ExecutorRegistry,
    waker: Waker,
    load_tokens: Callable[[], Signer],
    stats: Collector | None = None,
) -> Assembly:
    """Make the parts and connect them; nothing runs yet.

    :param load_tokens: called only where an executor's launches need start tickets.
    :param stats: where figures go; default a collector of its own.
    """
    stats = stats or Collector()
    identity = Identity()
    bell = Bell(waker)
    keyring = Keyring(settings.home, settings.core.fernet_key)
    service = TaskService(database, on_report=bell, stats=stats, keyring=keyring)
    log_sink = LogSink(database, str(settings.logging.base_log_folder))
    _let_launches_find_hybrid()
    tickets = {entry.name.name: _tickets(settings, entry, load_tokens) for entry in registry}
    lanes = {
        entry.name.name: _lane(settings, registry, entry, service, log_sink, waker, tickets[entry.name.name], stats)
        for entry in registry
    }
    policy = LossPolicy(
        infra_retries=settings.scheduler.infra_retries,
        hostname=identity.hostname,
        local=frozenset(executor.name.name for executor in registry if executor.cls.is_local),
        piped=frozenset(name for name, ticketed in tickets.items() if ticketed is None),
    )
    # Where no executor needs tickets there may be no key, and none is made.
    keys = {SIGNING_KEY: load_tokens().key_id()} if any(tickets.values()) else {}
    options = replace(loop_options(settings), declared=json.dumps(declare(settings, SCHEDULER, keys)))
    memory = Memory(identity, make_router(settings, registry.names))
    scheduler = Scheduler(database, memory, lanes, policy, options, bell=bell, stats=stats)
    return Assembly(scheduler, lanes, registry, waker)


def loop_options(settings: Settings) -> LoopOptions:
    """What the loop reads of the settings."""
    section = settings.scheduler
    return LoopOptions(
        idle_sleep=section.scheduler_idle_sleep_time,
        job_heartbeat=section.job_heartbeat_sec,
        lease=section.lease_seconds,
        heartbeat_timeout=section.task_instance_heartbeat_timeout,
        queued_timeout=section.task_queued_timeout,
        runs_to_create=section.max_dagruns_to_create_per_loop,
        runs_to_claim=section.max_dagruns_per_loop_to_schedule,
    )


def _patient(service: TaskService) -> Callable[[Sequence[bytes]], list[bytes]]:
    """The service as an executor knows it: a database that is away is no failure of an executor."""

    def answer(requests: Sequence[bytes]) -> list[bytes]:
        try:
            return service(requests)
        except OperationalError as error:
            raise TaskServiceAwayError(" ".join(str(error.orig).split())) from error

    return answer


def _let_launches_find_hybrid() -> None:
    """Put the folder of our own ``hybrid`` at the end of ``PATH``: an executor that launches ``command`` on this host
    inherits it, whether or not our virtual environment is activated.
    """
    folder, path = os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)
    if folder not in path.split(os.pathsep):
        os.environ["PATH"] = f"{path}{os.pathsep}{folder}"


def _tickets(settings: Settings, executor: ConfiguredExecutor, load_tokens: Callable[[], Signer]) -> Tickets | None:
    if not needs_tickets(executor.cls):
        return None
    folder = ticket_folder(settings.home) if executor.cls.ticket_file else None
    tickets = Tickets(load_tokens(), settings.scheduler.task_queued_timeout, folder)
    tickets.sweep()
    return tickets


def _lane(
    settings: Settings,
    registry: ExecutorRegistry,
    executor: ConfiguredExecutor,
    service: TaskService,
    log_sink: LogSink,
    waker: Waker,
    tickets: Tickets | None,
    stats: Collector,
) -> Lane:
    name = executor.name.name

    def create(wake: Callable[[], None]) -> BaseExecutor:
        context = ExecutorContext(
            name=name,
            options=executor.options,
            stats=stats,
            task_service=_patient(service),
            worker_entry=WORKER_ENTRY,
            worker_config=(worker_config if executor.cls.is_local else remote_worker_config)(settings),
            callback_sink=lane.send_callback,
            log_sink=None if executor.cls.is_local else log_sink,
            wake=wake,
        )
        return registry.create(name, context)

    lane = Lane(
        name,
        class_name=executor.cls.__name__,
        create=create,
        wake_scheduler=waker,
        heartbeat_sec=settings.scheduler.scheduler_heartbeat_sec,
        call_deadline=settings.scheduler.executor_call_deadline,
        parallelism=executor.parallelism,
        tickets=tickets,
        stats=stats,
    )
    return lane
