"""``hybrid scheduler``: the process around the loop, and how it stops."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from runtime.config import Settings
from runtime.config.executors import load_registry
from runtime.core.ids import uuid7
from runtime.db.engine import Database, open_database
from runtime.db.hints import open_hints
from runtime.logserver.child import LogServerChild
from runtime.metrics.reporting import make_collector
from runtime.scheduler.assembly import Assembly, assemble
from runtime.scheduler.leases import LeaseLostError
from runtime.scheduler.waking import Waker

if TYPE_CHECKING:
    from runtime.tokens.tokens import Tokens

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005
"""Seconds. The default of 5 ms is how long a lane waits for the interpreter while the loop is busy."""
GC_THRESHOLD = 20_000
"""Net allocations between two young collections: a step's rows alone are Python's 700, and none of them is garbage."""
GATHER = 0.002
"""Seconds between two steps at least: less than the shortest attempt takes, so that a chain does not feel it."""
DATABASE_PAUSE = 1.0
"""Seconds."""
KILL_SECONDS = 10.0
"""For the workers to be gone after they were told to stop at once."""


class Stop:
    """Counts the signals: the first asks for an end with grace, the second for one without."""

    def __init__(self, waker: Waker) -> None:
        self.count = 0
        self._waker = waker

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._waker()


def run_scheduler(settings: Settings, *, serve_logs: bool = True) -> int:
    """Run until SIGTERM or SIGINT; 0, or 1 when another scheduler has declared this one dead.

    :param serve_logs: have a log server beside it where an executor's class asks for one.

    Raises :class:`HybridError` or :class:`ExecutorConfigError` where it cannot begin.
    """
    registry = load_registry(settings)
    for warning in registry.warnings:
        log.warning("%s", warning)
    database = open_database(settings, "hybrid scheduler")
    waker = Waker(open_hints(settings, database, uuid7()))
    stop = Stop(waker)
    stop.install()
    sys.setswitchinterval(SWITCH_INTERVAL)
    stats, statsd = make_collector(settings.metrics)
    assembly = assemble(settings, database, registry, waker, lambda: _tokens(settings), stats)
    wanted = serve_logs and any(executor.cls.serve_logs for executor in registry)
    log_server = LogServerChild(settings) if wanted else None
    try:
        return _run(assembly, stop, settings.scheduler.shutdown_grace, log_server)
    finally:
        _close(assembly, database)
        if log_server is not None:
            log_server.close()
        if statsd is not None:
            statsd.close()


def _tokens(settings: Settings) -> Tokens:
    from runtime.tokens.keys import load_tokens

    return load_tokens(settings)


def _run(assembly: Assembly, stop: Stop, grace: float, log_server: LogServerChild | None = None) -> int:
    scheduler = assembly.scheduler
    for lane in assembly.lanes.values():
        lane.start()
    scheduler.begin()
    log.info("scheduler %s has begun; executors: %s", scheduler.memory.identity.id, ", ".join(assembly.lanes))
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    try:
        hinted = True
        while not stop.count:
            if log_server is not None:
                log_server.tend()
            hinted = _turn(assembly, hinted)
        _shut_down(assembly, stop, grace)
    except LeaseLostError as error:
        scheduler.stats.incr("scheduler.lease_lost")
        log.critical("%s; its runs belong to others now, so it stops at once", error)
        _kill_local(assembly)
        return 1
    return 0


def _turn(assembly: Assembly, hinted: bool) -> bool:
    """One step and the wait after it; return whether a hint came."""
    scheduler = assembly.scheduler
    began = time.monotonic()
    try:
        scheduler.step(hinted=hinted)
        pause = scheduler.pause
        ended = time.monotonic()
    except OperationalError as error:
        log.warning("the metadata DB is not to be had, again in %g s: %s", DATABASE_PAUSE, str(error.orig).strip())
        return assembly.waker.wait(DATABASE_PAUSE)
    scheduler.stats.timing("scheduler.scheduler_loop_duration", ended - began)
    hinted = assembly.waker.wait(pause)
    # A step costs the same for one report as for ten: those of the next moment join the ones that woke us.
    time.sleep(max(0.0, ended + GATHER - time.monotonic()))
    return hinted


def _shut_down(assembly: Assembly, stop: Stop, grace: float) -> None:
    """Dispatch nothing more; let local attempts finish for ``grace`` seconds, then stop them. Remote ones run on."""
    scheduler = assembly.scheduler
    scheduler.dispatching = False
    deadline = time.monotonic() + grace
    log.info("stopping; local attempts get %g s to finish", grace)
    while _local_work(assembly) and stop.count == 1 and time.monotonic() < deadline:
        _last_write(scheduler.step)
        assembly.waker.wait(min(0.5, max(0.05, scheduler.pause)))
    left = _local_work(assembly)
    if left:
        log.warning("%d local attempts are stopped; they run again when a scheduler is back", left)
    _kill_local(assembly)
    for lane in assembly.remote_lanes:
        lane.detach()
    _last_write(scheduler.step)
    while scheduler.memory.quiescing and time.monotonic() < deadline + KILL_SECONDS:
        assembly.waker.wait(scheduler.pause)
        _last_write(scheduler.step)
    _last_write(scheduler.finish)
    log.info("scheduler %s has ended", scheduler.memory.identity.id)


def _last_write(write: Callable[[], None]) -> None:
    """What cannot be written any more is found by the next scheduler, when it buries this one."""
    try:
        write()
    except OperationalError as error:
        log.warning("the metadata DB is not to be had while the scheduler ends: %s", str(error.orig).strip())


def _local_work(assembly: Assembly) -> int:
    local = assembly.scheduler.policy.local
    return sum(handed.executor in local for handed in assembly.scheduler.memory.handed.values())


def _kill_local(assembly: Assembly) -> None:
    for lane in assembly.local_lanes:
        lane.terminate()
    for lane in assembly.local_lanes:
        if not lane.join(KILL_SECONDS):
            log.error("executor %s is stuck and could not be ended", lane.name)


def _close(assembly: Assembly, database: Database) -> None:
    for lane in assembly.local_lanes:
        lane.terminate()
    for lane in assembly.remote_lanes:
        # However this scheduler ends: what runs elsewhere is adopted by the next one, or is no longer ours to stop.
        lane.detach()
    for lane in assembly.lanes.values():
        lane.join(1.0)
    assembly.waker.close()
    database.close()
