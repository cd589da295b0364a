"""The scheduler's loop: take what the lanes brought, do one step in one transaction, hand over what it decided."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, update
from sqlalchemy.exc import OperationalError

from executors.events import Failed, Lost, Succeeded
from runtime.core.clock import SECOND
from runtime.core.clock import now as clock_now
from runtime.core.states import IllegalTransitionError
from runtime.db.engine import Database
from runtime.db.postgres import ConflictError
from runtime.db.schema import dag_run
from runtime.db.transitions import GuardRefusedError
from runtime.metrics.collector import Collector
from runtime.scheduler import leases, past
from runtime.scheduler.backfilling import advance_backfills
from runtime.scheduler.creation import create_due_runs
from runtime.scheduler.duties import Brought, LoopOptions, Schedule
from runtime.scheduler.exchange import Exchange, Offers
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import Lane
from runtime.scheduler.limits import NOT_NOW, read_pools
from runtime.scheduler.loading import (
    claim,
    claimable_runs,
    drop_stray_inbox_rows,
    has_work,
    paused_dags,
    release_forgotten,
    reload,
)
from runtime.scheduler.losses import LossPolicy, resolve, settle_quiet
from runtime.scheduler.memory import Handed, Memory
from runtime.scheduler.orders import StandingOrders
from runtime.scheduler.recording import record_accepted, record_callbacks, record_pending
from runtime.scheduler.recovery import recover, stop_cleared, tell_of_ends
from runtime.scheduler.rerouting import reroute_waiting
from runtime.scheduler.runs import RunModel
from runtime.scheduler.sharing import PATIENCE, Shares
from runtime.scheduler.silence import Silence
from runtime.scheduler.status import gauge_lanes, write_status
from runtime.scheduler.step import Slots, Step
from runtime.scheduler.timeouts import check_queued, fire_timers
from runtime.scheduler.waking import Bell
from runtime.service.figures import count_batch, time_scheduled

log = logging.getLogger(__name__)

QUIET_CHECK = 0.02
"""Seconds between two looks for processes of lost attempts."""
STALL = 5.0
"""A loop that took longer may have left reports unread: nobody is called silent for one full timeout after it."""
CHORES = 10.0
"""Seconds between two rounds of what nobody waits for: stuck attempts, stray rows, limits changed from outside."""
SILENCE = 2.0
"""Seconds between two looks for attempts without a heartbeat, which are told at most so much later."""
BURIED = "scheduler.schedulers_buried"
_RACES = (GuardRefusedError, IllegalTransitionError, ConflictError)


class Scheduler:
    """One scheduler process's loop. :meth:`step` is its body; :mod:`runtime.scheduler.main` drives it.

    :param lanes: by executor name, in the order of ``[core] executor``; started by the caller.
    :param bell: rung when an inbox has news; without it every step reads the inbox.
    :param stats: its figures, written with each renewal of the lease.
    """

    def __init__(
        self,
        database: Database,
        memory: Memory,
        lanes: Mapping[str, Lane],
        policy: LossPolicy,
        options: LoopOptions,
        *,
        bell: Bell | None = None,
        stats: Collector | None = None,
        clock: Callable[[], int] = clock_now,
    ) -> None:
        self.database = database
        self.memory = memory
        self.lanes = lanes
        self.policy = policy
        self.options = options
        self.dispatching = True
        """False: claim and start nothing new, only see to what runs."""
        self.stats = stats or Collector()
        self._bell = bell
        self._clock = clock
        self._schedule = Schedule()
        self._again = False
        self._last_step = clock()
        self._silence = Silence(self._last_step, by_database_clock=clock is clock_now)
        self._orders = StandingOrders(lanes)
        self._shares = Shares()
        self._exchange = Exchange(lanes, memory, policy, self.stats, self._orders)
        self._shown: dict[str, Health] = {}
        self._brought = Brought()
        """Of a step that was undone."""

    def begin(self) -> None:
        """Register this scheduler; bury dead ones, so that their runs can be claimed."""
        with self.database.write() as connection:
            leases.register(connection, self.memory.identity, self.options.lease, self.options.declared)
            others = leases.bury_dead(connection, self.memory.identity)
        self._meet(others.live)
        self._count({BURIED: len(others.dead)})

    def finish(self) -> None:
        """Give the runs back."""
        with self.database.write() as connection:
            leases.end(connection, self.memory.identity.id)

    @property
    def pause(self) -> float:
        """Seconds until there is something to do by itself."""
        if self._again:
            return 0.0
        seconds = self.options.idle_sleep
        if self.memory.quiescing:
            seconds = min(seconds, QUIET_CHECK)
        due = self.memory.timers.next_due
        return seconds if due is None else max(0.0, min(seconds, (due - self._clock()) / SECOND))

    def step(self, *, hinted: bool = False) -> None:
        """Do everything there is to do now.

        Raises :class:`~runtime.scheduler.leases.LeaseLostError`, and ``OperationalError`` while the DB is not to be
        had: nothing was changed then, and the same step may be tried again.
        """
        at = self._clock()
        if at - self._last_step > STALL * SECOND:
            self._silence.forgive(at)
        if at < self._last_step:
            # The clock was set back: no duty, the lease's renewal above all, may wait for the old time to come again.
            self._schedule = Schedule()
        self._last_step = at
        brought, self._brought = self._exchange.take(self._brought), Brought()
        look = self._schedule.is_due("look", at, self.options.idle_sleep) or hinted
        reported = self._bell is None or self._bell.hush()
        if not hinted and (self._is_idle(at, brought) or not (look or reported or self._must_write(at, brought))):
            self._let_go(brought)
            return
        self._again = False
        try:
            self._transact(at, lambda step: self._decide(step, brought, look))
        except _RACES as error:
            log.info("a step was undone, its runs are read again: %s", error)
            self._brought = brought
            self._again = True
        except OperationalError:
            self._brought = brought
            self._schedule.look = 0
            self._silence.forgive(at)  # heartbeats could not be written either
            raise
        except _UndoneError as undone:
            self._isolate(at, undone, brought)

    def _is_idle(self, at: int, brought: Brought) -> bool:
        """Whether a step would change nothing: an idle scheduler asks the DB one question a second."""
        memory, schedule = self.memory, self._schedule
        news = brought.final or brought.accepted or brought.pending or brought.callbacks or self._again
        if (
            news
            or memory.runs
            or memory.handed
            or memory.quiescing
            or (memory.timers.next_due or at + 1) <= at  # an ended run's, too: it must not wake us again and again
            or at >= min(schedule.lease, schedule.burial, schedule.status, schedule.chores)
        ):
            return False
        with self.database.read() as connection:
            return not has_work(connection, at) and not self._orders.has_changed(connection)

    def _must_write(self, at: int, brought: Brought) -> bool:
        """Whether what the lanes brought has consequences. Mostly it has none: an attempt whose report was applied in
        an earlier step frees its slot, and nobody waits for one.
        """
        memory = self.memory
        due = memory.timers.next_due
        return bool(
            self._again
            or brought.accepted
            or brought.pending
            or brought.callbacks
            or memory.stale
            or memory.quiescing
            or memory.ready
            or (due is not None and due <= at)
            or any(memory.is_open(fact.key.attempt_id) for fact in brought.final)
        )

    def _let_go(self, brought: Brought) -> None:
        for fact in brought.final:
            self.memory.handed.pop(fact.key.attempt_id, None)

    # -- the transaction -----------------------------------------------------------------------------------------

    def _transact(self, at: int, decide: Callable[[Step], Offers]) -> None:
        step: Step | None = None
        try:
            with self.database.write() as connection:
                leases.hold(connection, self.memory.identity)
                step = Step(self.memory, connection, at)
                offers = decide(step)
                step.write()
        except Exception as error:
            if step is None or isinstance(error, leases.LeaseLostError):
                raise
            self._undo(step)
            if isinstance(error, (*_RACES, OperationalError)):
                raise
            raise _UndoneError([*step.touched, *(step.claimed - step.touched.keys())]) from error
        self._hand_over(step, offers)

    def _decide(self, step: Step, brought: Brought, look: bool) -> Offers:
        loaded = self._reload(step)
        self._again = step.read_inbox()
        stop_cleared(step)
        record_accepted(step.connection, brought.accepted)
        record_pending(step.connection, brought.pending, self.memory.handed)
        record_callbacks(step.connection, brought.callbacks, step.at)
        resolve(step, self.policy, brought.final)
        self._free(step, brought)
        settle_quiet(step, self.policy)
        fire_timers(step)
        if look:
            loaded += self._look_around(step)
        offers = recover(step, self.policy, loaded) if loaded else {}
        self._again |= step.dispatch(self._slots())
        step.finish_runs()
        self._let_go_of_runs(step)
        self._report_in(step)
        return offers

    def _look_around(self, step: Step) -> list[RunModel]:
        connection, memory = step.connection, self.memory
        self._refresh_pauses(connection)
        if self._orders.look(connection):
            self._schedule.status = 0  # whoever gave them waits to see them followed
        if self._schedule.is_due("silence", step.at, SILENCE):
            self._silence.check(step, self.policy, self.options.heartbeat_timeout)
        if self._schedule.is_due("burial", step.at, self.options.renewal):
            self._look_at_others(step)
        if self._schedule.is_due("chores", step.at, CHORES):
            self._do_chores(step)
        elif self._waits_for_others() and self._schedule.is_due("limits", step.at, self.options.idle_sleep):
            # Nobody tells what another scheduler gives back. Not at each hint: it looks at all that waits.
            memory.ready.look_again(read_pools(connection, lock=False))
        if not self.dispatching:
            return []
        if self._schedule.is_due("rerouting", step.at, SILENCE):
            reroute_waiting(step, self._slots())
        options = self.options
        create_due_runs(connection, memory.graphs, limit=options.runs_to_create, at=step.at, actor=step.batch.actor)
        advance_backfills(connection, limit=options.runs_to_create, at=step.at, actor=step.batch.actor)
        most, besides = options.runs_to_claim, memory.quarantined
        room = self._shares.room(connection, memory.identity, most=most, besides=besides, at=step.at)
        rows = claimable_runs(connection, room, besides=besides) if room else []
        if len(rows) == options.runs_to_claim:
            self._look_soon()
        return self._claim(step, rows)

    def _waits_for_others(self) -> bool:
        return self._shares.are_shared and self.memory.ready.waits_for_others

    def _look_at_others(self, step: Step) -> None:
        others = leases.bury_dead(step.connection, self.memory.identity)
        step.counted[BURIED] += len(others.dead)
        self._meet(others.live)

    def _meet(self, others: list[str]) -> None:
        self._shares.meet(others)
        self.memory.pools.has_others = bool(others)

    def _let_go_of_runs(self, step: Step) -> None:
        """Leave to other schedulers what is theirs to decide; all that rests, when this one is about to end."""
        surplus = self._shares.surplus if self.dispatching else len(self.memory.runs)
        if surplus and self._shares.are_shared and self._schedule.is_due("sharing", step.at, PATIENCE):
            step.let_go([run for run in self.memory.runs.values() if step.rests(run)][:surplus])

    def _claim(self, step: Step, rows: Iterable[Row[Any]]) -> list[RunModel]:
        runs = []
        for row in rows:
            step.claimed.add(row.id)
            runs.append(claim(step.connection, row, self.memory.identity, self.memory.graphs, step.at))
            step.adopt_run(runs[-1])
        return runs

    def _do_chores(self, step: Step) -> None:
        check_queued(step, self.policy, self.options.queued_timeout, forgotten=2 * CHORES)
        self._exchange.reconciler.check(step, self.options.heartbeat_timeout)
        drop_stray_inbox_rows(step.connection)
        release_forgotten(step.connection, self.memory.identity, {*self.memory.runs, *self.memory.quarantined})
        self.memory.ready.look_again(read_pools(step.connection, lock=False))
        past.look_again(step)

    def _refresh_pauses(self, connection: Connection) -> None:
        paused = paused_dags(connection)
        for dag_id in self.memory.paused - paused:
            self.memory.ready.unpark_everything(("paused", dag_id))
        self.memory.paused = paused

    def _reload(self, step: Step) -> list[RunModel]:
        runs = []
        for identifier in sorted(self.memory.stale):
            runs += self._reload_one(step, identifier)
        return runs

    def _reload_one(self, step: Step, identifier: int) -> list[RunModel]:
        self.memory.stale.discard(identifier)
        old = self.memory.runs.get(identifier)
        if old is None:
            return []
        self.memory.drop(old)
        self.memory.runs[identifier] = old
        # Before the reading: what is undone while it lasts must leave the run stale.
        step.touch(old)
        run = reload(step.connection, old)
        if run is None:
            log.warning("run %s of %s is no longer this scheduler's", old.run_id, old.graph.dag_id)
            self.memory.drop(old)
            tell_of_ends(step, identifier)
            return []
        step.adopt_run(run)
        tell_of_ends(step, identifier)
        return [run]

    def _free(self, step: Step, brought: Brought) -> None:
        """The executor has let go of these attempts: their slots can be used in this very step."""
        for fact in brought.final:
            handed = self.memory.handed.pop(fact.key.attempt_id, None)
            if handed is not None:
                step.freed[fact.key.attempt_id] = handed

    def _report_in(self, step: Step) -> None:
        options, me = self.options, self.memory.identity
        statuses = self._exchange.statuses()
        if self._schedule.is_due("lease", step.at, options.renewal):
            self.stats.incr("scheduler_heartbeat")
            self.stats.gauge("scheduler.dagruns.running", len(self.memory.runs))
            gauge_lanes(self.stats, statuses)
            leases.renew(step.connection, me, options.lease, self.stats.to_json())
        healths = {status.name: status.health for status in statuses}
        if self._schedule.is_due("status", step.at, options.job_heartbeat) or healths != self._shown:
            followed = {name: self._orders.of(name).id for name in self.lanes}
            default = next(iter(self.lanes))
            write_status(step.connection, me.id, statuses, default=default, followed=followed, at=step.at)
            self._shown = healths

    # -- after the commit, or instead of it ----------------------------------------------------------------------

    def _hand_over(self, step: Step, offers: Offers) -> None:
        memory = self.memory
        for identifier in step.quieted:
            memory.quiescing.pop(identifier, None)
        for run in (*step.ended_runs, *step.released_runs):
            memory.drop(run)
        self._exchange.hand_over(step, offers)
        count_batch(self.stats, step.batch)
        time_scheduled(self.stats, step.batch)
        self._count(step.counted)
        if step.ended_runs:
            # A place under max_active_runs is free.
            self._look_soon()
        self._again = self._again or bool(memory.stale) or step.woke

    def _undo(self, step: Step) -> None:
        for attempt_id in step.taken_over:
            self.memory.handed.pop(attempt_id, None)
        self.memory.handed.update(step.freed)
        for identifier, run in step.touched.items():
            if identifier in step.claimed:
                self.memory.drop(run)
            else:
                self.memory.stale.add(identifier)
        self.memory.ready.unpark_everything(NOT_NOW)

    def _isolate(self, at: int, undone: _UndoneError, brought: Brought) -> None:
        """A step failed and nobody knows by which run: try each alone, and leave out the one that fails again."""
        log.error("a step failed, its %d runs are tried one by one", len(undone.runs), exc_info=undone.__cause__)
        if not undone.runs:
            raise undone.__cause__ or undone
        for identifier in undone.runs:
            try:
                self._transact(at, lambda step, run=identifier: self._decide_alone(step, run, brought))  # type: ignore[misc]
            except _RACES:
                self._again = True
            except _UndoneError as again:
                self._quarantine(identifier, again.__cause__)
            except OperationalError:
                self._brought = brought
                raise
        self._let_go(brought)
        self._brought = replace(brought, final=[])

    def _decide_alone(self, step: Step, identifier: int, brought: Brought) -> Offers:
        claimable = claimable_runs(step.connection, 1, only=identifier)
        loaded = self._reload_one(step, identifier) or self._claim(step, claimable)
        handed = self.memory.handed
        resolve(step, self.policy, [fact for fact in brought.final if _run_of(handed, fact) == identifier])
        offers = recover(step, self.policy, loaded) if loaded else {}
        for run in loaded:
            step.dispatch(self._slots(), only=run)
        step.finish_runs()
        self.memory.ready.unpark_everything(NOT_NOW)
        return offers

    def _quarantine(self, identifier: int, error: BaseException | None) -> None:
        reason = f"quarantined until the scheduler restarts: {type(error).__name__}: {error}"
        log.error("run %d is %s", identifier, reason)
        run = self.memory.runs.get(identifier)
        if run is not None:
            self.memory.drop(run)
        self.memory.quarantined.add(identifier)
        with self.database.write() as connection:
            leases.hold(connection, self.memory.identity)
            connection.execute(update(dag_run).where(dag_run.c.id == identifier).values(reason=reason))

    def _count(self, counted: Mapping[str, int]) -> None:
        for name, count in counted.items():
            if count:
                self.stats.incr(name, count)

    def _slots(self) -> Slots:
        return self._exchange.slots() if self.dispatching else Slots()

    def _look_soon(self) -> None:
        self._schedule.look = 0
        self._again = True


class _UndoneError(Exception):
    """A step's transaction was rolled back; ``runs`` are those that it touched."""

    def __init__(self, runs: list[int]) -> None:
        super().__init__(runs)
        self.runs = runs


def _run_of(handed: Mapping[str, Handed], fact: Succeeded | Failed | Lost) -> int | None:
    holder = handed.get(fact.key.attempt_id)
    return None if holder is None else holder.dag_run_id
