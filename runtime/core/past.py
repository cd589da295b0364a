"""Whether the run before lets a task of this one start: ``depends_on_past`` and ``wait_for_downstream``. Pure.

The run before is the one with the next earlier logical date of the DAG; where the DAG catches up, the next earlier one
that nobody triggered by hand, as in Airflow. A task that was skipped there counts as one that succeeded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from runtime.core.specs import DagSpec, TaskSpec
from runtime.core.states import TaskState

GOOD_ENOUGH = frozenset({TaskState.SUCCESS, TaskState.SKIPPED})


def held_by_past(
    task: TaskSpec,
    downstream: Collection[str],
    before: Mapping[str, Sequence[str]],
    *,
    run_id: str,
    is_first: bool,
) -> str | None:
    """Why the run before holds a task that depends on it; ``None`` where it does not.

    :param downstream: ids directly downstream of it.
    :param before: the states of the instances that each task has in the run before.
    :param run_id: of the run before.
    :param is_first: whether no earlier run has had this task.
    """
    if not before.get(task.task_id):
        if is_first and task.ignore_first_depends_on_past:
            return None
        return f"depends_on_past: {task.task_id} has not run in the run before, {run_id}"
    if state := _bad(before[task.task_id]):
        return f"depends_on_past: {task.task_id} is {state} in the run before, {run_id}"
    if task.wait_for_downstream:
        for name in sorted(downstream):
            if state := _bad(before.get(name, ())):
                return f"wait_for_downstream: {name} is {state} in the run before, {run_id}"
    return None


def downstream_of(spec: DagSpec) -> dict[str, list[str]]:
    """Direct downstream ids of each task."""
    found: dict[str, list[str]] = {task.task_id: [] for task in spec.tasks}
    for task in spec.tasks:
        for name in task.upstream:
            found[name].append(task.task_id)
    return found


def _bad(states: Sequence[str]) -> str | None:
    return next((state for state in states if TaskState(state) not in GOOD_ENOUGH), None)
