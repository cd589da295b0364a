"""The collector of a process, as the settings want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.metrics.collector import Collector
from runtime.metrics.statsd import StatsD

if TYPE_CHECKING:
    from runtime.config.options import Metrics


def make_collector(section: Metrics) -> tuple[Collector, StatsD | None]:
    """The collector, and the StatsD client that it feeds where there is one: close it at the end.

    :param section: ``settings.metrics``.
    """
    if not section.statsd_on:
        return Collector(), None
    statsd = StatsD(section.statsd_host, section.statsd_port, section.statsd_prefix)
    return Collector(statsd.send), statsd
