"""The attempt's end of the line to its supervisor."""

from __future__ import annotations

import os
import select
import threading

from executors.local.channel import Channel, ChannelClosedError, Kind
from runtime.core.messages import Asked
from runtime.worker import protocol
from runtime.worker.interrupts import Interrupts


class SupervisorLine:
    """Blocking, usable from any thread of the attempt's process, and from no other process.

    All methods raise ``ConnectionError`` when the supervisor is gone.
    """

    def __init__(self, channel: Channel, interrupts: Interrupts) -> None:
        self._channel = channel
        self.interrupts = interrupts
        self._turn = threading.Lock()
        self._owner = os.getpid()
        self._frames: list[tuple[Kind, bytes]] = []

    def ask(self, request: Asked) -> bytes:
        """The task service's encoded reply. Raises ``RuntimeError`` in a process that the task has forked."""
        if os.getpid() != self._owner:
            raise RuntimeError(
                "XComs and the like can be used by the task's own process only, not by one that it has forked"
            )
        with self._turn:
            self._send(Kind.CALL, protocol.encode(request))
            return self.receive(Kind.REPLY)

    def tell_begin(self, begin: protocol.Begin) -> None:
        """User code begins now."""
        self._send(Kind.IDLE, protocol.encode(begin))

    def tell_result(self, result: protocol.Result) -> None:
        """The last word."""
        self._send(Kind.ENDED, protocol.encode(result))

    def receive(self, wanted: Kind) -> bytes:
        """Wait for the next frame, which is a ``wanted`` one."""
        while not self._frames:
            self.interrupts.undisturbed(self._read)
            if not self._frames:
                _wait(self._channel, select.POLLIN)
        kind, body = self._frames.pop(0)
        if kind is not wanted:
            raise ChannelClosedError(f"{kind.name} frame instead of {wanted.name}")
        return body

    def _read(self) -> None:
        self._frames += self._channel.receive()

    def _send(self, kind: Kind, body: bytes) -> None:
        self.interrupts.undisturbed(lambda: self._channel.send(kind, body))
        while self._channel.wants_write:
            _wait(self._channel, select.POLLOUT)
            self.interrupts.undisturbed(self._channel.flush)


def _wait(channel: Channel, event: int) -> None:
    poller = select.poll()
    poller.register(channel.fileno(), event)
    poller.poll()
