"""Airflow's date filters for templates: ``{{ data_interval_end | ds }}``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime


def ds(value: datetime) -> str:
    """``2024-03-10``."""
    return value.strftime("%Y-%m-%d")


def ds_nodash(value: datetime) -> str:
    """``20240310``."""
    return value.strftime("%Y%m%d")


def ts(value: datetime) -> str:
    """``2024-03-10T01:02:03+00:00``."""
    return value.isoformat()


def ts_nodash(value: datetime) -> str:
    """``20240310T010203``."""
    return value.strftime("%Y%m%dT%H%M%S")


def ts_nodash_with_tz(value: datetime) -> str:
    """``20240310T010203+0000``."""
    return value.isoformat().replace("-", "").replace(":", "")


FILTERS: dict[str, Callable[[datetime], str]] = {
    function.__name__: function for function in (ds, ds_nodash, ts, ts_nodash, ts_nodash_with_tz)
}
