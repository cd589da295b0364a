"""Who stands above and below whom in a DAG, and what setups and teardowns make of that. Pure.

A setup *belongs* to the tasks between it and its teardowns; one without a teardown, to all that follow it. Rules are
Airflow's (``get_upstreams_only_setups_and_teardowns``, ``partial_subset``, ``_tis_for_dagrun_state``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from runtime.core.specs import TaskSpec


class Relatives:
    """The tasks of one DAG by id. Each question costs at most the edges that it walks."""

    def __init__(self, tasks: Iterable[TaskSpec]) -> None:
        self.tasks = {task.task_id: task for task in tasks}
        self.upstream: dict[str, Sequence[str]] = {name: task.upstream for name, task in self.tasks.items()}
        self.downstream: dict[str, list[str]] = {name: [] for name in self.tasks}
        for name, before in self.upstream.items():
            for other in before:
                self.downstream[other].append(name)
        self.has_setups = any(task.is_setup for task in self.tasks.values())

    def above(self, name: str) -> set[str]:
        """Everything that the task waits for, however far."""
        return _walk(name, self.upstream)

    def below(self, name: str) -> set[str]:
        """Everything that waits for the task, however far."""
        return _walk(name, self.downstream)

    def teardowns(self, setup: str) -> list[str]:
        """Those directly downstream of a setup."""
        return [name for name in self.downstream[setup] if self.tasks[name].is_teardown]

    def setups_and_teardowns(self, name: str) -> set[str]:
        """The setups that belong to a task, and their teardowns."""
        if not self.has_setups:
            return set()
        below = self.below(name)
        found: set[str] = set()
        for other in self.above(name):
            if not self.tasks[other].is_setup:
                continue
            teardowns = self.teardowns(other)
            if not teardowns or not below.isdisjoint(teardowns):
                found.update([other], (one for one in teardowns if one != name))
        return found

    def users_of_setups(self) -> dict[str, list[str]]:
        """Each setup with the tasks that it belongs to and that do not follow it directly; no teardowns among them."""
        return {name: self._users(name) for name, task in self.tasks.items() if task.is_setup}

    def _users(self, setup: str) -> list[str]:
        users = self.below(setup) - set(self.downstream[setup])
        if teardowns := self.teardowns(setup):
            users &= set().union(*(self.above(teardown) for teardown in teardowns))
        return sorted(name for name in users if not self.tasks[name].is_teardown)

    def leaves(self) -> list[str]:
        """The tasks whose states make the run's: teardowns count only where their failure shall fail the run."""
        counting = [name for name in self.tasks if self._counts(name)]
        leaves = [name for name in counting if not any(map(self._counts, self.downstream[name]))]
        return leaves or [name for name in self.tasks if not self.downstream[name]]

    def _counts(self, name: str) -> bool:
        task = self.tasks[name]
        return not task.is_teardown or task.on_failure_fail_dagrun


def to_clear(
    tasks: Iterable[TaskSpec], chosen: Collection[str], *, upstream: bool = False, downstream: bool = False
) -> set[str]:
    """The ids of all tasks to be cleared when ``chosen`` are: with them their setups and teardowns.

    :param upstream: all that they wait for, too, and the teardowns of the setups among it.
    :param downstream: all that waits for them, too, with the setups and teardowns of each of these.

    Raises ``KeyError`` where one of ``chosen`` is no task of the DAG.
    """
    relatives = Relatives(tasks)
    found = set(chosen)
    for name in chosen:
        task = relatives.tasks[name]
        if downstream:
            below = relatives.below(name)
            found |= below
            for other in below if relatives.has_setups else ():
                if other not in chosen and not _is_role(relatives.tasks[other]):
                    found |= relatives.setups_and_teardowns(other)
        elif task.is_setup:
            found.update(relatives.teardowns(name))
        if upstream:
            above = relatives.above(name)
            found |= above
            for other in above:
                if relatives.tasks[other].is_setup:
                    found.update(relatives.teardowns(other))
        elif not _is_role(task):
            found |= relatives.setups_and_teardowns(name)
    return found


def _is_role(task: TaskSpec) -> bool:
    return task.is_setup or task.is_teardown


def _walk(name: str, edges: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    pending = list(edges[name])
    while pending:
        other = pending.pop()
        if other not in found:
            found.add(other)
            pending.extend(edges[other])
    return found
