"""``/metrics``: what every live process has written down of itself, as Prometheus reads it."""

from __future__ import annotations

from runtime.config import Settings
from runtime.db.engine import Database, database_clock
from runtime.db.figures import live_figures


def read_page(database: Database, settings: Settings) -> tuple[bytes, str]:
    """The page and its content type. Raises what the database raises."""
    from runtime.metrics.exposition import CONTENT_TYPE, render  # only where somebody scrapes

    threshold = settings.scheduler.scheduler_health_check_threshold
    with database.read() as connection:
        figures = live_figures(connection, database_clock(connection), scheduler_seconds=threshold)
    return render(figures), CONTENT_TYPE
