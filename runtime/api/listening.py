"""The server's socket, bound by whoever starts the server: a taken port is known before anything else begins."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace

from runtime.config import Settings
from runtime.core.errors import HybridError

_BACKLOG = 2048
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Accepted connections inherit it. uvicorn closes those that are idle between two requests; one whose worker's host has
gone before its first request, or in the middle of one, would be kept for ever."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; ``port`` 0 is any free one. Raises :class:`HybridError`."""
    where = f"[api] host = {host}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no host name"
        raise HybridError(f"{where} cannot be listened on: {reason}; use an address of this host") from error
    # With its protocol named, or asyncio does not turn Nagle's algorithm off and each answer waits 40 ms for an ACK.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for level, name, value in _KEEPALIVE:
            made.setsockopt(level, name, value)
        made.bind(address)
        # At once: before it, SO_REUSEADDR lets another process bind the same port.
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise HybridError(_reason(error, host, port)) from error
    return made


def _reason(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken by another process; end that one, or set another [api] port"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is for root only; set another [api] port, 1024 or above"
    return f"[api] host = {host}, port = {port} cannot be listened on: {os.strerror(error.errno or 0)}"


def with_port_of(listener: socket.socket, settings: Settings) -> Settings:
    """The settings with the port that the socket really has."""
    return replace(settings, api=replace(settings.api, port=listener.getsockname()[1]))
