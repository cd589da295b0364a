"""Catchup: one run for each day of a past week, through the night in which Berlin's clocks go forward.

Unpause it and five runs appear, 26 to 30 March 2025; the one of the 30th covers 23 hours.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from runtime import DAG, task

BERLIN = ZoneInfo("Europe/Berlin")

with DAG(
    "catchup",
    schedule="@daily",
    start_date=datetime(2025, 3, 26, tzinfo=BERLIN),
    end_date=datetime(2025, 3, 30, tzinfo=BERLIN),
    catchup=True,
    max_active_runs=2,
    tags=["example"],
):

    @task
    def hours(data_interval_start=None, data_interval_end=None) -> float:
        length = (data_interval_end - data_interval_start).total_seconds() / 3600
        print(f"{data_interval_start.astimezone(BERLIN):%d %B} had {length:g} hours")
        return length

    hours()
