"""The loop around the scheduler: let happen what is due, one step, and on to the next moment."""

from __future__ import annotations

import gc
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlalchemy import func, select

from benchmarks.simulation.clock import BEGINNING, VirtualClock, seeded_ids
from benchmarks.simulation.deployment import ApiServer, make_database, make_scheduler, simulated_settings
from benchmarks.simulation.executors import Decisions, SimulatedLane
from benchmarks.simulation.faults import Act, make_acts
from benchmarks.simulation.launches import Launches
from benchmarks.simulation.profiles import Profile, with_episodes
from benchmarks.simulation.workload import Arrival, Workload
from runtime.core.clock import SECOND
from runtime.db.engine import Database
from runtime.db.runs import create_manual_run
from runtime.db.schema import dag_run, run_is_open
from runtime.scheduler.main import GC_THRESHOLD
from runtime.scheduler.waking import Bell
from runtime.service.tasks import TaskService

STEP = 5_000
"""Microseconds of virtual time that a step takes: steps can be told apart in the database."""
SAMPLES = 20
"""How often memory is looked at."""
PATIENCE = 20.0
"""Times the span in which runs arrive, and an hour: what has not ended by then never will."""


@dataclass
class Spent:
    """Seconds of wall time, of CPU time too in all; PSS in MiB whenever another twentieth of the tasks was launched."""

    steps: array[float] = field(default_factory=lambda: array("d"))
    service: float = 0.0
    total: float = 0.0
    cpu: float = 0.0
    pss: list[float] = field(default_factory=list)


class Simulation:
    """One scheduler, its database in ``home``, and everything around it.

    :param acts: what people do meanwhile; default :func:`~benchmarks.simulation.faults.make_acts`.
    :param progress: told the number of attempts launched so far.
    """

    def __init__(
        self,
        home: Path,
        workload: Workload,
        profiles: Sequence[Profile],
        *,
        acts: Sequence[Act] | None = None,
        progress: Callable[[Simulation], None] = lambda _: None,
    ) -> None:
        self.workload = workload
        self.clock = VirtualClock()
        self.spent = Spent()
        self.decisions = Decisions()
        self.paused_dag = next(iter(workload.specs))
        self._profiles = [with_episodes(profile, workload.span) for profile in profiles]
        made = make_acts(self._profiles, self.paused_dag, workload.span) if acts is None else acts
        self._acts = deque(made)
        self._arrivals: deque[Arrival] = deque(workload.arrivals)
        self._progress = progress
        self._settings = simulated_settings(home, profiles)
        self._tasks = workload.tasks
        self._bell = Bell()

    @contextmanager
    def open(self) -> Iterator[Database]:
        """Make the database and the scheduler; afterwards both are gone."""
        with seeded_ids(self.workload.seed, self.clock):
            self.database = make_database(self._settings, self.workload)
            service = TaskService(self.database, on_report=self._bell, clock=self.clock)
            self.launches = Launches(self.workload.seed, self.clock, service, self.workload.outcome)
            infra_retries = self._settings.scheduler.infra_retries
            self.lanes = {
                p.name: SimulatedLane(p, self.clock, self.launches, self.decisions, infra_retries)
                for p in self._profiles
            }
            self.scheduler = make_scheduler(self._settings, self.database, self.lanes, self.clock, self._bell)
            self._api = ApiServer(self.database, self.clock.at)
            try:
                yield self.database
            finally:
                self.scheduler.finish()
                self.database.close()

    def run(self) -> None:
        """To the end of all runs, and until nobody holds anything any more; or until it is clear that this never comes.

        Raises what a step raises: the loop itself survives what one run does to it.
        """
        began, cpu = time.perf_counter(), time.process_time()
        last = BEGINNING + round((PATIENCE * self.workload.span + 3600) * SECOND)
        with _collecting_as_shipped():
            while not self._is_over() and self.clock.at < last:
                self.turn()
        self.spent.total, self.spent.cpu = time.perf_counter() - began, time.process_time() - cpu
        self._look_at_memory()

    def turn(self) -> None:
        """Everything of this moment, and one step; then it is the next moment."""
        hinted = self._arrive() | self._act()
        self._api.beat(self.clock.at)
        began = time.perf_counter()
        self.launches.happen()
        for lane in self.lanes.values():
            lane.turn()
            lane.tally()
        between = time.perf_counter()
        self.scheduler.step(hinted=hinted)
        ended = time.perf_counter()
        self.spent.service += between - began
        self.spent.steps.append(ended - between)
        if self.decisions.count >= self._tasks * len(self.spent.pss) / SAMPLES:
            self._look_at_memory()
        self._progress(self)
        self.clock.jump(max(self.clock.at + STEP, self._next_moment()))

    def _arrive(self) -> bool:
        arrived = False
        while self._arrivals and self._arrivals[0].at <= self.clock.at:
            run = self._arrivals.popleft()
            with self.database.write() as connection:
                create_manual_run(
                    connection,
                    dag_id=run.dag_id,
                    run_id=run.run_id,
                    conf={},
                    logical_date=None,
                    now=self.clock.at,
                    even_if_paused=True,
                )
            arrived = True
        return arrived

    def _act(self) -> bool:
        acted = False
        while self._acts and self._acts[0].at <= self.clock.at:
            act = self._acts.popleft()
            with self.database.write() as connection:
                act.act(connection)
            if act.forbids is not None:
                self.lanes[act.forbids[0]].ordered = act.forbids[1]
            acted = True
        return acted

    def _next_moment(self) -> int:
        soon = self.clock.at + round(self.scheduler.pause * SECOND)
        due = [soon, self._api.next_due]
        due += [queue[0].at for queue in (self._arrivals, self._acts) if queue]
        due += [moment for lane in self.lanes.values() if (moment := lane.wakes_at) is not None]
        if self.launches.next_due is not None:
            due.append(self.launches.next_due)
        return min(due)

    def _is_over(self) -> bool:
        busy = self._arrivals or self._acts or self.scheduler.memory.runs or self.scheduler.memory.handed
        if busy or self.launches.running or any(lane.held for lane in self.lanes.values()):
            return False
        with self.database.read() as connection:
            return not connection.execute(select(func.count()).select_from(dag_run).where(run_is_open)).scalar_one()

    def _look_at_memory(self) -> None:
        self.spent.pss.append(psutil.Process().memory_full_info().pss / 2**20)


@contextmanager
def _collecting_as_shipped() -> Iterator[None]:
    """The collector of garbage as ``hybrid scheduler`` sets it."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
