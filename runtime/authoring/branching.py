"""Tasks that decide what runs after them: branches and short circuits.

What is not followed is skipped by the task service in the transaction that takes the task's own report. It stays
skipped when it is cleared alone, until the branch runs again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.authoring.arguments import did_you_mean, flag
from runtime.authoring.baseoperator import BaseOperator
from runtime.authoring.exceptions import TaskError
from runtime.authoring.python import PythonOperator


class SkipMixin(BaseOperator):
    """Base of operators whose :meth:`execute` may skip tasks of its run."""

    skipped: tuple[str, ...] = ()
    """Ids of the tasks to be skipped when this one has succeeded; set by :meth:`execute`, on the copy that runs."""

    def skip(self, ti: Any, tasks: Iterable[BaseOperator | str]) -> None:
        """Skip these tasks of the run of ``ti``, as far as they have not begun, when this one has succeeded."""
        self.skipped = tuple(sorted({task if isinstance(task, str) else task.task_id for task in tasks}))
        if self.skipped:
            self.log.info("to be skipped: %s", _few(self.skipped))

    def skip_all_except(self, ti: Any, branch_task_ids: str | Iterable[str] | None) -> None:
        """Skip the tasks directly downstream but for those followed and what comes after these.

        Teardowns are left to their rule. Raises :class:`TaskError` for an id that the DAG does not have.
        """
        chosen = self._chosen(branch_task_ids)
        kept = set(chosen)
        for task_id in chosen:
            kept |= self._dag.task_dict[task_id].get_flat_relative_ids()
        self.skip(ti, self._but_teardowns(self.downstream_task_ids - kept))

    def do_branch(self, context: Mapping[str, Any], branches_to_execute: Any) -> Any:
        """Follow these, and return them."""
        chosen = branches_to_execute
        if isinstance(chosen, set | frozenset | tuple):
            chosen = sorted(chosen) if isinstance(chosen, set | frozenset) else list(chosen)
        self.skip_all_except(context["ti"], chosen)
        return chosen

    def _but_teardowns(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if not self._dag.task_dict[name].is_teardown]

    def _chosen(self, followed: object) -> list[str]:
        """Task ids; that of a group stands for its first tasks."""
        names = [] if followed is None else [followed] if isinstance(followed, str) else followed
        if not isinstance(names, list):
            raise TaskError(f"a branch must return a task id, a list of task ids, or None, not {followed!r}")
        chosen: list[str] = []
        for name in names:
            if not isinstance(name, str):
                raise TaskError(f"a branch must return task ids, not {name!r}")
            if name in self._dag.groups:
                chosen += [task.task_id for task in self._dag.groups[name].first_tasks()]
            elif name in self._dag.task_dict:
                chosen.append(name)
            else:
                raise TaskError(f"branch {self.task_id!r} wants to follow {name!r}: {self._no_such(name)}")
        if strangers := set(chosen) - self.get_flat_relative_ids():
            self.log.warning("not downstream of this branch, which changes nothing for them: %s", _few(strangers))
        return chosen

    def _no_such(self, name: str) -> str:
        near = did_you_mean(name, [*self._dag.task_dict, *self._dag.groups])
        below = _few(self.downstream_task_ids) or "nothing"
        return f"the DAG has no such task or group{near or f'; directly downstream it has {below}'}"


def _few(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")


class BaseBranchOperator(SkipMixin):
    """A branch: subclass it, override :meth:`choose_branch`."""

    def choose_branch(self, context: Mapping[str, Any]) -> str | Iterable[str] | None:
        """Id or ids of the tasks, or groups, directly downstream that are to be followed; ``None`` for no one."""
        raise NotImplementedError(f"{type(self).__name__} has no choose_branch(self, context)")

    def execute(self, context: Mapping[str, Any]) -> Any:
        """What :meth:`choose_branch` returns."""
        return self.do_branch(context, self.choose_branch(context))


class BranchPythonOperator(PythonOperator, SkipMixin):
    """A branch whose ``python_callable`` returns the id or ids of the tasks to be followed."""

    def execute(self, context: Mapping[str, Any]) -> Any:
        """What the callable returns."""
        return self.do_branch(context, super().execute(context))


class ShortCircuitOperator(PythonOperator, SkipMixin):
    """Goes on if its ``python_callable`` returns something true; else all that follows is skipped.

    :param ignore_downstream_trigger_rules: skip everything downstream, however far; ``False``: only what is directly
        downstream, and trigger rules say what becomes of the rest.
    """

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = flag(
            f"task {self.task_id!r}", "ignore_downstream_trigger_rules", ignore_downstream_trigger_rules
        )

    def execute(self, context: Mapping[str, Any]) -> Any:
        """What the callable returns."""
        condition = super().execute(context)
        if not condition:
            below = self.get_flat_relative_ids() if self.ignore_downstream_trigger_rules else self.downstream_task_ids
            self.skip(context["ti"], self._but_teardowns(below))
        return condition
