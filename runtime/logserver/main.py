"""``hybrid serve-logs``: the process around the server."""

from __future__ import annotations

import logging
import signal
import socket
from types import FrameType
from typing import NoReturn

from runtime.config import Settings
from runtime.core.errors import HybridError
from runtime.logserver.listening import listen, place
from runtime.logserver.server import LogServer
from runtime.tokens.keys import load_log_tokens

log = logging.getLogger(__name__)
_FOR_EVER = 86_400.0


def run_log_server(settings: Settings, inherited: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0.

    :param inherited: descriptor of a socket that listens already.

    Raises :class:`HybridError` where it cannot begin.
    """
    tokens = load_log_tokens(settings)
    listener = _listen(settings) if inherited is None else socket.socket(fileno=inherited)
    with LogServer(listener, settings.logging.base_log_folder, tokens) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
        host, port = listener.getsockname()[:2]
        log.info("serving the logs below %s on %s:%d", settings.logging.base_log_folder, host, port)
        try:
            server.serve_forever(poll_interval=_FOR_EVER)
        except _EndedError:
            log.info("the log server has ended")
    return 0


class _EndedError(BaseException):
    """Raised by a signal in the main thread, which only waits for readers; each of them has a thread of its own."""


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise _EndedError


def _listen(settings: Settings) -> socket.socket:
    try:
        return listen(settings.logging)
    except OSError as error:
        raise HybridError(
            f"the log server cannot listen on {place(settings.logging)}: {error.strerror}; end what holds it, or set "
            "another [logging] worker_log_server_port, on every host"
        ) from error
