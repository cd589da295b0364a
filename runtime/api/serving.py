"""Everything behind the socket: the application, its database thread, its row, and the uvicorn server around them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn

from runtime.api.app import make_app
from runtime.api.batching import Batcher
from runtime.api.tasks import TaskRoutes
from runtime.config import Settings
from runtime.config.parity import API_SERVER, SIGNING_KEY, declare
from runtime.db import components
from runtime.db.engine import Database
from runtime.db.hints import send_hint
from runtime.db.presence import Presence
from runtime.metrics.reporting import make_collector
from runtime.secrets.keyring import Keyring
from runtime.service.tasks import TaskService
from runtime.tokens.tokens import Tokens

log = logging.getLogger(__name__)

GRACE = 10
"""Seconds that requests get to be answered when the server stops."""
KEEP_ALIVE = 65
"""Seconds that a connection may be idle: a heartbeat every minute still finds it open."""
TICK = 1.0
"""Seconds."""
_LAST_WRITE = 2.0
"""Seconds for the database thread to end after that."""


class Server(uvicorn.Server):
    """Stops at the first signal with grace, at the second at once; the exit code is the caller's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Answer what has been taken, and end. For any thread, and for a signal handler."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stopped.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(1)
        self.stop()

    async def main_loop(self) -> None:
        """Once a second, for the header ``Date``. uvicorn's own looks ten times a second whether it is to end."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), TICK)


class _Hint:
    """Notes in the transaction that a report came, and tells the schedulers after the answers are on their way."""

    def __init__(self, database: Database, home: Path) -> None:
        self._database = database
        self._home = home
        self._due = False

    def note(self) -> None:
        self._due = True

    def send(self) -> None:
        if self._due:
            self._due = False
            send_hint(self._database, self._home)


@contextmanager
def serving(settings: Settings, database: Database, tokens: Tokens) -> Iterator[Server]:
    """A server to be run inside; afterwards what it took is answered, its thread and its row have ended.

    Raises ``DBAPIError`` where its row cannot be written.
    """
    hint = _Hint(database, settings.home)
    collector, statsd = make_collector(settings.metrics)
    keyring = Keyring(settings.home, settings.core.fernet_key)
    service = TaskService(database, on_report=hint.note, stats=collector, keyring=keyring)
    declared = declare(settings, API_SERVER, {SIGNING_KEY: tokens.key_id()})
    presence = Presence(database, components.API_SERVER, lambda: json.dumps(collector.snapshot()), declared)
    batcher = Batcher(service, afterwards=hint.send, duty=presence.beat, every=components.BEAT_SECONDS)
    routes = TaskRoutes(batcher, tokens)
    config = uvicorn.Config(
        make_app(settings, database, routes),
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    batcher.start()
    try:
        yield Server(config)
    finally:
        if batcher.stop(_LAST_WRITE):
            presence.end()
        else:
            log.error("the database thread is stuck; this server ends without it")
        if statsd is not None:
            statsd.close()
