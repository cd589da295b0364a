"""One step of the scheduler: everything that it reads, decides and writes in one transaction.

The model in memory moves along with the decisions. When the transaction fails, the runs that the step touched are
dropped and read again; what a step wants to hand to executors leaves it only after the commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from executors.workload import CodeReference, TaskInstanceKey, Workload
from runtime.core.clock import SECOND
from runtime.core.ids import uuid7
from runtime.core.routing import fell_back, leaves
from runtime.core.states import TASK_ACTIVE, TASK_FINISHED, UNBEGUN, RunState, TaskState
from runtime.db.schema import callback_request, dag_run, run_inbox, task_instance
from runtime.db.transitions import ENDED, OWING, Batch, GuardRefusedError, NewAttempt, Subject, record_run_event
from runtime.scheduler import callbacks, past
from runtime.scheduler.limits import BESIDE_OTHERS, Limits, active_by_task, task_limits
from runtime.scheduler.memory import Handed, Memory
from runtime.scheduler.pausing import pause_after_failures
from runtime.scheduler.ready import Entry
from runtime.scheduler.runs import Consequences, Instance, RunModel
from runtime.scheduler.sharing import let_go
from runtime.service.attempts import Attempt

INBOX_ROWS = 1_000
"""Read at most so many at once, so that a step stays short whatever has piled up."""
DISPATCHES = 250
"""Likewise, for each executor: a flood on one without a limit takes no step from the others."""

_INBOX = (
    select(
        run_inbox.c.id,
        run_inbox.c.dag_run_id,
        run_inbox.c.kind,
        run_inbox.c.attempt_id,
        task_instance.c.id.label("ti_id"),
        task_instance.c.task_id,
        task_instance.c.state,
        task_instance.c.reason,
        task_instance.c.retry_at,
    )
    .join(task_instance, task_instance.c.id == run_inbox.c.task_instance_id)
    .join(dag_run, dag_run.c.id == run_inbox.c.dag_run_id)
    .where(dag_run.c.lease_owner == bindparam("b_owner"))
    .order_by(run_inbox.c.id)
    .limit(INBOX_ROWS)
)
_CLEARED = select(run_inbox.c.id).where(run_inbox.c.dag_run_id == bindparam("b_id"), run_inbox.c.kind == "cleared")
_END_RUN = (
    update(dag_run)
    .where(
        dag_run.c.id == bindparam("b_id"),
        dag_run.c.lease_owner == bindparam("b_owner"),
        dag_run.c.lease_epoch == bindparam("b_epoch"),
        dag_run.c.state == RunState.RUNNING,
    )
    .values(state=bindparam("v_state"), end_date=bindparam("v_at"), reason=bindparam("v_reason"), lease_owner=None)
)


@dataclass(frozen=True, slots=True)
class Slots:
    """What the executors take now."""

    free: Mapping[str, int] = field(default_factory=dict)
    """How many more attempts; 0 where one is full or sick."""
    sick: Mapping[str, str] = field(default_factory=dict)
    """Those that can take nothing, and how they are: "unavailable (why)"."""
    starting: Collection[str] = ()
    """Those that will take something in a moment: they are waited for."""


@dataclass(slots=True)
class Step:
    """The work of one transaction. ``at`` is its moment."""

    memory: Memory
    connection: Connection
    at: int
    batch: Batch = field(init=False)
    touched: dict[int, RunModel] = field(default_factory=dict)
    fresh: dict[str, tuple[Instance, Subject]] = field(default_factory=dict)
    """Instances that became ready in this step, and as the DB still has them."""
    launches: list[tuple[Handed, Workload]] = field(default_factory=list)
    """To be handed over after the commit."""
    revoked: list[Attempt] = field(default_factory=list)
    """To be stopped after the commit."""
    ended_runs: list[RunModel] = field(default_factory=list)
    released_runs: list[RunModel] = field(default_factory=list)
    """Left to other schedulers."""
    applied: list[int] = field(default_factory=list)
    freed: dict[str, Handed] = field(default_factory=dict)
    """Attempts that their executors have let go of, by id."""
    taken_over: list[str] = field(default_factory=list)
    """Attempts that are to be offered for adoption: not held by anybody where the step is undone."""
    claimed: set[int] = field(default_factory=set)
    """Runs whose lease this step takes: not ours where it is undone."""
    cleared: list[str] = field(default_factory=list)
    """Attempts of cleared task instances that an executor still holds."""
    started: list[Handed] = field(default_factory=list)
    """Attempts of which their executor has not been told that they run."""
    reported: list[Handed] = field(default_factory=list)
    """Attempts whose own report this step applies, while their executor still holds them."""
    quieted: list[str] = field(default_factory=list)
    """Lost attempts whose consequences this step has written."""
    released: Counter[tuple[str, str]] = field(default_factory=Counter)
    returned: Counter[str] = field(default_factory=Counter)
    """Pool slots that this step gives back and that the DB, until the step is written, still counts as used."""
    returned_tasks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Likewise places under ``max_active_tis_per_dag``, by DAG and task."""
    counted: Counter[str] = field(default_factory=Counter)
    """For the figures, after the commit."""
    callbacks: list[str] = field(default_factory=list)
    """Requests for the DAG processor."""
    woke: bool = False
    """It leaves rows in inboxes that this scheduler may have to read itself."""

    def __post_init__(self) -> None:
        self.batch = Batch(self.at, f"scheduler {self.memory.identity.id}")

    # -- what happened -------------------------------------------------------------------------------------------

    def adopt_run(self, run: RunModel) -> None:
        """Take a run just claimed or read again into memory, and see what may run."""
        self.memory.runs[run.id] = run
        self.touch(run)
        callbacks.owe_what_was_read(self, run)
        consequences = run.settle()
        for instance in run.instances.values():
            if instance.state is TaskState.SCHEDULED:
                self.memory.enqueue(instance)
            elif instance.state is TaskState.UP_FOR_RETRY:
                self.memory.timers.add(instance.retry_at or self.at, "retry", instance)
        self.follow(consequences)
        if run.graph.spec.dagrun_timeout is not None:
            self.memory.timers.add(run.started_at + round(run.graph.spec.dagrun_timeout * SECOND), "run timeout", run)

    def read_inbox(self) -> bool:
        """Apply the reports of this scheduler's runs; return whether more may be waiting."""
        rows = self.connection.execute(_INBOX, {"b_owner": self.memory.identity.id}).all()
        self._skip_unfollowed(row for row in rows if row.kind == "skipped")
        news: dict[int, set[str]] = {}
        for row in rows:
            run = self.memory.runs.get(row.dag_run_id)
            if row.kind != OWING or run is None or run.id not in self.memory.stale:
                # Else it stays for the reading: who owes callbacks stands there alone.
                self.applied.append(row.id)
            if row.kind in (ENDED, OWING):
                self.memory.stopping.discard(row.attempt_id)
                if handed := self.memory.handed.get(row.attempt_id):
                    self.reported.append(handed)
            if row.kind == "cleared" and row.attempt_id in self.memory.handed:
                self.cleared.append(row.attempt_id)
            if run is None or run.id in self.memory.stale or row.kind == "skipped":
                continue
            self.touch(run)
            if row.kind == past.NEWS:
                news.setdefault(run.id, set()).add(row.task_id)
            else:
                self._apply(run, row)
        for identifier, task_ids in news.items():
            if identifier not in self.memory.stale:
                past.let_go(self, self.memory.runs[identifier], task_ids)
        return len(rows) == INBOX_ROWS

    def _apply(self, run: RunModel, row: Any) -> None:
        instance = run.instances.get(row.ti_id)
        if row.kind not in (ENDED, OWING) or instance is None:
            # Cleared, or changed by hand: the model cannot know what else changed with it.
            self.memory.stale.add(run.id)
        elif instance.attempt_id == row.attempt_id and instance.state in TASK_ACTIVE:
            self.apply_state(instance, TaskState(row.state), row.retry_at)
            if row.kind == OWING:
                callbacks.owe(self, instance, TaskState(row.state), row.reason)

    def _skip_unfollowed(self, rows: Iterable[Any]) -> None:
        """What branches have not followed. Before the branches' own ends: these would let it run."""
        chosen: dict[int, list[Instance]] = {}
        for row in rows:
            run = self.memory.runs.get(row.dag_run_id)
            if run is None or run.id in self.memory.stale:
                continue
            self.touch(run)
            instance = run.instances.get(row.ti_id)
            if instance is None or row.state != TaskState.SKIPPED or instance.state not in UNBEGUN:
                self.memory.stale.add(run.id)
                continue
            self.fresh.pop(instance.id, None)
            chosen.setdefault(run.id, []).append(instance)
        for identifier, instances in chosen.items():
            if identifier not in self.memory.stale:
                self.follow(self.memory.runs[identifier].skip(instances))

    def apply_state(self, instance: Instance, state: TaskState, retry_at: int | None) -> None:
        """The DB says that the instance's attempt has ended, and that the instance is in ``state`` now."""
        self.release(instance, is_written=True)
        if state in TASK_FINISHED:
            self.follow(instance.run.end(instance, state))
        elif state is TaskState.UP_FOR_RETRY:
            instance.run.move(instance, state)
            self.memory.timers.add(retry_at or self.at, "retry", instance)
        else:
            self.memory.stale.add(instance.run.id)

    def follow(self, consequences: Consequences) -> None:
        """Write the ends that need no executor, and let what may run wait for a slot."""
        for subject, state in consequences.ended:
            self.batch.end(subject, state)
        for instance in consequences.ready:
            self.make_ready(instance)

    def make_ready(self, instance: Instance) -> None:
        """It may run now. Its state in the DB changes when the step ends: to *queued* if it finds a slot at once."""
        self.touch(instance.run)
        self.fresh[instance.id] = (instance, instance.subject)
        instance.run.move(instance, TaskState.SCHEDULED)
        instance.attempt_id = None
        instance.left = ()
        instance.scheduled_at = self.at
        self.memory.enqueue(instance)

    def end_instance(self, instance: Instance, subject: Subject, state: TaskState, reason: str) -> None:
        """End an instance by the scheduler's own decision."""
        self.touch(instance.run)
        self.batch.end(subject, state, reason=reason)
        callbacks.owe(self, instance, state, reason)
        self.follow(instance.run.end(instance, state))

    def take_subject(self, instance: Instance) -> Subject:
        """What a transition of ``instance`` is guarded by; the step's end no longer writes that it is *scheduled*."""
        fresh = self.fresh.pop(instance.id, None)
        return instance.subject if fresh is None else fresh[1]

    def touch(self, run: RunModel) -> None:
        self.touched[run.id] = run

    def release(self, instance: Instance, *, is_written: bool = False) -> None:
        """Its attempt no longer counts against the limits: those that these held may be looked at again.

        ``is_written``: the DB says so already; else this step is going to write it.
        """
        spec = instance.node.spec
        self.released["pool", spec.pool] += spec.pool_slots
        self.released["run", str(instance.run.id)] += 1
        for limit in task_limits(instance):
            self.released[limit] += 1
        if not is_written:
            self.returned[spec.pool] += spec.pool_slots
            if spec.max_active_tis_per_dag is not None:
                self.returned_tasks[instance.run.graph.dag_id, spec.task_id] += 1

    # -- what to do ----------------------------------------------------------------------------------------------

    def dispatch(self, slots: Slots, only: RunModel | None = None) -> bool:
        """Commit attempts for as many waiting instances as there are slots, and keep the rest waiting.

        ``only``: leave every other run's instances where they are. Returns whether more could follow at once.
        """
        chosen: list[Entry] = []
        fell_short = False
        for limit, count in self.released.items():
            self.memory.ready.unpark(limit, count)
        if any(free > 0 for free in slots.free.values()) and self.memory.ready:
            access = self.memory.pools
            pools = access.read(self.connection, self.returned)
            limits = Limits(
                pools,
                self.memory.paused,
                only,
                # Asked only under the pools' lock for one: nobody else counts meanwhile.
                count=lambda dag_id: active_by_task(self.connection, dag_id, self.returned_tasks),
                beside=access.beside,
            )
            may_leave = leaves(self.memory.router.fallback, slots.sick, slots.starting)
            room = {executor: min(free, DISPATCHES) for executor, free in slots.free.items()}
            chosen = self.memory.ready.choose(room, limits.blocked_by, may_leave)
            fell_short = access.judge(limits)
            self.memory.ready.unpark_everything(BESIDE_OTHERS)
            for entry in chosen:
                # All of them first: one that fails must not take the others, which have left their queues, with it.
                self.touch(entry.instance.run)
            for entry in chosen:
                self._queue(entry, slots.sick)
        for instance, subject in self.fresh.values():
            reason = self.memory.held.get(instance.id)
            self.batch.schedule(subject, infra_losses=instance.infra_losses, reason=reason)
        return fell_short or DISPATCHES in Counter(entry.instance.executor for entry in chosen).values()

    def finish_runs(self) -> None:
        """End the touched runs that have nothing left to do."""
        for run in self.touched.values():
            if run.id not in self.memory.runs or run.id in self.memory.stale:
                continue
            outcome = run.outcome
            if outcome is not None:
                self.end_run(run, outcome)

    def end_run(self, run: RunModel, outcome: RunState, reason: str | None = None) -> None:
        """Write the run's end and let go of it. Raises :class:`GuardRefusedError` where the lease is not ours."""
        owner = self.memory.identity.id
        parameters = {"b_id": run.id, "b_owner": owner, "b_epoch": run.epoch}
        values = {"v_state": outcome, "v_at": self.at, "v_reason": reason}
        if self.connection.execute(_END_RUN, parameters | values).rowcount != 1:
            raise GuardRefusedError(f"run {run.run_id} is no longer this scheduler's to end")
        # Whoever clears tasks holds the run: it was done before this UPDATE, so its report is there, or comes after us.
        cleared = self.connection.execute(_CLEARED, {"b_id": run.id}).scalars()
        if not set(cleared) <= set(self.applied):
            raise GuardRefusedError(f"tasks of run {run.run_id} were cleared when it was about to end")
        record_run_event(
            self.connection,
            at=self.at,
            dag_run_id=run.id,
            old=RunState.RUNNING,
            new=outcome,
            actor=self.batch.actor,
            reason=reason,
        )
        self.ended_runs.append(run)
        callbacks.owe_run(self, run, outcome, reason)
        if outcome is RunState.FAILED:
            pause_after_failures(self.connection, run, at=self.at, actor=self.batch.actor)

    def rests(self, run: RunModel) -> bool:
        """Whether nothing of the run is under way, neither anywhere nor in this step."""
        return run.active == 0 and run.id not in self.touched and run.id not in self.memory.stale

    def let_go(self, runs: Sequence[RunModel]) -> None:
        """Give up the leases of ``runs``, which rest."""
        for run in runs:
            # Before the writing: where nobody knows whether it was committed, the run is read again.
            self.touch(run)
        let_go(self.connection, self.memory.identity, runs)
        self.released_runs += runs

    def write(self) -> None:
        """Write all of it, and forget the inbox rows whose consequences it holds."""
        past.tell_next_runs(self)
        if self.batch:
            self.batch.write(self.connection)
        if self.callbacks:
            rows = [{"created_at": self.at, "executor": "", "request": request} for request in self.callbacks]
            self.connection.execute(insert(callback_request), rows)
        if self.applied:
            self.connection.execute(
                delete(run_inbox).where(run_inbox.c.id == bindparam("b_id")), [{"b_id": i} for i in self.applied]
            )

    def _queue(self, entry: Entry, sick: Mapping[str, str]) -> None:
        instance = entry.instance
        graph = instance.run.graph
        subject = self.take_subject(instance)
        same_try = instance.attempt_id is not None
        attempt = NewAttempt(
            id=uuid7(),
            try_number=instance.try_number if same_try else instance.try_number + 1,
            dispatch_number=instance.dispatch_number + 1 if same_try else 1,
            executor=instance.executor,
            executor_reason=f"{instance.reason or ''}{fell_back(instance.chain, instance.executor, sick)}",
            scheduler_id=self.memory.identity.id,
            version_id=graph.version_id,
        )
        self.batch.queue(subject, attempt, scheduled_at=instance.scheduled_at)
        instance.run.move(instance, TaskState.QUEUED)
        instance.attempt_id = attempt.id
        instance.try_number, instance.dispatch_number = attempt.try_number, attempt.dispatch_number
        self.memory.held.pop(instance.id, None)
        workload = make_workload(instance, attempt.id)
        self.launches.append((Handed(instance.executor, instance.run.id, instance.id, workload.key), workload))


def make_workload(instance: Instance, attempt_id: str) -> Workload:
    """What an executor is handed for the instance's current try."""
    spec, graph = instance.node.spec, instance.run.graph
    key = TaskInstanceKey(
        graph.dag_id, spec.task_id, instance.run.run_id, instance.try_number, instance.map_index, attempt_id
    )
    return Workload(
        key=key,
        command=("hybrid", "tasks", "run", attempt_id),
        code=CodeReference(graph.rel_path, graph.file_hash),
        queue=spec.queue,
        priority_weight=spec.priority_weight,
        pool_slots=spec.pool_slots,
        executor_config=spec.executor_config,
        env={"HYBRID_ATTEMPT_ID": attempt_id},
    )
