"""The health check of a container: ``python healthy.py api-server | scheduler | dag-processor``; 0 when all is well.

A process that is there may still be stuck, so what counts is an answer, or a heartbeat: the row that the daemon of this
host keeps in the metadata DB.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys

TIMEOUT = 5.0
"""Seconds for the API server's answer."""


def main() -> int:
    """Print in one line how it is; 0 when well, 1 when not, 2 for wrong usage."""
    component = sys.argv[1] if len(sys.argv) == 2 else ""
    if component not in {"api-server", "scheduler", "dag-processor"}:
        print("usage: healthy.py api-server | scheduler | dag-processor", file=sys.stderr)
        return 2
    try:
        problem = _api_server() if component == "api-server" else _heartbeat(component)
    except Exception as error:
        problem = " ".join(str(error).split()) or type(error).__name__
    print(f"{component}: {problem or 'healthy'}")
    return 1 if problem else 0


def _api_server() -> str:
    """What is wrong with it, or nothing. Asked every few seconds, so it imports nothing of ours."""
    port = int(os.environ.get("HYBRID__API__PORT") or 8080)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", "/api/v2/monitor/health")
    status = json.load(connection.getresponse())["metadatabase"]["status"]
    return "" if status == "healthy" else f"its metadata DB is {status}"


def _heartbeat(kind: str) -> str:
    """What is wrong with this host's daemon, or nothing."""
    from sqlalchemy import func, select

    from runtime.config import load
    from runtime.core.clock import SECOND
    from runtime.db.engine import Database, database_clock
    from runtime.db.schema import component, scheduler

    settings = load()
    table = scheduler if kind == "scheduler" else component
    query = select(func.max(table.c.heartbeat_at)).where(
        table.c.hostname == socket.gethostname(), table.c.ended_at.is_(None)
    )
    if kind != "scheduler":
        query = query.where(component.c.kind == kind)
    with Database(settings.database.sql_alchemy_conn).read() as connection:
        beat, now = connection.execute(query).scalar_one(), database_clock(connection)
    if beat is None:
        return "no heartbeat of this host"
    age = (now - beat) / SECOND
    return "" if age < settings.scheduler.scheduler_health_check_threshold else f"last heartbeat {age:.0f} s ago"


if __name__ == "__main__":
    sys.exit(main())
