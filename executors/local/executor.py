"""LocalExecutor: runs attempts in worker processes on the scheduler's host and carries their requests to it."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import msgspec

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.errors import ExecutorError, TaskServiceAwayError
from executors.local.channel import Kind
from executors.local.crew import Crew, Worker
from executors.local.nursery import Notice, Nursery, ZygoteGoneError, describe_status
from executors.local.strategies import LocalWorker, QueuedLocalWorker, Strategy, Upkeep, dismiss
from executors.local.zygote import Op
from executors.workload import TaskInstanceKey, TaskInstanceRef

ROUNDS = 8
"""How often one sync looks again: a start and its finish need no second heartbeat, a flood cannot hold it for ever."""
START_SECONDS = 30.0
STOP_SECONDS = 10.0
REAP_SECONDS = 1.0
"""How long after a worker's end of file its wait status may take; after it, the worker is called gone and killed."""
COMMAND_ENTRY = "executors.local.command:serve"
"""What workers run where the host names no entry: the workload's command."""


class Ended(msgspec.Struct, frozen=True):
    """Body of an ENDED frame."""

    attempt_id: str
    ok: bool
    reason: str | None = None


class Idle(msgspec.Struct, frozen=True):
    """Body of an IDLE frame."""

    files: list[str] = []
    rss: int = 0
    retire: bool = False


_ended = msgspec.json.Decoder(Ended)
_idle = msgspec.json.Decoder(Idle)


class LocalExecutor(BaseExecutor):
    """Warm workers, used again and again (``parallelism`` > 0), or a fresh process per task (0: unlimited).

    Options of its section: ``task_isolation`` (fork, spawn, reuse), ``worker_memory_mb`` (200), ``idle_workers`` (2)
    and ``idle_worker_seconds`` (10). Raises :class:`ExecutorConfigError` on a bad one.
    """

    is_local: ClassVar[bool] = True
    serve_logs: ClassVar[bool] = True
    ticket_file: ClassVar[bool] = False
    conf_section: ClassVar[str | None] = "local_executor"

    def __init__(self, parallelism: int = 32, *, context: ExecutorContext | None = None) -> None:
        super().__init__(parallelism, context=context)
        memory_mb = self.context.integer("worker_memory_mb", 200, minimum=1)
        upkeep = Upkeep(
            idle_workers=self.context.integer("idle_workers", 2),
            idle_seconds=self.context.integer("idle_worker_seconds", 10),
            max_rss=memory_mb * 2**20,
        )
        config = {
            **self.context.worker_config,
            "executor": self.name,
            "task_isolation": self.context.text("task_isolation", "fork", ("fork", "spawn", "reuse")),
            "worker_memory_mb": str(memory_mb),
        }
        self._nursery = Nursery(self.name, self.context.worker_entry or COMMAND_ENTRY, config)
        self._crew = Crew(self._nursery)
        self._strategy: Strategy = (
            QueuedLocalWorker(self._crew, parallelism, upkeep) if parallelism else LocalWorker(self._crew)
        )
        self._calls: list[tuple[Worker, bytes]] = []
        """Requests without an answer, oldest first."""

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Exec the zygote and wait until it forks. Raises :class:`ExecutorError` with what its import raised."""
        self._crew.open()
        try:
            self._crew.start_zygote()
            deadline = time.monotonic() + START_SECONDS
            while not self._nursery.ready and self._nursery.exists and time.monotonic() < deadline:
                self._crew.wait(deadline - time.monotonic())
                self._hear_zygote()
        except OSError as error:
            raise ExecutorError(f"{self.name}: cannot start the zygote: {error}") from error
        if not self._nursery.ready:
            reason = self._nursery.trouble or f"the zygote is not ready after {START_SECONDS:.0f} s"
            self.terminate()
            raise ExecutorError(f"{self.name}: {reason}")

    def resize(self, parallelism: int) -> None:
        """As the base class has it. Raises :class:`ExecutorError` for a change from or to unlimited."""
        if (parallelism == 0) != (self.parallelism == 0):
            raise ExecutorError(f"{self.name}: unlimited or not is decided by its configuration; restart the scheduler")
        super().resize(parallelism)
        self._strategy.resize(parallelism)

    def end(self) -> None:
        """Finish what is queued and running, stop the workers, then leave nothing behind.

        Blocks for as long as the work takes, and while the task service is away.
        """
        while self._crew.is_open and (self.queued_tasks or self.running):
            if self._may_launch():
                # Slots of events that nobody takes while this blocks must not hold up the rest.
                self.trigger_tasks(self._limit - len(self.running))
            elif self._nursery.hopeless:
                break
            self._crew.flush()
            self._crew.wait(0.1)
            self.sync()
        self._stop_workers()
        self.terminate()

    def _stop_workers(self) -> None:
        for worker in list(self._crew.workers.values()):
            if worker.usable:
                dismiss(self._crew, worker)
        deadline = time.monotonic() + STOP_SECONDS
        while self._crew.workers and self._nursery.exists and time.monotonic() < deadline:
            self._crew.wait(0.1)
            self.sync()

    def terminate(self) -> None:
        """Kill every worker, its attempt and all they have started; what ran or was queued is lost. Idempotent."""
        if self._crew.is_open:
            self._crew.forget_zygote()
            self._nursery.close()
            self._hear_last_words()
            self._crew.close()
            self._nursery.close()
        for key in [*self.running, *self.queued_tasks]:
            self.lost(key, "the executor was terminated")

    def _hear_last_words(self) -> None:
        try:
            for worker in list(self._crew.workers.values()):
                self._hear_out(worker)
            if not self._answer():
                self.log.warning("the last %d requests of the workers are lost", len(self._calls))
        except Exception:
            self.log.exception("the last requests of the workers are lost")
        self._calls.clear()

    def poll_handles(self) -> Collection[int]:
        """One epoll descriptor that covers the zygote and all workers, also when one reads again."""
        return (self._crew.fileno(),) if self._crew.is_open else ()

    def health_check(self) -> str | None:
        return self._nursery.trouble

    # -- work ------------------------------------------------------------------------------------------------------

    def heartbeat(self) -> None:
        """As the base class does it, but :meth:`sync` first: it frees workers for what is queued."""
        self._emit_metrics()
        self.sync()
        if self._may_launch():
            self.trigger_tasks(self._limit - self._slots_in_use)
        self._crew.flush()

    def execute_async(
        self,
        key: TaskInstanceKey,
        command: Sequence[str],
        queue: str | None = None,
        executor_config: Any | None = None,
    ) -> None:
        """Give the workload behind ``key`` to a worker. Never blocks. Raises ``OSError`` without descriptors."""
        self._strategy.assign(self.workload(key))

    def revoke_task(self, ti: TaskInstanceRef) -> None:
        """Forget the attempt; where it runs, have its worker kill it. Sets no state, emits no event, never raises."""
        super().revoke_task(ti)
        if self._strategy.forget(ti.key):
            return
        for worker in self._crew.workers.values():
            if worker.key == ti.key and not worker.revoked:
                worker.revoked = True
                kill = {"attempt_id": ti.key.attempt_id, "reason": "the attempt was revoked"}
                self._crew.send(worker, Kind.KILL, msgspec.json.encode(kill))

    def try_adopt_task_instances(self, tis: Sequence[TaskInstanceRef]) -> Sequence[TaskInstanceRef]:
        """Adopts none: a local attempt dies with its scheduler."""
        return tis

    def _may_launch(self) -> bool:
        """Launch only where a zygote forks: work stays queued meanwhile, rather than being lost with each new one."""
        if self._crew.is_open and self._nursery.may_start:
            try:
                self._crew.start_zygote()
            except OSError:
                self.log.exception("cannot start the zygote; next try in a moment")
        return self._nursery.available

    # -- sync ------------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Read all workers, answer their requests in one batch a round, report what ended.

        Blocks as the task service does. While that is away, requests are kept, and asked once a call.
        """
        answering = self._answer()
        for _ in range(ROUNDS):
            talkers, zygote_speaks = self._crew.poll(0)
            if not talkers and not zygote_speaks:
                break
            for worker in talkers:
                self._hear(worker)
            if zygote_speaks:
                self._hear_zygote()
            answering = answering and self._answer()
        now = time.monotonic()
        for worker in self._crew.hung_up_before(now - REAP_SECONDS):
            self._nursery.kill(worker.number)
            self._part_with(worker, "is gone")
        self._strategy.tidy(now)
        self._crew.flush()

    def _answer(self) -> bool:
        """Return whether the task service answers."""
        if not self._calls:
            return True
        try:
            replies = self.context.task_service([body for _, body in self._calls])
        except TaskServiceAwayError:
            return False
        callers, self._calls = self._calls, []
        for (worker, _), reply in zip(callers, replies, strict=True):
            if worker.hung_up_at is None:
                self._crew.send(worker, Kind.REPLY, reply)
        return True

    def _hear(self, worker: Worker) -> None:
        first_words = not worker.spoke
        for kind, body in self._crew.receive(worker):
            try:
                self._take_frame(worker, kind, body)
            except msgspec.DecodeError:
                self.log.exception("worker process %s sent a bad %s frame", worker.pid, kind.name)
                worker.channel.hang_up()
                return
        if first_words and worker.spoke:
            self._nursery.worker_came_up()

    def _take_frame(self, worker: Worker, kind: Kind, body: bytes) -> None:
        if kind is Kind.CALL:
            self._calls.append((worker, body))
        elif kind is Kind.ENDED:
            self._take_end(worker, _ended.decode(body))
        elif kind is Kind.IDLE:
            self._take_idle(worker, _idle.decode(body))
        else:
            raise msgspec.DecodeError("workers do not send this kind")

    def _take_end(self, worker: Worker, ended: Ended) -> None:
        key = worker.key
        if key is None or key.attempt_id != ended.attempt_id:
            self.log.warning("worker process %s ended attempt %s, which it has not", worker.pid, ended.attempt_id)
            return
        revoked, worker.key, worker.revoked = worker.revoked, None, False
        if not revoked:
            (self.success if ended.ok else self.fail)(key, ended.reason or None)

    def _take_idle(self, worker: Worker, idle: Idle) -> None:
        worker.files, worker.rss = frozenset(idle.files), idle.rss
        if worker.leaving or worker.key is not None:
            return  # a fresh worker that introduces itself while its first ASSIGN waits in its socket
        if idle.retire:
            worker.leaving = True
            self._strategy.left(worker)
        else:
            self._strategy.idle(worker)

    # -- processes -------------------------------------------------------------------------------------------------

    def _hear_zygote(self) -> None:
        try:
            notices = self._nursery.receive()
        except ZygoteGoneError:
            self._lose_zygote()
            return
        for notice in notices:
            worker = self._crew.workers.get(notice.number)
            if worker is not None:
                self._take_notice(worker, notice)

    def _take_notice(self, worker: Worker, notice: Notice) -> None:
        if notice.op is Op.FORKED:
            worker.pid = notice.value
        elif notice.op is Op.REFUSED:
            self._nursery.worker_failed_to_come_up(f"cannot fork a worker: {os.strerror(notice.value)}")
            self._part_with(worker, f"could not be forked: {os.strerror(notice.value)}")
        elif notice.op is Op.REAPED:
            self._hear_out(worker)
            how = describe_status(notice.value)
            if not worker.spoke:
                self._nursery.worker_failed_to_come_up(f"worker process {worker.pid} {how} before it said a word")
            self._part_with(worker, how)

    def _hear_out(self, worker: Worker) -> None:
        """Read what a dead worker has left. Its end of file may never come: a child of its may hold the socket."""
        for _ in range(ROUNDS):
            self._hear(worker)

    def _part_with(self, worker: Worker, how: str) -> None:
        self._crew.bury(worker)
        if worker.key is not None and not worker.revoked:
            process = "worker process" if worker.pid is None else f"worker process {worker.pid}"
            self.lost(worker.key, f"{process} {how}")
        self._strategy.left(worker)

    def _lose_zygote(self) -> None:
        self._crew.forget_zygote()
        how = self._nursery.mourn()
        self.log.error("%s; its %d workers die with it", how, len(self._crew.workers))
        for worker in list(self._crew.workers.values()):
            self._hear_out(worker)
            self._part_with(worker, f"is gone: {how}")

    def debug_dump(self) -> str:
        """The base class's lines, then the zygote and each worker with its pid and what it does."""
        zygote = "ready" if self._nursery.ready else self._nursery.trouble or "not started"
        lines = [super().debug_dump(), f"  zygote   pid {self._nursery.pid}: {zygote}"]
        for worker in self._crew.workers.values():
            doing = str(worker.key) if worker.key else "leaving" if worker.leaving else "idle"
            revoked = ", revoked" if worker.revoked else ""
            lines.append(
                f"  worker   pid {worker.pid}: {doing}{revoked}, {len(worker.files)} files, {worker.rss} bytes"
            )
        return "\n".join(lines)
