"""Connections that another thread can cut, so that nothing waits for an API server that hangs."""

from __future__ import annotations

import socket
import threading
import weakref
from contextlib import suppress
from typing import Any


class Sockets:
    """All open sockets of one cluster's client. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_cut = False

    def track(self, pool_manager: Any) -> None:
        """From now on, connections of this ``urllib3.PoolManager`` are known here."""
        classes = dict(pool_manager.pool_classes_by_scheme)
        pool_manager.pool_classes_by_scheme = {scheme: self._tracked(pool) for scheme, pool in classes.items()}

    def cut(self) -> None:
        """End every call that waits for an answer, and every one to come."""
        with self._lock:
            self._is_cut = True
            open_now = list(self._open)
        for sock in open_now:
            shut(sock)

    def _add(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)
            is_cut = self._is_cut
        if is_cut:
            shut(sock)

    def _tracked(self, pool: Any) -> Any:
        add = self._add

        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                add(self.sock)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def shut(sock: socket.socket) -> None:
    """Wake whoever reads from it. Below TLS: an ``SSLSocket`` would take its session away from under the reader."""
    beneath = getattr(sock, "socket", sock)  # of urllib3's TLS within TLS, through a proxy
    with suppress(OSError):
        socket.socket.shutdown(beneath, socket.SHUT_RDWR)
