"""CeleryExecutor: hands attempts to Celery workers, and hears of their ends from the attempts' own reports."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from executors.base import BaseExecutor
from executors.celery.cli import commands
from executors.celery.deliveries import Deliveries
from executors.celery.errors import BrokerError, BrokerTimeoutError, translated
from executors.celery.exposure import exposures
from executors.celery.health import complaint
from executors.celery.messages import TICKET_VARIABLE, Message
from executors.celery.options import BROKER_PREFIX, RESULT_PREFIX, read_options
from executors.celery.publishing import Budget, Publisher
from executors.celery.reconciling import Reconciler
from executors.celery.results import Reader, make_reader
from executors.celery.watch import Watch
from executors.cli import CLICommand
from executors.context import ExecutorContext
from executors.events import Failed, Lost, Succeeded
from executors.findings import Examination, errors, warnings
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload

if TYPE_CHECKING:
    from celery import Celery

BATCH = 250
"""Messages of one round trip."""
LONGEST_WAIT = 1.0
"""Seconds in which workers have to answer a health check."""
MOST_REVOKES = 10_000
"""Remembered while the broker is down; whoever runs a forgotten one is refused its heartbeat."""


class CeleryExecutor(BaseExecutor):
    """Options: :class:`~executors.celery.options.CeleryOptions`. Raises :class:`ExecutorConfigError` on a bad one.

    A slot is freed when the host tells :meth:`reported`; the result backend only betrays those that never will. A
    broker that is down makes :meth:`heartbeat` raise, after ``operation_timeout`` at most: what is queued stays queued.
    """

    supports_sentry: ClassVar[bool] = True
    ticket_file: ClassVar[bool] = False
    conf_section: ClassVar[str | None] = "celery"
    conf_sections_extra: ClassVar[Mapping[str, str]] = {
        "celery_broker_transport_options": BROKER_PREFIX,
        "celery_result_backend_transport_options": RESULT_PREFIX,
    }

    def __init__(self, parallelism: int = 32, *, context: ExecutorContext | None = None) -> None:
        super().__init__(parallelism, context=context)
        self.options = read_options(self.context.options, self.context.name)
        self._app: Celery | None = None
        self._publisher: Publisher | None = None
        self._reader: Reader | None = None
        self._outbox: dict[TaskInstanceKey, Message] = {}
        """Launched, and not published yet."""
        self._watch = Watch(self.options)
        self._reconciler = Reconciler(self.options.result_interval)
        self._revokes: dict[str, None] = {}
        self._repeats = 0
        self._budget: Budget | None = None

    @property
    def deliveries(self) -> Deliveries:
        """Messages that nobody is known to have taken."""
        return self._watch.deliveries

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Import Celery and make the application; a broker that is down is the first heartbeat's affair.

        Raises :class:`ExecutorConfigError`.
        """
        from executors.celery.app import make_publishing_app

        self._app = make_publishing_app(self.options)
        self._publisher = Publisher(self._app, self.options, self.name)
        self._reader = self._make_reader(self._app)

    def end(self) -> None:
        """Wait until all have reported, then leave the broker. Raises :class:`BrokerError`; call it again then."""
        super().end()
        self._close()

    def terminate(self) -> None:
        """Tell the workers to stop what runs, and forget it. Idempotent; never raises; takes ``operation_timeout``."""
        sent = [key.attempt_id for key in self.running if key not in self._outbox]
        for key in [*self.running, *self.queued_tasks]:
            self.lost(key, "the executor was terminated")
        self._outbox.clear()
        if self._publisher is not None and sent and self.options.remote_control:
            with suppress(BrokerError):
                arguments = {"task_id": sent, "terminate": True, "signal": "SIGTERM"}
                self._publisher.broadcast("revoke", arguments, Budget(self.options.operation_timeout))
        self._close()

    def _close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        if self._reader is not None:
            self._reader.close()
        if self._app is not None:
            self._app.close()
        self._app = self._publisher = self._reader = None

    # -- heartbeat -------------------------------------------------------------------------------------------------

    def heartbeat(self) -> None:
        """As the base class does it, within ``operation_timeout``; :meth:`sync` is left out where publishing failed.

        Raises :class:`BrokerError`.
        """
        self._emit_metrics()
        self._budget = Budget(self.options.operation_timeout)
        try:
            self.trigger_tasks(self._limit - self._slots_in_use)
            self.sync()
        finally:
            self._budget = None

    def trigger_tasks(self, open_slots: int) -> None:
        """Collect the launches, then publish them together."""
        try:
            super().trigger_tasks(open_slots)
        finally:
            self._publish()

    def execute_async(
        self,
        key: TaskInstanceKey,
        command: Sequence[str],
        queue: str | None = None,
        executor_config: Any | None = None,
    ) -> None:
        """Collect it; :meth:`trigger_tasks` publishes. What no worker could ever start is refused."""
        ticket = self.workload(key).env.get(TICKET_VARIABLE)
        if not ticket:
            self.refuse(key, f"the workload has no {TICKET_VARIABLE}, so no worker could start it")
            return
        try:
            self._outbox[key] = Message(key.attempt_id, self.options.queue(queue), ticket)
        except ValueError as error:
            self.refuse(key, str(error))

    def _publish(self) -> None:
        while self._outbox and self._has_time():
            batch = dict(islice(self._outbox.items(), BATCH))
            try:
                self._send(batch)
            except BrokerError:
                self._take_back()
                raise
            for key in batch:
                self._outbox.pop(key, None)
        if self._outbox:
            self.context.wake()

    def _send(self, batch: dict[TaskInstanceKey, Message]) -> None:
        if self._publisher is None:
            raise BrokerError(f"{self.name}: publish before start()")
        try:
            self._publisher.send(list(batch.values()), self._turn())
        except BrokerTimeoutError:
            self.context.stats.incr("celery.task_timeout_error")
            raise
        now = time.monotonic()
        for key, message in batch.items():
            self.deliveries.sent(key, message.queue, now)

    def _take_back(self) -> None:
        """What may not have been published waits again, before what came later. It costs none of its launches."""
        waiting = {key: self.running.pop(key) for key in self._outbox if key in self.running}
        self._outbox.clear()
        self.queued_tasks = {**waiting, **self.queued_tasks}

    def sync(self) -> None:
        """Repeat what the broker has lost, revoke, read a page of results. Raises :class:`BrokerError`."""
        if self._publisher is None:
            return
        now = time.monotonic()
        self._repeat(self._watch.lost(self._publisher, self._turn(), now))
        self._tell_revokes(self._publisher)
        self._look_at_results(now)

    def _repeat(self, keys: Sequence[TaskInstanceKey]) -> None:
        """Publish them again, with the same ids; a failure leaves them for the next time."""
        for key in keys:
            workload = self.running.get(key)
            ticket = workload.env.get(TICKET_VARIABLE) if workload else None
            if workload is None or not ticket:
                self.deliveries.taken(key)
            else:
                self._outbox.setdefault(key, Message(key.attempt_id, self.options.queue(workload.queue), ticket))
                self._repeats += 1
        self._publish()

    def _tell_revokes(self, publisher: Publisher) -> None:
        if not self._revokes or not self._has_time():
            return
        publisher.broadcast("revoke", {"task_id": list(self._revokes), "terminate": False}, self._turn())
        self._revokes.clear()

    def _look_at_results(self, now: float) -> None:
        if self._reader is None or self.options.result_backend is None or not self._has_time():
            return
        page = self._reconciler.page(self.running, now)
        if not page:
            return
        try:
            with translated("read results", self.options.result_backend):
                verdicts = self._reconciler.read(self._reader.read, page, now)
        except BrokerError as error:
            self._reconciler.failed(str(error), now)
            self.log.warning("%s", error)
            return
        for key in verdicts.taken:
            self.deliveries.taken(key)
        for key, reason in verdicts.failed:
            self.context.stats.incr("celery.execute_command.failure")
            self.fail(key, reason)
        for key, reason in verdicts.lost:
            self.lost(key, reason)

    # -- what becomes of an attempt --------------------------------------------------------------------------------

    def started(self, key: TaskInstanceKey) -> None:
        """A worker has it; also where publishing it seemed to fail."""
        self.deliveries.taken(key)
        if workload := self.queued_tasks.pop(key, None):
            self.running[key] = workload

    def reported(self, key: TaskInstanceKey) -> None:
        """Free the slot; its state is settled."""
        if key in self.running or key in self.queued_tasks:
            self.success(key)

    def _end(self, event: Succeeded | Failed | Lost) -> None:
        self._forget(event.key)
        super()._end(event)

    def revoke_task(self, ti: TaskInstanceRef) -> None:
        """Forget it; the next heartbeat tells the workers not to begin it. One that runs stops by its own heartbeat,
        which the task API refuses.
        """
        published = ti.key in self.running and ti.key not in self._outbox
        super().revoke_task(ti)
        self._forget(ti.key)
        if published and self.options.remote_control and len(self._revokes) < MOST_REVOKES:
            self._revokes[ti.key.attempt_id] = None
            self.context.wake()

    def _forget(self, key: TaskInstanceKey) -> None:
        self._outbox.pop(key, None)
        self.deliveries.taken(key)

    def try_adopt_task_instances(self, tis: Sequence[TaskInstanceRef]) -> Sequence[TaskInstanceRef]:
        """Count those that have started as running here, until they report. The others are returned: handed over again,
        they are published again, and started once.
        """
        return [ti for ti in tis if not self._adopt(ti)]

    def _adopt(self, ti: TaskInstanceRef) -> bool:
        if self.has_task(ti):
            if ti.started:
                self.started(ti.key)
            return True
        is_ours = ti.external_executor_id in (None, "", ti.key.attempt_id)
        if not ti.started or not is_ours:
            return False
        self.running[ti.key] = Workload(
            ti.key, (), CodeReference("", ""), queue=ti.queue, executor_config=ti.executor_config
        )
        return True

    @staticmethod
    def get_cli_commands() -> list[CLICommand]:
        """``hybrid celery …``."""
        return commands()

    # -- for people ------------------------------------------------------------------------------------------------

    def health_check(self) -> str | None:
        """Whether the broker answers, whether each queue in use has a worker, what is unsafe. Blocks for seconds."""
        if self._publisher is None or self._app is None:
            return "not started"
        workers = None
        try:
            self._watch.ping(self._publisher, self._turn())
            if self.options.remote_control:
                workers = self._ask_workers(self._app)
        except BrokerError as error:
            return str(error)
        return complaint(self.options, workers, self.deliveries.queues(), self._reconciler.trouble)

    def examine(self) -> Examination:
        """The broker, the workers and what they say they run with, and what is unsafe. Blocks for seconds."""
        if self._publisher is None or self._app is None:
            return super().examine()
        unsafe = exposures(self.options, self.context)
        results = errors("result backend", self._reconciler.trouble)
        try:
            self._watch.ping(self._publisher, self._turn())
            if not self.options.remote_control:
                unasked = "[celery] worker_enable_remote_control is off: nobody can ask the workers what they do"
                return Examination((*results, *unsafe, *warnings("workers", unasked)))
            found = self._meet_workers(self._app)
        except BrokerError as error:
            return Examination((*errors("broker", str(error)), *unsafe))
        nobody = errors(
            "workers", None if found.workers else "no Celery worker answers; start one: hybrid celery worker"
        )
        return replace(found, findings=(*nobody, *results, *unsafe))

    def debug_dump(self) -> str:
        """The base class's lines, then the broker, what is on its way, and the result backend."""
        connected = self._publisher is not None and self._publisher.is_connected
        backend = self.options.result_backend
        lines = [
            super().debug_dump(),
            f"  broker   {self.options.broker.shown}: {'connected' if connected else 'not connected'}",
            f"  sent     {len(self.deliveries)} not known to be taken, {self._repeats} repeated so far",
            f"  to send  {len(self._outbox)} messages, {len(self._revokes)} revokes",
            *(f"  queue    {queue}: {number} sent" for queue, number in sorted(self.deliveries.queues().items())),
            f"  results  {backend.shown if backend else 'none'}: {self._reconciler.trouble or 'no trouble'}",
        ]
        return "\n".join(lines)

    # -- the broker ------------------------------------------------------------------------------------------------

    def _turn(self) -> Budget:
        """The heartbeat's budget; one of its own for a call from elsewhere."""
        return self._budget or Budget(self.options.operation_timeout)

    def _ask_workers(self, app: Celery) -> dict[str, int]:
        from executors.celery.asking import workers_by_queue

        with translated("ask the workers", self.options.broker):
            return workers_by_queue(app, min(LONGEST_WAIT, self.options.operation_timeout))

    def _meet_workers(self, app: Celery) -> Examination:
        from executors.celery.meeting import meet_workers

        with translated("ask the workers", self.options.broker):
            return meet_workers(app, self.options, min(LONGEST_WAIT, self.options.operation_timeout))

    def _has_time(self) -> bool:
        return self._turn().left > 0

    def _make_reader(self, app: Celery) -> Reader | None:
        backend = self.options.result_backend
        if backend is None:
            return None
        try:
            with translated("result backend", backend):
                reader = make_reader(app)
        except BrokerError as error:
            self._reconciler.failed(str(error), time.monotonic())
            self.log.warning("%s; attempts end by their own reports alone", error)
            return None
        if reader is None:
            self.log.info("%s has no bulk reads; attempts end by their own reports alone", backend.shown)
        return reader
