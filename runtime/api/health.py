"""How the deployment is, in the shape of Airflow's ``/api/v2/monitor/health``, with what is ours added."""

from __future__ import annotations

from typing import Any, TypedDict

from runtime.config import Settings
from runtime.core.clock import SECOND, iso
from runtime.db import components, queries
from runtime.db.engine import Database, database_clock

_FROM_GOOD_TO_BAD = ("healthy", "paused", "draining", "degraded", "unavailable")


class Health(TypedDict):
    """``status`` is ``healthy``, ``unhealthy`` or ``None`` (there is none); heartbeats are ISO-8601 or ``None``."""

    metadatabase: dict[str, str | None]
    scheduler: dict[str, str | None]
    dag_processor: dict[str, str | None]
    triggerer: dict[str, str | None]
    api_server: dict[str, str | None]
    executors: dict[str, str]
    """Name → the worst that any live scheduler says of it."""


def read_health(database: Database, settings: Settings) -> Health:
    """What the database tells. Raises what the database raises."""
    with database.read() as connection:
        since = database_clock(connection) - round(settings.scheduler.scheduler_health_check_threshold * SECOND)
        schedulers = queries.live_schedulers(connection, since=0)
        beats = {
            "scheduler": max((row["heartbeat_at"] for row in schedulers), default=None),
            "dag_processor": components.last_heartbeat(connection, components.DAG_PROCESSOR),
            "api_server": components.last_heartbeat(connection, components.API_SERVER),
        }
        statuses = queries.executor_statuses(connection, since=since)
    return _health("healthy", {name: (beat, since) for name, beat in beats.items()}, worst_of(statuses))


def no_database() -> Health:
    """What is known without it: nothing."""
    return _health("unhealthy", dict.fromkeys(("scheduler", "dag_processor", "api_server"), (None, 0)), {})


def worst_of(statuses: list[dict[str, Any]]) -> dict[str, str]:
    """Executor → health, of rows with ``name`` and ``health``."""
    worst: dict[str, str] = {}
    for row in statuses:
        worst[row["name"]] = max(worst.get(row["name"], row["health"]), row["health"], key=_badness)
    return worst


def _badness(health: str) -> int:
    return _FROM_GOOD_TO_BAD.index(health) if health in _FROM_GOOD_TO_BAD else len(_FROM_GOOD_TO_BAD)


def _health(database: str, beats: dict[str, tuple[int | None, int]], executors: dict[str, str]) -> Health:
    return {
        "metadatabase": {"status": database},
        "scheduler": _component("scheduler", *beats["scheduler"]),
        "dag_processor": _component("dag_processor", *beats["dag_processor"]),
        "triggerer": {"status": None, "latest_triggerer_heartbeat": None},
        "api_server": _component("api_server", *beats["api_server"]),
        "executors": executors,
    }


def _component(name: str, beat: int | None, since: int) -> dict[str, str | None]:
    alive = beat is not None and beat >= since
    return {"status": "healthy" if alive else "unhealthy", f"latest_{name}_heartbeat": iso(beat)}
