"""The socket that a log server listens on."""

from __future__ import annotations

import socket

from runtime.config.options import Logging

WAITING_READERS = 64


def listen(section: Logging) -> socket.socket:
    """Listen where ``[logging]`` says. Raises ``OSError``."""
    host, port = section.worker_log_server_host, section.worker_log_server_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(0, f"{host!r} is no host name") from error
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(WAITING_READERS)
    except OSError:
        made.close()
        raise
    return made


def place(section: Logging) -> str:
    """``host:port``, for messages."""
    return f"{section.worker_log_server_host}:{section.worker_log_server_port}"
