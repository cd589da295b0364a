"""Frames over a local stream socket: the one thing that LocalExecutor and its worker processes share.

A frame is a length (4 bytes, network order, of what follows), a kind (1 byte) and a body. Both ends are non-blocking
with a bounded out-buffer: a peer that stops reading can never block the scheduler (apache/airflow #70526).

======== ================== ===================================================================================
Kind     Direction          Body
======== ================== ===================================================================================
ASSIGN   executor → worker  a :class:`~executors.workload.Workload` as JSON; only to an idle worker
REPLY    executor → worker  the task service's answer to the oldest unanswered CALL
KILL     executor → worker  JSON ``{"attempt_id", "reason"}``: stop that attempt (TERM, then KILL), then ENDED
STOP     executor → worker  empty: finish the current attempt, then exit
CALL     worker → executor  a request to the task service, opaque here
ENDED    worker → executor  JSON ``{"attempt_id", "ok", "reason"}``: ended, reaped, reported; its slot is free
IDLE     worker → executor  JSON ``{"files": [...], "rss": bytes, "retire": bool}``: ready for the next one, with these
                            file versions loaded; ``retire`` true: this worker exits now
======== ================== ===================================================================================
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from enum import IntEnum

MAX_FRAME = 64 * 2**20
"""An XCom of this size is refused long before; a larger frame means a broken peer."""
MAX_BUFFERED = 2 * MAX_FRAME


class Kind(IntEnum):
    ASSIGN = 1
    REPLY = 2
    KILL = 3
    STOP = 4
    CALL = 5
    ENDED = 6
    IDLE = 7


class ChannelClosedError(ConnectionError):
    """The peer is gone, or it broke the protocol."""


_HEADER = struct.Struct("!IB")
_KINDS = frozenset(Kind)


class Channel:
    """One end. Not thread-safe."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._in = bytearray()
        self._out = bytearray()

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether bytes wait for the peer to read: poll for writability, then :meth:`flush`."""
        return bool(self._out)

    def send(self, kind: Kind, body: bytes = b"", *, more: bool = False) -> None:
        """Send or buffer one frame; never blocks. Raises :class:`ChannelClosedError`.

        :param more: another frame follows at once: both go out together and wake the peer once.
        """
        if len(body) > MAX_FRAME or len(self._out) > MAX_BUFFERED:
            raise ChannelClosedError(
                f"{kind.name} frame of {len(body)} bytes does not fit; {len(self._out)} are unread"
            )
        self._out += _HEADER.pack(len(body) + 1, kind)
        self._out += body
        if not more:
            self.flush()

    def flush(self) -> None:
        """Send what is buffered, as far as the peer takes it. Raises :class:`ChannelClosedError`."""
        while self._out:
            try:
                sent = self._sock.send(self._out)
            except BlockingIOError:
                return
            except OSError as error:
                raise ChannelClosedError(str(error)) from error
            del self._out[:sent]

    def receive(self) -> list[tuple[Kind, bytes]]:
        """Return the complete frames that have arrived; empty where there are none yet.

        Raises :class:`ChannelClosedError` on end of file, after everything before it has been returned.
        """
        closed = self._read()
        frames = self._frames()
        if closed and not frames:
            raise ChannelClosedError("end of file")
        return frames

    def hang_up(self) -> None:
        """End both directions; what has arrived can still be received, then comes the end of file. Never raises."""
        self._out.clear()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()

    def _read(self) -> bool:
        while True:
            try:
                data = self._sock.recv(262_144)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True  # the peer left without reading everything; frames of its that are here still count
            except OSError as error:
                raise ChannelClosedError(str(error)) from error
            if not data:
                return True
            self._in += data
            if len(data) < 262_144:
                return False

    def _frames(self) -> list[tuple[Kind, bytes]]:
        frames: list[tuple[Kind, bytes]] = []
        start = 0
        while len(self._in) - start >= _HEADER.size:
            length, kind = _HEADER.unpack_from(self._in, start)
            if length > MAX_FRAME + 1 or length < 1:
                raise ChannelClosedError(f"frame of {length} bytes")
            end = start + 4 + length
            if len(self._in) < end:
                break
            if kind not in _KINDS:
                raise ChannelClosedError(f"frame of unknown kind {kind}")
            frames.append((Kind(kind), bytes(self._in[start + _HEADER.size : end])))
            start = end
        del self._in[:start]
        return frames
