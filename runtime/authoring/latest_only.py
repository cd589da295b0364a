"""A task that lets only the newest scheduled run go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.authoring.branching import BaseBranchOperator
from runtime.core.clock import micros
from runtime.core.clock import now as clock_now
from runtime.core.timetables import next_run


class LatestOnlyOperator(BaseBranchOperator):
    """Skips what is directly downstream in a run whose successor is due already: a catch-up, or a late one.

    Runs that somebody triggered go on. Trigger rules say what becomes of the tasks farther down.
    """

    def choose_branch(self, context: Mapping[str, Any]) -> str | Iterable[str] | None:
        """Every task directly downstream, or none."""
        if not self._is_overtaken(context["dag_run"]):
            return sorted(self.downstream_task_ids)
        self.log.info("a newer run is due: what follows is skipped")
        return []

    def _is_overtaken(self, dag_run: Any) -> bool:
        if dag_run.run_type == "manual" or dag_run.logical_date is None:
            return False
        dag, now = self._dag, clock_now()
        following = next_run(
            dag.timetable,
            after=micros(dag_run.logical_date),
            start_date=dag.start_date,
            end_date=dag.end_date,
            catchup=True,
            now=now,
        )
        return following is not None and following.run_after <= now
