"""Whether a silent attempt may be called silent: only while what it speaks through has been there for long enough."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from runtime.core.clock import SECOND
from runtime.db.components import API_SERVER, SILENT_SECONDS, last_heartbeat


@dataclass(slots=True)
class ApiWatch:
    """Since when the task API has been alive without a break, as this scheduler sees it.

    It looks for heartbeats that change, not for young ones: the clocks of two hosts need not agree.
    """

    alive_since: int | None = None
    """In microseconds by this host's clock; ``None`` while no API server is to be heard."""
    _heard: int | None = None
    _heard_at: int = 0
    _looked_at: int = 0

    def look(self, connection: Connection, at: int) -> None:
        """Read the newest heartbeat of any API server."""
        newest = last_heartbeat(connection, API_SERVER)
        pause = at - self._looked_at
        self._looked_at = at
        if newest is not None and newest != self._heard:
            self._heard, self._heard_at = newest, at
        if newest is None or at - self._heard_at > SILENT_SECONDS * SECOND:
            self.alive_since = None
        elif self.alive_since is None or pause > SILENT_SECONDS * SECOND:
            self.alive_since = at
