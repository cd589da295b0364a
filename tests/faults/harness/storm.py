"""Runs the plan against the site: one thread tends daemons, triggers runs, strikes and undoes, by one clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from deployment import wait_until_moment
from sqlalchemy.exc import DBAPIError

from harness.plan import Fault
from harness.site import Site
from harness.strikes import Striker, Struck
from harness.work import Trigger
from runtime.core.clock import now as clock_now
from runtime.core.errors import HybridError
from runtime.db.engine import Database
from runtime.db.runs import create_manual_run

TICK = 0.02
"""Seconds."""
STRIKE_PATIENCE = 30.0
"""Seconds for which a fault waits for something to strike."""
MOST_OPEN = 60
"""Runs: beyond them, nothing new is triggered."""


class Storm:
    """One thunderstorm. ``struck`` and ``missed`` say afterwards what became of the plan.

    :param say: takes a line of progress, every few seconds.
    """

    def __init__(
        self, site: Site, plan: Sequence[Fault], triggers: Sequence[Trigger], say: Callable[[str], None]
    ) -> None:
        self._site = site
        self._plan = list(plan)
        self._triggers = list(triggers)
        self._say = say
        self._striker = Striker(site)
        self._database = Database(site.url or "")
        self._began = 0.0
        self._open: list[Struck] = []
        self._looked = 0.0
        self._running = 0
        self.struck: list[Struck] = []
        self.missed: list[Fault] = []

    def rage(self) -> None:
        """Return when every fault has come and gone, and every run is triggered."""
        self._began = time.monotonic()
        said = 0.0
        try:
            while self._plan or self._open or self._triggers:
                now = time.monotonic() - self._began
                self._site.tend()
                self._undo()
                self._strike(now)
                self._trigger(now)
                if now >= said + 10.0:
                    said = now
                    self._say(f"{now:6.0f} s  {len(self.struck)} faults, {len(self._triggers)} runs to be triggered")
                wait_until_moment(time.monotonic() + TICK)
        finally:
            self._database.close()

    def _strike(self, now: float) -> None:
        for fault in [fault for fault in self._plan if fault.at <= now]:
            struck = self._striker.strike(fault)
            if struck is not None:
                self.struck.append(struck)
                if struck.ended is None:
                    self._open.append(struck)
            elif now < fault.at + STRIKE_PATIENCE:
                continue
            else:
                self.missed.append(fault)
            self._plan.remove(fault)

    def _undo(self) -> None:
        for struck in list(self._open):
            if time.monotonic() >= struck.due and struck.undo is not None and struck.undo():
                struck.ended = clock_now()
                self._open.remove(struck)

    def _trigger(self, now: float) -> None:
        if not self._triggers or self._triggers[0].at > now or self._is_full(now):
            return
        trigger = self._triggers[0]

        def create(connection: Any) -> None:
            create_manual_run(
                connection,
                dag_id=trigger.dag_id,
                run_id=trigger.run_id,
                conf={},
                logical_date=None,
                now=clock_now(),
            )

        try:
            self._database.transact(create)
        except HybridError as error:
            if "already has a run" not in str(error):
                raise
        except DBAPIError:
            return  # the server is away: later
        self._triggers.pop(0)
        self._running += 1

    def _is_full(self, now: float) -> bool:
        if now >= self._looked + 1.0:
            self._looked = now
            with suppress(psycopg.OperationalError):
                rows = self._site.query("SELECT count(*) AS n FROM dag_run WHERE state IN ('queued', 'running')")
                self._running = rows[0]["n"]
        return self._running >= MOST_OPEN
