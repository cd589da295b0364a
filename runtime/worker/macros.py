"""``macros`` in templates: ``{{ macros.ds_add(ds, 5) }}``. Names and results are Airflow's."""

from __future__ import annotations

import json
import random
import time
import uuid
from datetime import datetime, timedelta

__all__ = ["datetime", "ds_add", "ds_format", "json", "random", "time", "timedelta", "uuid"]


def ds_add(ds: str, days: int) -> str:
    """The day ``days`` after ``ds`` (before, where negative), both ``YYYY-MM-DD``. Raises ``ValueError``."""
    return (datetime.strptime(ds, "%Y-%m-%d") + timedelta(days=days)).strftime("%Y-%m-%d")  # noqa: DTZ007  a date only


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """``ds`` read by one ``strptime`` format and written by another. Raises ``ValueError``."""
    return datetime.strptime(ds, input_format).strftime(output_format)  # noqa: DTZ007  whatever the format says
