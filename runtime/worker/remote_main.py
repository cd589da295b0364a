"""The process that supervises attempts for a host, one after the other: the other side of ``remote_process``.

``python -m runtime.worker.remote_main``, told everything over the descriptor 9.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from contextlib import suppress
from typing import NoReturn

import msgspec

from runtime.worker.attempt import set_pythonpath
from runtime.worker.linux import die_with_parent
from runtime.worker.remote import RemoteWorker, open_worker
from runtime.worker.remote_process import DESCRIPTOR, LONGEST, Ended, Run, Setup, Stop

_order = msgspec.json.Decoder(Setup | Run | Stop)


class _Line:
    """Its end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.worker: RemoteWorker | None = None

    def next(self) -> Setup | Run | Stop:
        """Wait for it. Raises ``SystemExit`` where the host is gone."""
        data = self._socket.recv(LONGEST)
        if not data:
            raise SystemExit(0)
        order: Setup | Run | Stop = _order.decode(data)
        return order

    def answer(self, ended: Ended) -> None:
        self._socket.send(msgspec.json.encode(ended))

    def fileno(self) -> int:
        return self._socket.fileno()

    def hear(self) -> None:
        """While an attempt runs: there is something to read."""
        order = self.next()
        if isinstance(order, Stop) and self.worker is not None:
            self.worker.stop(order.reason, kill=order.kill)


def main() -> NoReturn:
    """The fresh interpreter."""
    sock = socket.socket(fileno=DESCRIPTOR)
    os.set_inheritable(DESCRIPTOR, False)
    line = _Line(sock)
    setup = line.next()
    assert isinstance(setup, Setup)
    die_with_parent(setup.host_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's affair
    logging.basicConfig(
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        level=setup.config.get("log_level", "INFO"),
    )
    _set_title("hybrid remote-worker")
    set_pythonpath(setup.pythonpath)
    worker = line.worker = open_worker(setup.config, line.fileno(), line.hear)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop("its worker was stopped"))
    while True:
        order = line.next()
        if isinstance(order, Run):  # a stop that comes now was for the one before
            line.answer(_run(worker, order))


def _run(worker: RemoteWorker, order: Run) -> Ended:
    try:
        return Ended(*worker.run(order.attempt_id, order.ticket))
    except OSError as error:
        return Ended(False, "", str(error))


def _set_title(title: str) -> None:
    with suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(title)


if __name__ == "__main__":
    main()
