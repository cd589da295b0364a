"""Schedules that are no plain cron expression, among them one of our own.

``next_dagrun_info`` runs in a child of the DAG processor, which plans some runs ahead; the scheduler never runs it.
"""

from datetime import UTC, datetime, timedelta

from runtime import (
    DAG,
    CronTriggerTimetable,
    DagRunInfo,
    EmptyOperator,
    EventsTimetable,
    MultipleCronTriggerTimetable,
    Timetable,
)


class Workdays(Timetable):
    """One run for each day from Monday to Friday, when it is over."""

    summary = "Monday to Friday"

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        if last_automated_data_interval is not None:
            day = last_automated_data_interval.start + timedelta(days=1)
        else:
            today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            day = restriction.earliest if restriction.catchup else max(restriction.earliest, today)
        while day.weekday() > 4:
            day += timedelta(days=1)
        return DagRunInfo.interval(day, day + timedelta(days=1))


SCHEDULES = {
    "timetables": Workdays(),
    "timetables_at_six_in_tokyo": CronTriggerTimetable("0 6 * * *", timezone="Asia/Tokyo", interval=timedelta(days=1)),
    "timetables_rush_hours": MultipleCronTriggerTimetable("0 8 * * 1-5", "30 17 * * 1-5", timezone="Europe/Berlin"),
    "timetables_cup_finals": EventsTimetable([datetime(2030, 7, 14, 19), datetime(2034, 7, 9, 19)]),
    "timetables_once": "@once",
    "timetables_without_end": "@continuous",
}

for dag_id, schedule in SCHEDULES.items():
    with DAG(dag_id, schedule=schedule, start_date=datetime(2025, 1, 1, tzinfo=UTC), tags=["example"]):
        EmptyOperator(task_id="nothing")
