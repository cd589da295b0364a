"""The executor contract: override :meth:`BaseExecutor.execute_async` and :meth:`BaseExecutor.sync`, and it works.

Every call comes from one thread, the host's lane for this executor, so an executor needs no locks. Each method's
docstring says what its implementation owes: whether it may block, whether it is idempotent, what it may raise.
The names are those of Airflow's documented interface; an executor written for it ports by changing its import.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from executors.callbacks import CallbackRequest
from executors.cli import CLICommand
from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError, ExecutorError
from executors.events import (
    FINAL_EVENTS,
    Accepted,
    ExecutorEvent,
    Failed,
    Lost,
    Pending,
    Running,
    Succeeded,
    Unknown,
)
from executors.findings import Examination, errors
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload

LAUNCH_ATTEMPTS = 5
"""How often a launch that raises is tried before that one attempt fails: a bad ``executor_config`` must not be retried
for ever, a broker that is down for a moment must not fail tasks."""


class BaseExecutor:
    """Queues workloads, starts as many as it has slots for, and reports facts about them.

    :param parallelism: slots; 0 means unlimited. Raises :class:`ExecutorConfigError` when negative.
    :param context: what the host offers; see :class:`ExecutorContext`.
    """

    supports_pickling: ClassVar[bool] = False
    supports_sentry: ClassVar[bool] = False
    is_local: ClassVar[bool] = False
    """Its tasks run on the scheduler's host and end with it."""
    is_single_threaded: ClassVar[bool] = False
    """One slot, whatever ``parallelism`` says."""
    is_production: ClassVar[bool] = True
    """``False``: the scheduler warns at its start."""
    change_sensor_mode_to_reschedule: ClassVar[bool] = False
    """Its sensors should give their slot back between two looks. Shown, and recorded."""
    serve_logs: ClassVar[bool] = False
    """The log files of its tasks are on the scheduler's host, whose log server shows them."""
    ticket_file: ClassVar[bool] = True
    """The host leaves each launch's start ticket in a file on this host, where ``command`` looks for it. ``False``
    where launches get ``workload(key).env``, or are reported through ``context.task_service``."""
    conf_section: ClassVar[str | None] = None
    """Section of its options, e.g. ``celery``; an alias overlays it with ``[celery:alias]``."""
    conf_sections_extra: ClassVar[Mapping[str, str]] = {}
    """Further sections, overlaid likewise → what is put before the names of their options in ``context.options``."""

    def __init__(self, parallelism: int = 32, *, context: ExecutorContext | None = None) -> None:
        if parallelism < 0:
            raise ExecutorConfigError(f"{type(self).__name__}: parallelism = {parallelism}; use 0 for unlimited")
        self.context = context or ExecutorContext()
        self.parallelism = parallelism
        self.name = self.context.name or type(self).__name__
        self.log = logging.getLogger(f"executors.{self.name}")
        self.queued_tasks: dict[TaskInstanceKey, Workload] = {}
        self.running: dict[TaskInstanceKey, Workload] = {}
        self._events: list[ExecutorEvent] = []
        self._launch_failures: dict[TaskInstanceKey, int] = {}
        self._ending = False

    # -- to override -----------------------------------------------------------------------------------------------

    def execute_async(
        self,
        key: TaskInstanceKey,
        command: Sequence[str],
        queue: str | None = None,
        executor_config: Any | None = None,
    ) -> None:
        """Start ``command`` without waiting for it. Must be overridden.

        Must not block longer than a hand-off takes. Idempotent per ``key``: the same attempt may be handed over twice
        after a crash. Raise anything where the backend does not take it: the launch is tried again, up to
        ``LAUNCH_ATTEMPTS`` times. ``self.workload(key)`` has everything else, its ``env`` above all.
        """
        raise NotImplementedError

    def sync(self) -> None:
        """Look at the backend and call :meth:`success`, :meth:`fail`, … for what changed. Must be overridden.

        Called at least once a heartbeat; while something runs and there are no :meth:`poll_handles`, four times a
        second: ask a backend that is expensive to ask less often. Must not block for long; may raise, then it is called
        again after a pause.
        """
        raise NotImplementedError

    def start(self) -> None:
        """Get ready; called once, before anything else. May block for seconds; may raise, then it is tried again."""

    def end(self) -> None:
        """Finish what is queued and running, then return. The host calls :meth:`terminate` when it takes too long."""
        self._ending = True
        while self.queued_tasks or self.running:
            self.heartbeat()
            time.sleep(0.1)

    def terminate(self) -> None:
        """Stop everything that runs and forget what is queued, at once. Idempotent; must not raise.

        May come right after a launch that has not begun to execute, or from within a launch.
        """

    def try_adopt_task_instances(self, tis: Sequence[TaskInstanceRef]) -> Sequence[TaskInstanceRef]:
        """Take over attempts of a scheduler that died; return those that could not be found. Idempotent."""
        return tis

    def revoke_task(self, ti: TaskInstanceRef) -> None:
        """Forget the attempt and stop it where that is possible. Sets no state, emits no event, never raises."""
        self.queued_tasks.pop(ti.key, None)
        self.running.pop(ti.key, None)
        self._launch_failures.pop(ti.key, None)

    def reported(self, key: TaskInstanceKey) -> None:
        """The attempt's own report has been taken, often before its backend knows: nothing of it runs any more.

        Told by the host, once per attempt that was handed over. An executor that hears late of ends frees the slot
        here, with :meth:`success`: the attempt's state is settled, only the slot is meant. By default it waits for its
        backend, which sees the process end a moment later. Must not block; may be told of a key that is unknown.
        """

    def started(self, key: TaskInstanceKey) -> None:
        """The attempt has been granted its start: its launch has arrived, and another one of it would run nothing.

        Told by the host at most once per attempt that was handed over, and never for certain. An executor whose
        hand-offs can get lost stops repeating this one. Must not block; may be told of a key that is unknown.
        """

    def resize(self, parallelism: int) -> None:
        """Have that many slots from now on; what runs goes on. 0 means unlimited.

        Told by the host, at any time after :meth:`start`. Raises :class:`ExecutorError` where that cannot be.
        """
        if self.is_single_threaded:
            raise ExecutorError(f"{self.name} has one slot, whatever is said")
        self.parallelism = parallelism

    def poll_handles(self) -> Collection[int]:
        """File descriptors worth waking up for: the host calls :meth:`heartbeat` when one is readable."""
        return ()

    def health_check(self) -> str | None:
        """Return what is wrong with the backend in one line, or ``None``. May block for seconds; may raise."""
        return None

    def examine(self) -> Examination:
        """All that an operator should know of the backend, its workers and this executor's options, for ``hybrid
        executors check``: the default is :meth:`health_check`. May block for seconds; may raise.
        """
        return Examination(errors("backend", self.health_check()))

    def get_task_log(self, ti: TaskInstanceRef, try_number: int) -> tuple[list[str], list[str]]:
        """Return ``(messages, logs)`` that only this executor can get at. May block for seconds; may raise."""
        return [], []

    @staticmethod
    def get_cli_commands() -> list[CLICommand]:
        """Commands that this executor adds to ``hybrid``. Must be cheap: no imports of heavy libraries."""
        return []

    def debug_dump(self) -> str:
        """Describe the inner state for an operator, in lines without secrets."""
        lines = [f"{self.name}: {self.slots_occupied} of {self.parallelism or 'unlimited'} slots occupied"]
        lines += [f"  queued   {key}" for key in self.queued_tasks]
        lines += [f"  running  {key}" for key in self.running]
        return "\n".join(lines)

    # -- work ------------------------------------------------------------------------------------------------------

    def queue_workload(self, workload: Workload) -> None:
        """Take a workload. Idempotent per key."""
        if workload.key not in self.running:
            self.queued_tasks.setdefault(workload.key, workload)

    def queue_command(
        self, task_instance: TaskInstanceRef, command: Sequence[str], priority: int = 1, queue: str | None = None
    ) -> None:
        """Take a command for a task instance; the older form of :meth:`queue_workload`."""
        self.queue_workload(
            Workload(
                key=task_instance.key,
                command=tuple(command),
                code=CodeReference(rel_path="", file_hash=""),
                queue=queue or task_instance.queue,
                priority_weight=priority,
                executor_config=task_instance.executor_config,
            )
        )

    def workload(self, key: TaskInstanceKey) -> Workload:
        """The workload behind ``key``, queued or running. Raises ``KeyError``."""
        return self.running[key] if key in self.running else self.queued_tasks[key]

    def has_task(self, task_instance: TaskInstanceRef) -> bool:
        """Whether the attempt is queued or running here."""
        return task_instance.key in self.queued_tasks or task_instance.key in self.running

    @property
    def slots_occupied(self) -> int:
        """Queued, running, and ended with an event that nobody has taken yet."""
        return len(self.queued_tasks) + self._slots_in_use

    @property
    def slots_available(self) -> int:
        """How much more work it takes; a very large number where ``parallelism`` is 0."""
        return max(0, self._limit - self.slots_occupied)

    @property
    def _limit(self) -> int:
        return self.parallelism or 2**31

    @property
    def _slots_in_use(self) -> int:
        if self._ending:
            # Nobody may be left to take the events, and what is queued must still find a slot.
            return len(self.running)
        return len(self.running) + sum(isinstance(event, FINAL_EVENTS) for event in self._events)

    # -- heartbeat -------------------------------------------------------------------------------------------------

    def heartbeat(self) -> None:
        """Emit metrics, start queued work up to the open slots, highest priority first, then :meth:`sync`.

        Raises what :meth:`execute_async` or :meth:`sync` raised; the host pauses and calls again.
        """
        self._emit_metrics()
        try:
            self.trigger_tasks(self._limit - self._slots_in_use)
        finally:
            self.sync()

    def trigger_tasks(self, open_slots: int) -> None:
        """Start up to ``open_slots`` queued workloads: highest ``priority_weight`` first, then oldest first."""
        if not self.queued_tasks or open_slots <= 0:
            return
        for workload in self.order_queued_tasks()[:open_slots]:
            if workload.key in self.queued_tasks:  # not where a launch before it has ended the executor
                self._launch(workload)

    def order_queued_tasks(self) -> list[Workload]:
        """Queued workloads in the order in which they should start."""
        failures = self._launch_failures
        return sorted(self.queued_tasks.values(), key=lambda w: (failures.get(w.key, 0), -w.priority_weight))

    def _launch(self, workload: Workload) -> None:
        key = workload.key
        self.running[key] = self.queued_tasks.pop(key)
        try:
            self.execute_async(key, list(workload.command), workload.queue, dict(workload.executor_config))
        except Exception as error:
            failures = self._launch_failures.get(key, 0) + 1
            if failures >= LAUNCH_ATTEMPTS:
                self.refuse(key, f"{type(error).__name__} at launch: {error}")
                return
            self._launch_failures[key] = failures
            if self.running.pop(key, None):
                self.queued_tasks[key] = workload
            raise
        self._launch_failures.pop(key, None)

    def _emit_metrics(self) -> None:
        # An entry without an alias is named as written, which may be a dotted path: metrics take its last part.
        stats, name = self.context.stats, self.name.rpartition(".")[2]
        stats.gauge(f"executor.open_slots.{name}", self.slots_available)
        for queued in ("queued_slots", "queued_tasks"):  # Airflow has had both names for it
            stats.gauge(f"executor.{queued}.{name}", len(self.queued_tasks))
        stats.gauge(f"executor.running_tasks.{name}", len(self.running))

    # -- results ---------------------------------------------------------------------------------------------------

    def success(self, key: TaskInstanceKey, info: str | None = None) -> None:
        """The launched process ended with a verified exit code 0."""
        self._end(Succeeded(key, info))

    def fail(self, key: TaskInstanceKey, info: str | None = None, *, ended: bool = False) -> None:
        """The launched process ended with another exit code; ``info`` is the reason.

        ``ended``: it is certain that nothing of it runs any more, so that the task need not wait for its silence.
        """
        self._end(Failed(key, info, ended=ended))

    def refuse(self, key: TaskInstanceKey, info: str | None = None) -> None:
        """The backend will never take this launch; ``info`` is the reason. Another one of the same kind would fare
        no better, so it costs the task one of its tries.
        """
        self._end(Failed(key, info, refused=True))

    def lost(self, key: TaskInstanceKey, info: str | None = None, *, ended: bool = False) -> None:
        """The launch is gone, and by no fault of its own: its host was taken away, or nobody saw how it ended.

        ``ended``: as for :meth:`fail`.
        """
        self._end(Lost(key, info, ended))

    def running_state(self, key: TaskInstanceKey, info: str | None = None) -> None:
        """The launch is executing."""
        self._events.append(Running(key, info))

    def accepted(self, key: TaskInstanceKey, external_id: str | None = None) -> None:
        """The backend took the launch under ``external_id``."""
        self._events.append(Accepted(key, external_id))

    def pending(self, key: TaskInstanceKey, info: str | None = None) -> None:
        """The backend has the launch, and says why it does not execute yet; ``None``: it no longer says."""
        self._events.append(Pending(key, info))

    def unknown(self, key: TaskInstanceKey, info: str | None = None) -> None:
        """The backend cannot tell now."""
        self._events.append(Unknown(key, info))

    def change_state(self, key: TaskInstanceKey, state: str, info: Any = None) -> None:
        """Report by Airflow's word for it: success, failed, running or queued. Raises ``ValueError`` on another."""
        report = {
            "success": self.success,
            "failed": self.fail,
            "running": self.running_state,
            "queued": self.accepted,
        }.get(str(getattr(state, "value", state)))
        if report is None:
            raise ValueError(f"an executor reports success, failed, running or queued, not {state!r}")
        report(key, None if info is None else str(info))

    def _end(self, event: Succeeded | Failed | Lost) -> None:
        known = self.running.pop(event.key, None) or self.queued_tasks.pop(event.key, None)
        self._launch_failures.pop(event.key, None)
        if known is None:
            self.context.stats.incr("executor.late_events")
            return
        self._events.append(event)

    def get_event_buffer(self, dag_ids: Iterable[str] | None = None) -> list[ExecutorEvent]:
        """Hand over the events and forget them; with ``dag_ids``, only theirs. Taking a final event frees its slot."""
        if dag_ids is None:
            taken, self._events = self._events, []
            return taken
        wanted = set(dag_ids)
        taken = [event for event in self._events if event.key.dag_id in wanted]
        self._events = [event for event in self._events if event.key.dag_id not in wanted]
        return taken

    def send_callback(self, request: Any) -> None:
        """Hand a :class:`CallbackRequest` to the host, as JSON. Raises ``ValueError`` on anything else, and where the
        host takes none.
        """
        if not isinstance(request, CallbackRequest):
            what = type(request).__name__
            raise ValueError(f"send_callback() takes a CallbackRequest, not {what}")  # noqa: TRY004  as Airflow raises
        if self.context.callback_sink is None:
            raise ValueError(f"{self.name} has no callback sink")
        self.context.callback_sink(request.to_json())

    def cleanup_stuck_queued_tasks(self, tis: Sequence[TaskInstanceRef]) -> list[str]:
        """Give up attempts that stayed queued too long; return readable names of them."""
        for ti in tis:
            self.revoke_task(ti)
        return [str(ti.key) for ti in tis]
