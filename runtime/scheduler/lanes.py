"""Lanes: a lane is one named daemon thread that owns one executor. Everything said to the executor goes through it.

The scheduler's thread posts and takes, and never waits for an executor; an executor that hangs, raises or cannot be
made is a sick lane with a visible reason, delays no other lane, and recovers by itself. Because only the lane's thread
touches the executor, executors need no locks.

What an executor says is checked here, by :mod:`runtime.scheduler.containment`: what comes out of a lane is well-formed.

What a lane cannot do: a hang in C code that holds the interpreter lock stops every thread of the process, a crash of
the interpreter ends them all, and descriptors that an executor closes although they are others' are gone. A stuck
thread is never replaced either: two threads in one executor are worse than one that is stuck; its lane stays
unavailable until the call returns, or the scheduler is restarted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from executors.base import BaseExecutor
from executors.context import NoStats, Stats
from executors.events import FINAL_EVENTS, ExecutorEvent, Failed
from executors.workload import TaskInstanceKey, TaskInstanceRef, Workload
from runtime.core import clock as wall
from runtime.scheduler import containment
from runtime.scheduler.health import STARTING, UNAVAILABLE_AFTER, Breaker, Health, LaneStatus
from runtime.scheduler.mailbox import CallAnswer, CallbackSent, Delivery, Figures, Mailbox, Notice, Question, Resize
from runtime.scheduler.tickets import Tickets

logger = logging.getLogger(__name__)

POLL_SEC = 0.25
"""Longest time between two heartbeats of an executor that ends, or that runs something and has no handle to watch."""
_MUST_WORK = frozenset({"try_adopt_task_instances"})
"""Questions to which an error is a fault of the executor; it may fail to answer others."""


class Lane:
    """One executor, its thread, and what goes in and out. Public methods are for the scheduler's thread; none blocks.

    :param create: makes the executor, in the lane's thread; it is handed :meth:`request_heartbeat` as ``wake``.
    :param wake_scheduler: called in the lane's thread when :meth:`take` or :meth:`status` has something new. Must be
        cheap and thread-safe, and must not raise.
    :param heartbeat_sec: longest time between two heartbeats of a healthy executor.
    :param poll_sec: longest time between two heartbeats while it has to be asked whether anything has ended.
    :param call_deadline: seconds after which a call in progress makes the lane unavailable, and a :meth:`call` without
        an answer is given up.
    :param parallelism: shown until the executor is made.
    :param tickets: encloses start tickets in what is handed over; ``None`` where launches need none.
    :param stats: told how long heartbeats take; default nobody.
    """

    def __init__(
        self,
        name: str,
        *,
        class_name: str,
        create: Callable[[Callable[[], None]], BaseExecutor],
        wake_scheduler: Callable[[], None],
        heartbeat_sec: float = 5.0,
        poll_sec: float = POLL_SEC,
        call_deadline: float = 10.0,
        parallelism: int = 0,
        tickets: Tickets | None = None,
        stats: Stats | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.class_name = class_name
        self._create = create
        self._wake_scheduler = wake_scheduler
        self._heartbeat_sec = heartbeat_sec
        self._poll_sec = poll_sec
        self._call_deadline = call_deadline
        self._tickets = tickets
        self._stats = stats or NoStats()
        # As the executor's own figures are named, where the name is a dotted path.
        self._duration = f"scheduler.executor_heartbeat_duration.{name.rpartition('.')[2]}"
        self._clock = clock
        self._parallelism = parallelism
        self._mail = Mailbox(Figures(parallelism), wake_scheduler)
        self._breaker = Breaker()
        self._busy: tuple[str, float] | None = None
        self._last_heartbeat: int | None = None
        self._ending: tuple[str, float] | None = None
        self._ended = ""
        self._made: BaseExecutor | None = None
        self._executor: BaseExecutor | None = None
        self._handles: frozenset[int] = frozenset()
        self._next_heartbeat = 0.0
        self._announced: tuple[Health, str] | None = None
        self._thread = threading.Thread(target=self._run, name=f"lane-{name}", daemon=True)

    # -- the scheduler's side --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; it makes and starts the executor. Once."""
        self._thread.start()

    def dispatch(self, *workloads: Workload) -> None:
        """Hand over work, in order; several at once cost one wake-up. A sick lane keeps it until it has recovered.

        A lane that ends takes nothing: the attempt stays QUEUED in the DB, and whoever comes next dispatches it.
        """
        if self._ending is None:
            self._mail.post_work(workloads)

    def request_heartbeat(self) -> None:
        """Ask for a heartbeat soon; requests coalesce. Thread-safe, from any thread."""
        self._mail.post(heartbeat=True)

    def revoke(self, ref: TaskInstanceRef) -> bool:
        """Have the executor forget the attempt and stop it.

        Returns whether the attempt had not left the lane's hands: then nothing of it runs or ever will.
        """
        return self._mail.post_revoke(ref)

    def resize(self, parallelism: int | None) -> None:
        """Give the executor that many slots; ``None``: those that it began with. It may refuse."""
        self._mail.post_resize(Resize(self._parallelism if parallelism is None else parallelism))

    def started(self, key: TaskInstanceKey) -> None:
        """Tell the executor that the attempt has been granted its start."""
        self._mail.post_notice(Notice("started", key))

    def reported(self, key: TaskInstanceKey) -> None:
        """Tell the executor that the attempt's own report has been taken."""
        self._mail.post_notice(Notice("reported", key))

    def call(self, method_name: str, *args: Any, token: object, deadline: float | None = None) -> None:
        """Ask the executor ``method_name(*args)``; :meth:`take` brings the :class:`CallAnswer` with ``token``.

        After ``deadline`` seconds (default ``call_deadline``), waiting included, the answer is an error, and what the
        executor says later is dropped. A question whose deadline passes before the executor is free is never put.
        """
        limit = self._call_deadline if deadline is None else deadline
        self._mail.post_question(Question(method_name, args, token, self._clock() + limit))

    def take_stock(self, token: object) -> None:
        """Ask which attempts the executor holds; the :class:`CallAnswer` brings their keys as a frozenset."""
        self._mail.post_question(Question("held", (), token, self._clock() + self._call_deadline))

    def take(self) -> list[Delivery]:
        """Everything that came since the last time, oldest first; overdue questions are answered here."""
        taken, overdue = self._mail.take(self._clock())
        if overdue:
            why = self._health()[1] or "the executor is busy"
            taken += [CallAnswer(q.token, error=f"no answer to {q.method} in time: {why}") for q in overdue]
        return taken

    def send_callback(self, request: str) -> None:
        """Bring an executor's request for a callback, as JSON, to the scheduler. Thread-safe, from any thread.

        Raises ``ValueError`` where it is no :class:`~executors.callbacks.CallbackRequest`.
        """
        self._mail.deliver([CallbackSent(self.name, containment.callback(request))])

    def status(self) -> LaneStatus:
        """How the lane is; true also while its thread is stuck. Cheap enough for every loop."""
        health, reason = self._health()
        figures = self._mail.figures()
        return LaneStatus(
            name=self.name,
            class_name=self.class_name,
            health=health,
            reason=reason,
            parallelism=figures.parallelism,
            open_slots=figures.open_slots,
            queued=figures.queued,
            running=figures.running,
            last_heartbeat=self._last_heartbeat,
        )

    def end(self, timeout: float) -> None:
        """Take nothing new; heartbeat until nothing is queued or running, then ``executor.end()``; the thread ends.

        After ``timeout`` seconds ``executor.terminate()`` takes its place. Follow with :meth:`join`, and :meth:`take`
        what is reported meanwhile.
        """
        self._finish("end", self._clock() + timeout)

    def terminate(self) -> None:
        """``executor.terminate()`` as soon as the executor is free; then the thread ends. Idempotent."""
        self._finish("terminate", 0.0)

    def detach(self) -> None:
        """End the thread and leave what runs alone: remote attempts go on, and are adopted later."""
        self._finish("detach", 0.0)

    def join(self, timeout: float) -> bool:
        """Block until the thread has ended, at most ``timeout`` seconds; false where it is stuck in the executor."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _finish(self, how: str, deadline: float) -> None:
        self._ending = (how, deadline)
        self._mail.refuse_work()
        self._mail.post(heartbeat=True)

    def _health(self) -> tuple[Health, str]:
        if self._ended:
            return Health.UNAVAILABLE, self._ended
        busy, failures, reason = self._busy, self._breaker.failures, self._breaker.reason
        if busy and (seconds := self._clock() - busy[1]) > self._call_deadline:
            return Health.UNAVAILABLE, f"{busy[0]} has not returned for {seconds:.0f} s"
        if self._ending:
            return Health.DRAINING, "shutting down"
        if self._executor is None:
            return Health.UNAVAILABLE, reason or STARTING
        if failures:
            return (Health.DEGRADED if failures < UNAVAILABLE_AFTER else Health.UNAVAILABLE), reason
        return Health.HEALTHY, ""

    # -- the lane's side -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """The endless loop; its body is :meth:`_turn`."""
        ended = "the lane's thread has died; restart the scheduler"
        try:
            ready = False
            while self._turn(ready):
                ready = self._wait()
            ended = "ended"
        except BaseException:
            logger.critical("executor %s: %s", self.name, ended, exc_info=True)
        self._ended = ended
        self._mail.close()
        self._wake_scheduler()

    def _turn(self, ready: bool) -> bool:
        """Do what is due; return whether the lane goes on."""
        if self._ending and self._is_over(*self._ending):
            self._say_goodbye(self._ending[0])
            return False
        if self._executor is None:
            self._open()
        else:
            self._attend_to(self._executor, ready)
        if self._announced != (health := self._health()):
            self._announced = health
            self._wake_scheduler()
        return True

    def _attend_to(self, executor: BaseExecutor, ready: bool) -> None:
        """What fails first is the reason that is shown. Only a turn with a heartbeat in which nothing fails closes the
        breaker, and in a pause nothing counts: a turn for a question must not put the next try off.
        """
        in_pause = bool(self._breaker.failures)
        reasons = [self._obey(executor)]
        handed = self._hand_over(executor)
        if beat := self._heartbeat_is_due(ready or handed > 0):
            reasons.append(self._beat(executor))
        reasons.append(self._settle(executor, handed))
        # Not while the breaker is open: a handle that nobody reads stays ready.
        self._handles, reason = frozenset(), None
        if beat or not in_pause:
            found, reason = self._ask("poll_handles", containment.handles, executor)
            self._handles = found or frozenset()
        reason = next(filter(None, [*reasons, reason]), None)
        if reason:
            self._handles = frozenset()
            if beat or not in_pause:
                self._fail(reason)
        elif beat:
            self._recovered()
        if beat:
            self._next_heartbeat = self._clock() + self._pause()

    def _pause(self) -> float:
        if self._ending:
            return min(POLL_SEC, self._heartbeat_sec)
        asks = self._mail.figures().running and not self._handles
        return min(self._poll_sec, self._heartbeat_sec) if asks else self._heartbeat_sec

    def _wait(self) -> bool:
        """Sleep until there is something to do; return whether a handle of the executor is ready."""
        ready, closed = self._mail.wait(self._handles, self._next_turn() - self._clock())
        if closed:
            self._fail(f"poll_handles() names {closed[0]}, which is no open descriptor")
        return ready

    def _next_turn(self) -> float:
        if self._ending and self._is_over(*self._ending):
            return 0.0
        if self._breaker.failures:
            due = self._breaker.retry_at
        elif self._mail.arrivals:
            return 0.0  # kept while the breaker was open
        else:
            due = self._next_heartbeat
        return min(due, self._ending[1]) if self._ending else due

    def _open(self) -> None:
        """Make and start the executor. One that was made is only started again."""
        if self._ending or self._clock() < self._breaker.retry_at:
            return
        reason = None
        if self._made is None:
            self._made, reason = self._ask("constructor", self._create, self.request_heartbeat)
        if self._made is not None:
            _, reason = self._call(self._made, "start")
        if reason:
            self._fail(reason)
            return
        self._recovered()
        self._executor = self._made
        self._next_heartbeat = self._clock()

    def _obey(self, executor: BaseExecutor) -> str | None:
        """Revoke and answer, also while the breaker is open; return what went wrong, if it matters."""
        trouble = None
        while command := self._mail.next_command():
            reason = None
            if isinstance(command, TaskInstanceRef):
                reason = self._revoke(executor, command)
            elif isinstance(command, Resize):
                self._call(executor, "resize", command.parallelism)  # its no is told in the log, and is no illness
            elif isinstance(command, Notice):
                _, reason = self._call(executor, command.method, command.key)
            elif self._mail.is_open(command, self._clock()):
                reason = self._answer(executor, command)
            trouble = trouble or reason
        return trouble

    def _revoke(self, executor: BaseExecutor, ref: TaskInstanceRef) -> str | None:
        _, reason = self._call(executor, "revoke_task", ref)
        if reason:
            # At least its slot is free again.
            self._ask("revoke_task", BaseExecutor.revoke_task, executor, ref)
        self._discard_ticket(ref.key)
        return reason

    def _answer(self, executor: BaseExecutor, question: Question) -> str | None:
        value, reason = self._ask(question.method, containment.answer, executor, question.method, question.args)
        if not self._mail.answer(question, CallAnswer(question.token, value, reason), self._clock()):
            logger.warning("executor %s: a late answer to %s is dropped", self.name, question.method)
        return reason if question.method in _MUST_WORK else None

    def _hand_over(self, executor: BaseExecutor) -> int:
        """Pass on what was dispatched, and return how many. Work that the executor refuses has failed, alone."""
        if self._breaker.failures:
            return 0
        workloads = self._mail.fetch_work()
        for workload in workloads:
            self._queue(executor, workload)
        return len(workloads)

    def _queue(self, executor: BaseExecutor, workload: Workload) -> None:
        try:
            ticketed = self._tickets.enclose(workload) if self._tickets else workload
        except OSError as error:
            self._mail.deliver([Failed(workload.key, f"its start ticket cannot be written: {error.strerror}")])
            return
        _, reason = self._call(executor, "queue_workload", ticketed)
        if reason:
            self._discard_ticket(workload.key)
            self._mail.deliver([Failed(workload.key, reason, refused=True)])

    def _discard_ticket(self, key: TaskInstanceKey) -> None:
        if self._tickets is not None:
            self._tickets.discard(key.attempt_id)

    def _heartbeat_is_due(self, wanted: bool) -> bool:
        now = self._clock()
        if self._breaker.failures:
            return now >= self._breaker.retry_at
        return wanted or self._mail.heartbeat_wanted or now >= self._next_heartbeat

    def _beat(self, executor: BaseExecutor) -> str | None:
        self._mail.heartbeat_wanted = False
        began = self._clock()
        _, reason = self._call(executor, "heartbeat")
        self._stats.timing(self._duration, self._clock() - began)
        if reason:
            return reason
        self._last_heartbeat = wall.now()
        return None

    def _settle(self, executor: BaseExecutor, handed: int) -> str | None:
        """Collect events and figures, also after a heartbeat that raised: what it saw before is worth as much."""
        found, reason = self._ask("get_event_buffer", containment.events, executor)
        events, rubbish = found or ((), ())
        if rubbish:
            kinds = ", ".join(sorted(set(rubbish)))
            reason = f"{len(rubbish)} entries of its event buffer are no events: {containment.clean(kinds, 200)}"
            logger.error("executor %s: %s", self.name, reason)
        self._deliver_events(events)
        figures, other = self._ask("slots_available", containment.figures, executor)
        self._mail.publish(figures, handed)
        if events and figures and figures.queued:
            self.request_heartbeat()  # what ended has made room only now that its event is taken
        return reason or other

    def _deliver_events(self, events: Sequence[ExecutorEvent]) -> None:
        for event in events:
            if isinstance(event, FINAL_EVENTS):
                self._discard_ticket(event.key)
        if events:
            self._mail.deliver(events)

    def _ask(self, what: str, function: Callable[..., Any], *args: Any) -> tuple[Any, str | None]:
        """The only way into the executor: ``(value, None)``, or ``(None, reason)`` where it raised anything at all.

        :meth:`status` sees for how long the call has been going on.
        """
        self._busy = (what, self._clock())
        try:
            return function(*args), None
        except BaseException as error:
            reason = containment.told(what, error)
            if reason != self._breaker.reason:
                cause = containment.traceback_of(error)
                logger.error("executor %s: %s", self.name, reason, exc_info=cause)  # noqa: TRY400  not all of it
            return None, reason
        finally:
            self._busy = None

    def _call(self, executor: BaseExecutor, method: str, *args: Any) -> tuple[Any, str | None]:
        return self._ask(method, lambda: getattr(executor, method)(*args))

    def _fail(self, reason: str) -> None:
        self._breaker.fail(reason, self._clock())

    def _recovered(self) -> None:
        if self._breaker.failures:
            logger.info("executor %s: works again after %d failures", self.name, self._breaker.failures)
            self._breaker.succeed()

    def _is_over(self, how: str, deadline: float) -> bool:
        executor = self._executor
        if how != "end" or executor is None or self._clock() >= deadline:
            return True
        return self._is_drained(executor)

    def _is_drained(self, executor: BaseExecutor) -> bool:
        drained, _ = self._ask("queued_tasks", lambda: not executor.queued_tasks and not executor.running)
        return bool(drained)

    def _say_goodbye(self, how: str) -> None:
        """Let the executor close, and take its last events."""
        executor = self._executor or self._made
        if executor is None or how == "detach":
            return
        drained = executor is self._executor and self._is_drained(executor)
        self._call(executor, "end" if how == "end" and drained else "terminate")
        self._settle(executor, 0)
