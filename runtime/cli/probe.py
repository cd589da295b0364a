"""One question to the API server, asked before it is there: the request waits in its socket until it is."""

from __future__ import annotations

import socket
from typing import Any

from runtime.core.errors import HybridError

_REQUEST = b"GET /api/v2/monitor/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_TIMEOUT = 5.0


class Probe:
    """Asks at once, see :attr:`answered`. By hand, for an HTTP client would stay in memory for ever.

    :param address: of a socket of this host that listens, as ``getsockname`` gives it.
    """

    def __init__(self, address: Any) -> None:
        self.answered = False
        """Whether the answer came and was 200, as far as :meth:`look` has seen."""
        self._socket = socket.create_connection(address[:2], _TIMEOUT)
        self._socket.sendall(_REQUEST)
        self._socket.setblocking(False)

    def look(self) -> bool:
        """:attr:`answered` now. Raises :class:`HybridError` for another answer than 200."""
        if self.answered:
            return True
        try:
            begin = self._socket.recv(64)
        except OSError:
            return False
        if not begin:
            return False  # it died; whoever started it sees that, and its last lines
        status = begin.partition(b" ")[2][:3].decode(errors="replace")
        if status != "200":
            raise HybridError(f"the API server answered {status} when it was asked for its health")
        self.answered = True
        return True

    def close(self) -> None:
        self._socket.close()
