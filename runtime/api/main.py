"""``hybrid api-server``: the process around the server."""

from __future__ import annotations

import gc
import logging
import socket
import sys

from runtime.api.listening import listen, with_port_of
from runtime.api.serving import serving
from runtime.config import Settings
from runtime.db.engine import open_database
from runtime.tokens.keys import load_tokens

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005
"""Seconds. The default of 5 ms is how long an answer waits for the interpreter while the other thread is busy."""


def run_api_server(settings: Settings, listener: socket.socket | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0.

    :param listener: a socket that listens already; else one is made for ``[api] host`` and ``port``.

    Raises :class:`HybridError` where it cannot begin.
    """
    tokens = load_tokens(settings)
    database = open_database(settings, "hybrid api-server")
    try:
        with listener or listen(settings.api.host, settings.api.port) as bound:
            settings = with_port_of(bound, settings)
            sys.setswitchinterval(SWITCH_INTERVAL)
            with serving(settings, database, tokens) as server:
                log.info("the task API listens on %s", settings.task_api_url)
                gc.freeze()
                server.run(sockets=[bound])
    finally:
        database.close()
    log.info("the API server has ended")
    return 0
