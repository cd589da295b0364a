"""What a lane's thread and the scheduler's thread share: work and questions in, events and answers out."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from executors.events import ExecutorEvent
from executors.workload import TaskInstanceKey, TaskInstanceRef, Workload


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """What became of one :meth:`Lane.call`: exactly one answer per call, with a value or with an ``error`` line."""

    token: object
    value: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CallbackSent:
    """What an executor gave to :meth:`~executors.base.BaseExecutor.send_callback`, as JSON."""

    executor: str
    request: str


Delivery: TypeAlias = ExecutorEvent | CallAnswer | CallbackSent


@dataclass(frozen=True, slots=True)
class Figures:
    parallelism: int
    open_slots: int = 0
    queued: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """News of an attempt for its executor: ``started`` or ``reported``."""

    method: str
    key: TaskInstanceKey


@dataclass(frozen=True, slots=True)
class Resize:
    parallelism: int


@dataclass(eq=False, slots=True)
class Question:
    method: str
    args: tuple[Any, ...]
    token: object
    deadline: float


class Mailbox:
    """What the two threads share: work and questions in, events and answers out. All locking is here.

    The lock is held for a few instructions only, never during a call into an executor.
    """

    def __init__(self, figures: Figures, wake_scheduler: Callable[[], None]) -> None:
        # Reentrant: a signal handler may post while the main thread that it interrupted holds the lock.
        self._lock = threading.RLock()
        self._wake_scheduler = wake_scheduler
        self._wake_fd = _eventfd()
        self._signalled = self._closed = False
        self._figures = figures
        self._unseen = 0
        self._questions: set[Question] = set()
        self._outbox: list[Delivery] = []
        self._commands: deque[TaskInstanceRef | Notice | Question | Resize] = deque()
        self.arrivals: dict[TaskInstanceKey, Workload] = {}
        self.heartbeat_wanted = False

    # -- the scheduler's side

    def post(self, *, heartbeat: bool = False) -> None:
        """Wake the lane, with or without the wish for a heartbeat."""
        with self._lock:
            self.heartbeat_wanted |= heartbeat
            if not self._signalled and not self._closed:
                self._signalled = True
                self._ring()

    def post_work(self, workloads: Iterable[Workload]) -> None:
        with self._lock:
            before = len(self.arrivals)
            for workload in workloads:
                self.arrivals.setdefault(workload.key, workload)
            self._unseen += len(self.arrivals) - before
            self.post()

    def post_revoke(self, ref: TaskInstanceRef) -> bool:
        with self._lock:
            unsent = self.arrivals.pop(ref.key, None) is not None
            self._unseen -= unsent
            self._commands.append(ref)
            self.post()
            return unsent

    def post_notice(self, notice: Notice) -> None:
        with self._lock:
            self._commands.append(notice)
            self.post()

    def post_resize(self, resize: Resize) -> None:
        with self._lock:
            self._commands.append(resize)
            self.post(heartbeat=True)

    def post_question(self, question: Question) -> None:
        with self._lock:
            self._questions.add(question)
            self._commands.append(question)
            self.post()

    def take(self, now: float) -> tuple[list[Delivery], list[Question]]:
        """What came, and the questions that are overdue; an answer to one of those will be dropped."""
        with self._lock:
            taken, self._outbox = self._outbox, []
            overdue = [question for question in self._questions if now > question.deadline]
            self._questions.difference_update(overdue)
            return taken, overdue

    def figures(self) -> Figures:
        """Those that the lane published last, with what it has not seen yet counted as queued."""
        with self._lock:
            figures, unseen = self._figures, self._unseen
        open_slots = max(0, figures.open_slots - unseen)
        return Figures(figures.parallelism, open_slots, figures.queued + unseen, figures.running)

    def refuse_work(self) -> None:
        """Forget the work that has not been handed over."""
        with self._lock:
            self._unseen -= len(self.arrivals)
            self.arrivals.clear()

    # -- the lane's side

    def wait(self, handles: Iterable[int], seconds: float) -> tuple[bool, list[int]]:
        """Sleep until something is posted, a handle is ready or the time is over.

        Returns whether a handle is ready, and the handles that are no open descriptors.
        """
        poll = select.poll()  # made anew: a descriptor may be closed and its number reused between two turns
        poll.register(self._wake_fd, select.POLLIN)
        for handle in handles:
            poll.register(handle, select.POLLIN)
        wake_fd = self._wake_fd
        ready = dict(poll.poll(max(0.0, seconds) * 1000))
        if ready.pop(wake_fd, 0):
            with self._lock:
                self._signalled = False
                try:
                    os.eventfd_read(self._wake_fd)
                except OSError:
                    self._wake_fd = _eventfd()
        return bool(ready), [handle for handle, flags in ready.items() if flags & select.POLLNVAL]

    def next_command(self) -> TaskInstanceRef | Notice | Question | Resize | None:
        with self._lock:
            return self._commands.popleft() if self._commands else None

    def fetch_work(self) -> list[Workload]:
        with self._lock:
            arrivals, self.arrivals = self.arrivals, {}
        return list(arrivals.values())

    def is_open(self, question: Question, now: float) -> bool:
        return question in self._questions and now <= question.deadline

    def answer(self, question: Question, answer: CallAnswer, now: float) -> bool:
        """Deliver, unless the question has been given up meanwhile; return whether."""
        with self._lock:
            if not self.is_open(question, now):
                return False
            self._questions.remove(question)
        self.deliver([answer])
        return True

    def deliver(self, things: Iterable[Delivery]) -> None:
        with self._lock:
            was_empty = not self._outbox
            self._outbox.extend(things)
        if was_empty:
            self._wake_scheduler()

    def publish(self, figures: Figures | None, handed: int) -> None:
        """New figures, if there are any, that include ``handed`` workloads; slots that opened wake the scheduler."""
        with self._lock:
            old, self._figures = self._figures, figures or self._figures
            self._unseen -= handed
            opened = self._figures.open_slots > old.open_slots and not self._outbox
        if opened:
            self._wake_scheduler()

    def close(self) -> None:
        with self._lock, suppress(OSError):
            self._closed = True
            os.close(self._wake_fd)

    def _ring(self) -> None:
        # An executor that closes descriptors which are not its own may have closed this one. Should its number belong
        # to something else by now, nobody can tell; the lane then turns when its next heartbeat is due.
        try:
            os.eventfd_write(self._wake_fd, 1)
        except OSError:
            self._wake_fd = _eventfd()
            os.eventfd_write(self._wake_fd, 1)


def _eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
