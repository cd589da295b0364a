"""A server inside another process, for as long as that needs one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.api.listening import listen, with_port_of
from runtime.api.serving import serving
from runtime.config import Settings
from runtime.core.task_api import PREFIX
from runtime.db.engine import Database
from runtime.tokens.tokens import Tokens

HOST = "127.0.0.1"


@contextmanager
def serve(settings: Settings, database: Database, tokens: Tokens) -> Iterator[str]:
    """Serve on a free port of this host; yields the URL, which ends in ``/execution/v1``. Its threads end with it."""
    with listen(HOST, 0) as bound:
        settings = with_port_of(bound, settings)
        with serving(settings, database, tokens) as server:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="api-server", daemon=True)
            thread.start()
            try:
                yield f"http://{HOST}:{settings.api.port}{PREFIX}"
            finally:
                server.stop()
                thread.join()
