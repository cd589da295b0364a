"""The worker processes that exist, each with its channel, watched through one epoll descriptor. Decides nothing."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from executors.local.channel import Channel, ChannelClosedError, Kind
from executors.local.nursery import Nursery
from executors.workload import TaskInstanceKey


@dataclass(eq=False, slots=True)
class Worker:
    """One worker process, from the request to fork it until it is reaped."""

    number: int
    channel: Channel
    pid: int | None = None
    """``None`` until the zygote has answered."""
    key: TaskInstanceKey | None = None
    """The attempt it was given and has not reported the end of."""
    revoked: bool = False
    """The end of that attempt interests nobody."""
    leaving: bool = False
    """It gets nothing more: it was told to stop, or it said that it will."""
    spoke: bool = False
    """Whether it ever sent a frame."""
    files: frozenset[str] = frozenset()
    """``rel_path@file_hash`` of the file versions it holds."""
    rss: int = 0
    """Bytes, as of its last IDLE."""
    idle_since: float = 0.0
    """``time.monotonic()`` of its IDLE; 0 while it is not idle."""
    hung_up_at: float | None = None
    """When the end of file was seen on its channel; its end is certain only when the zygote has reaped it."""
    polled_for: int = field(default=select.EPOLLIN)

    @property
    def usable(self) -> bool:
        return not self.leaving and self.hung_up_at is None


class Crew:
    """Forks, addresses and buries workers. ``fileno()`` turns readable whenever anything here wants attention."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._epoll: select.epoll | None = None
        self._by_fd: dict[int, Worker] = {}
        self._next_number = 1
        self._zygote_fd = -1
        self._zygote_polled_for = 0
        self.workers: dict[int, Worker] = {}

    def fileno(self) -> int:
        return self._epoll.fileno() if self._epoll else -1

    @property
    def is_open(self) -> bool:
        return self._epoll is not None

    @property
    def usable_count(self) -> int:
        """How many workers take work, now or after what they do."""
        return sum(worker.usable for worker in self.workers.values())

    def open(self) -> None:
        """Get ready to watch; idempotent."""
        if self._epoll is None:
            self._epoll = select.epoll()

    def start_zygote(self) -> None:
        """Start it and watch it. Raises ``OSError``."""
        self._nursery.start()
        self._zygote_fd = self._nursery.fileno()
        self._zygote_polled_for = select.EPOLLIN
        if self._epoll is not None:
            self._epoll.register(self._zygote_fd, select.EPOLLIN)

    def forget_zygote(self) -> None:
        """Stop watching it; to be called before its socket is closed."""
        self._unwatch(self._zygote_fd)
        self._zygote_fd = -1

    def hire(self) -> Worker:
        """Ask for a new worker; what is sent to it waits in its socket. Raises ``OSError`` without descriptors."""
        ours, theirs = socket.socketpair()
        worker = Worker(self._next_number, Channel(ours))
        self._next_number += 1
        self.workers[worker.number] = worker
        self._by_fd[ours.fileno()] = worker
        if self._epoll is not None:
            self._epoll.register(ours.fileno(), select.EPOLLIN)
        self._nursery.fork(worker.number, theirs)
        return worker

    def send(self, worker: Worker, kind: Kind, body: bytes = b"") -> bool:
        """Send or buffer a frame; ``False`` where the worker is gone: its end then shows in :meth:`poll`."""
        try:
            worker.channel.send(kind, body)
        except ChannelClosedError:
            worker.channel.hang_up()
            return False
        if worker.channel.wants_write:
            self._watch(worker)
        return True

    def receive(self, worker: Worker) -> list[tuple[Kind, bytes]]:
        """The frames that arrived from it; at the end of file, marks it as hung up and stops watching it."""
        if worker.hung_up_at is not None:
            return []
        try:
            frames = worker.channel.receive()
        except ChannelClosedError:
            self._unwatch(worker.channel.fileno())
            worker.channel.hang_up()
            worker.hung_up_at = time.monotonic()
            return []
        worker.spoke = worker.spoke or bool(frames)
        return frames

    def poll(self, timeout: float) -> tuple[list[Worker], bool]:
        """Workers that have something to say, and whether the zygote has. Waits up to ``timeout`` seconds."""
        if self._epoll is None:
            return [], False
        talkers: list[Worker] = []
        zygote = False
        for fd, mask in self._epoll.poll(timeout):
            if fd == self._zygote_fd:
                zygote = True
            elif (worker := self._by_fd.get(fd)) is not None:
                if mask & select.EPOLLOUT:
                    self._flush(worker)
                if mask & ~select.EPOLLOUT:
                    talkers.append(worker)
        return talkers, zygote

    def wait(self, timeout: float) -> None:
        """Wait until anything wants attention, at most ``timeout`` seconds."""
        if self._epoll is not None:
            self._epoll.poll(timeout, 1)

    def flush(self) -> None:
        """Push requests to the zygote; watch whether it takes the rest."""
        self._nursery.flush()
        wanted = select.EPOLLIN | (select.EPOLLOUT if self._nursery.wants_write else 0)
        if self._epoll is not None and self._zygote_fd >= 0 and wanted != self._zygote_polled_for:
            self._epoll.modify(self._zygote_fd, wanted)
            self._zygote_polled_for = wanted

    def bury(self, worker: Worker) -> None:
        """Forget a worker and close its channel."""
        self.workers.pop(worker.number, None)
        if self._by_fd.pop(worker.channel.fileno(), None) and worker.hung_up_at is None:
            self._unwatch(worker.channel.fileno())
        worker.channel.close()

    def hung_up_before(self, moment: float) -> Iterator[Worker]:
        """Workers whose channel ended before ``moment`` and whose process has not been reaped yet."""
        for worker in list(self.workers.values()):
            if worker.hung_up_at is not None and worker.hung_up_at < moment:
                yield worker

    def close(self) -> None:
        """Bury everyone and stop watching. Idempotent."""
        for worker in list(self.workers.values()):
            self.bury(worker)
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def _flush(self, worker: Worker) -> None:
        try:
            worker.channel.flush()
        except ChannelClosedError:
            worker.channel.hang_up()
        self._watch(worker)

    def _watch(self, worker: Worker) -> None:
        wanted = select.EPOLLIN | (select.EPOLLOUT if worker.channel.wants_write else 0)
        if self._epoll is not None and wanted != worker.polled_for:
            self._epoll.modify(worker.channel.fileno(), wanted)
            worker.polled_for = wanted

    def _unwatch(self, fd: int) -> None:
        if self._epoll is not None and fd >= 0:
            self._epoll.unregister(fd)
