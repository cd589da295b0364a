"""Columns that make a :class:`~runtime.core.messages.RunContext`, under its fields' names, whoever asks for one."""

from __future__ import annotations

from runtime.db.schema import dag_run, dag_version, task_instance

COLUMNS = (
    task_instance.c.task_id,
    task_instance.c.map_index,
    task_instance.c.max_tries,
    task_instance.c.queue,
    task_instance.c.pool,
    dag_run.c.dag_id,
    dag_run.c.run_id,
    dag_run.c.run_type,
    dag_run.c.run_after,
    dag_run.c.logical_date,
    dag_run.c.data_interval_start,
    dag_run.c.data_interval_end,
    dag_run.c.start_date.label("run_start_date"),
    dag_run.c.conf,
    dag_version.c.rel_path,
    dag_version.c.file_hash,
)
"""Without those of the try, which is an attempt's or the task instance's."""
