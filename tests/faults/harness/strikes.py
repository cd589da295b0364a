"""How each fault of the plan is done, and undone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import journal
import psutil
import psycopg

from harness.plan import API, SCHEDULERS, WORKERS, Fault
from harness.site import Site
from runtime.core.clock import now as clock_now

LATENCY = 0.05
"""Seconds, each way: a scheduler's step takes some hundred times as long as it should, and its lease just holds."""
TITLES = {"local worker": "hybrid local-worker", "pool child": "hybrid celery-child", "zygote": "hybrid local-zygote"}
LAUNCH = ("hybrid task ", "hybrid tasks run ")
Undo = Callable[[], bool]
"""Returns whether it is done; else it is to be called again."""


@dataclass
class Struck:
    """A fault that was dealt. Moments in microseconds UTC."""

    fault: Fault
    began: int
    due: float
    """When it is to be undone, by ``time.monotonic()``."""
    undo: Undo | None = None
    ended: int | None = None
    """When what was hurt was there again; ``None`` while it is not."""
    runs: list[int] = field(default_factory=list)
    """What a scheduler held when it was struck: ids of open runs."""


class Striker:
    """For the thread that tends the site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def strike(self, fault: Fault) -> Struck | None:
        """Do it; ``None`` where there is nothing to strike just now."""
        struck = Struck(fault, clock_now(), time.monotonic() + fault.span)
        target, blow = fault.kind.target, fault.kind.blow
        if " > " in target:
            struck.undo = self._hurt_link(target, blow)
        elif target in (*SCHEDULERS, *WORKERS, API):
            struck.runs = self._runs_of(target) if target in SCHEDULERS else []
            return struck if self._hurt_daemon(struck, target, blow) else None
        elif target == "redis":
            struck.undo = self._hurt_redis(blow)
        elif target == "postgres":
            self._site.postgres.kill()
            struck.undo = self._site.postgres.recover
        else:
            return struck if self._hurt_process(struck, self._victims(target)) else None
        return struck

    def _hurt_daemon(self, struck: Struck, name: str, blow: str) -> bool:
        managed = self._site.manager[name]
        if not managed.is_running:
            return False
        pid = managed.daemon.pid
        if blow == "SIGSTOP":
            root = psutil.Process(pid)
            below = root.children(recursive=True) if name in WORKERS else []  # as a host that is suspended
            struck.undo = _stop(self._site.home, [root, *below])
            return True
        self._site.manager.end(name, signal.Signals[blow], struck.fault.span)
        struck.undo = lambda: managed.daemon.pid != pid
        return True

    def _hurt_process(self, struck: Struck, found: list[psutil.Process]) -> bool:
        if not found:
            return False
        victim = found[int(struck.fault.pick * len(found))]
        with suppress(psutil.NoSuchProcess):
            if struck.fault.kind.blow == "SIGSTOP":
                struck.undo = _stop(self._site.home, [victim])
            else:
                victim.kill()
                struck.ended = struck.began
            return True
        return False

    def _hurt_redis(self, blow: str) -> Undo:
        redis = self._site.redis
        if blow == "SIGSTOP":
            redis.freeze()
            return _done(redis.thaw)
        redis.kill()
        return _done(redis.start)

    def _hurt_link(self, link: str, blow: str) -> Undo:
        proxy = self._site.proxies[link]
        {
            "latency": lambda: proxy.latency(LATENCY),
            "cut": proxy.cut,
            "half-open": proxy.half_open,
            "only to server": lambda: proxy.one_way("to_server"),
            "only to client": lambda: proxy.one_way("to_client"),
        }[blow]()
        return _done(proxy.heal)

    def _victims(self, target: str) -> list[psutil.Process]:
        """In the order of their ids."""
        found = [child for child in psutil.Process().children(recursive=True) if _is(target, child)]
        return sorted(found, key=lambda process: process.pid)

    def _runs_of(self, name: str) -> list[int]:
        sql = (
            "SELECT r.id FROM dag_run r JOIN scheduler s ON s.id = r.lease_owner"
            " WHERE s.pid = ? AND s.ended_at IS NULL AND r.state = 'running'"
        )
        try:
            return [row["id"] for row in self._site.query(sql, self._site.manager[name].daemon.pid)]
        except psycopg.OperationalError:
            return []


def _is(target: str, process: psutil.Process) -> bool:
    """Not the attempt's own process, a fork that is titled as its supervisor: its death is the task's own failure."""
    with suppress(psutil.NoSuchProcess):
        title, parent = " ".join(process.cmdline()), process.parent()
        above = "" if parent is None else " ".join(parent.cmdline())
        if target != "supervisor":
            return title.startswith(TITLES[target]) and not above.startswith(TITLES[target])
        if title.startswith("hybrid remote-worker"):
            return bool(process.children()) and not above.startswith("hybrid remote-worker")
        return title.startswith(LAUNCH) and not above.startswith(LAUNCH)
    return False


def _stop(home: Path, processes: Iterable[psutil.Process]) -> Undo:
    """SIGSTOP, parents first; undone children first, and noted before: what wakes may be seen running for a moment."""
    stopped = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            stopped.append(process)

    def wake() -> bool:
        journal.note_waking(home, [process.pid for process in stopped])
        for process in reversed(stopped):
            with suppress(psutil.NoSuchProcess):
                process.resume()
        return True

    return wake


def _done(undo: Callable[[], object]) -> Undo:
    def once() -> bool:
        undo()
        return True

    return once
