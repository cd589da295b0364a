"""Errands of the DAG processor: forked children that load a DAG file to call its callbacks, or to plan its runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from runtime.authoring.defaults import Defaults
from runtime.core.clock import now as clock_now
from runtime.core.timetables import DueRun
from runtime.db.engine import Database, DatabaseAwayError
from runtime.db.errands import Call, accept_plan, claim_calls, has_calls, settle_call
from runtime.db.plans import PlanWanted, plans_wanted, put_plan_off
from runtime.processing.calling import call_back
from runtime.processing.child import Child
from runtime.processing.planning import plan
from runtime.secrets.access import Supply, serve
from runtime.secrets.masking import masker

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
"""Between two looks for errands."""
MOST_CALLS = 5
"""Callbacks of one kind, of one task or DAG, that get their full time."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an errand ended. ``runs``: (logical date, interval's start and end, run after) of a plan."""

    error: str | None = None
    runs: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ErrandOptions:
    """Seconds, folders, and how many children run at once."""

    dags_folder: Path
    log_folder: Path
    import_timeout: float
    callback_timeout: float
    max_workers: int
    log_level: str = "INFO"
    defaults: Defaults = Defaults()  # noqa: RUF009  frozen
    secrets: Supply = Supply()  # noqa: RUF009  frozen
    """Where connections and variables come from that the code asks for."""


class ErrandChild(Child[Answer]):
    """Does one errand."""

    def _decode(self, data: bytes) -> Answer:
        return _decoder.decode(data)

    def _failed(self, reason: str) -> Answer:
        return Answer(error=reason)


class Errands:
    """Looks for errands and sees to them; for the DAG processor's own thread. Nothing here blocks on user code.

    What a callback does is its own affair: whether it raised is told, and it is not called again. One whose child was
    not seen to end, because the processor died, is called again by the next one.
    """

    def __init__(self, database: Database, options: ErrandOptions, clock: Callable[[], int] = clock_now) -> None:
        self._database = database
        self._options = options
        self._clock = clock
        self._children: dict[ErrandChild, Call | PlanWanted] = {}
        self._answered: list[tuple[Call | PlanWanted, Answer]] = []
        """Not in the database yet."""
        self._next_look = float("-inf")

    @property
    def handles(self) -> list[int]:
        """Descriptors that are readable when there is a reason for :meth:`step`."""
        return [child.handle for child in self._children if child.handle is not None]

    @property
    def is_busy(self) -> bool:
        return bool(self._children)

    def step(self, now: float) -> float:
        """Take answers, look for errands when it is time, start children.

        :param now: monotonic seconds.
        :returns: seconds after which it wants to be called again.
        """
        for child in list(self._children):
            answer = child.poll(now)
            if answer is not None:
                self._answered.append((self._children.pop(child), answer))
                self._next_look = now
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            try:
                self._settle_answered()
                self._look(now)
            except DatabaseAwayError as error:
                log.warning("errands wait, the metadata DB is not to be had: %s", str(error.orig or error).strip())
        return max(0.0, self._next_look - now)

    def close(self) -> None:
        """Kill running children; their errands are done again by the next processor."""
        for child in list(self._children):
            child.kill()
            self._children.pop(child)

    def _look(self, now: float) -> None:
        room = self._options.max_workers - len(self._children)
        if room <= 0:
            return
        at, limit = self._clock(), self._seconds
        with self._database.read() as connection:
            plans = plans_wanted(connection, at, limit=room + len(self._children))
        under_way = {one.dag_id for one in self._children.values() if isinstance(one, PlanWanted)}
        for wanted in [one for one in plans if one.dag_id not in under_way][:room]:
            self._start(wanted, wanted.rel_path, partial(self._plan, wanted), 0.0, now)
        room = self._options.max_workers - len(self._children)
        if room > 0 and self._has_calls():
            calls = self._database.transact(
                lambda connection: claim_calls(connection, at, limit=room, seconds=limit + 30.0)
            )
            for call in calls:
                self._start(call, call.run.rel_path, partial(self._call, call), limit, now)

    def _has_calls(self) -> bool:
        """Asked first, for a look that finds nothing must not lock the database."""
        with self._database.read() as connection:
            return has_calls(connection)

    @property
    def _seconds(self) -> float:
        """That the callbacks of one request may take together."""
        return MOST_CALLS * self._options.callback_timeout

    def _start(
        self, errand: Call | PlanWanted, rel_path: str, job: Callable[[], Answer], afterwards: float, now: float
    ) -> None:
        limit = self._options.import_timeout
        try:
            child = ErrandChild(rel_path, lambda: msgspec.json.encode(job()), limit, now, afterwards=afterwards)
        except OSError as error:
            log.error("no process can be started for an errand: %s", error.strerror or error)  # noqa: TRY400
            return
        self._children[child] = errand

    # -- in the child ----------------------------------------------------------------------------------------------

    def _plan(self, wanted: PlanWanted) -> Answer:
        options = self._options
        serve(*options.secrets)
        try:
            runs = plan(options.dags_folder, wanted, options.defaults)
        except BaseException as error:
            return Answer(error=masker.text(f"{type(error).__name__}: {error}"))
        return Answer(
            runs=tuple((r.logical_date, r.data_interval_start, r.data_interval_end, r.run_after) for r in runs)
        )

    def _call(self, call: Call) -> Answer:
        options = self._options
        serve(*options.secrets)
        folders = options.dags_folder, options.log_folder
        return Answer(error=call_back(call, *folders, options.callback_timeout, options.log_level, options.defaults))

    # -- when it has ended -----------------------------------------------------------------------------------------

    def _settle_answered(self) -> None:
        while self._answered:
            self._settle(*self._answered[0])
            self._answered.pop(0)

    def _settle(self, errand: Call | PlanWanted, answer: Answer) -> None:
        if isinstance(errand, Call):
            if answer.error:
                log.warning("%s failed: %s", errand.name, answer.error)
            else:
                log.info("%s was called", errand.name)
            self._database.transact(lambda connection: settle_call(connection, errand.id))
            return
        if answer.error:
            log.warning("the runs of DAG %s cannot be planned: %s", errand.dag_id, answer.error)
            self._database.transact(lambda connection: put_plan_off(connection, errand, self._clock()))
            return
        runs = [DueRun(*run) for run in answer.runs]
        self._database.transact(lambda connection: accept_plan(connection, errand, runs, self._clock()))


_decoder = msgspec.json.Decoder(Answer)
