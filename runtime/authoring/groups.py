"""Tasks that are shown, named and related together: ``TaskGroup`` and ``@task_group``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from runtime.authoring import arguments as check
from runtime.authoring.exceptions import ArgumentError, DagFileError, DuplicateTaskIdError
from runtime.authoring.relations import Relative

if TYPE_CHECKING:
    from runtime.authoring.baseoperator import BaseOperator
    from runtime.authoring.dag import DAG

_open: list[TaskGroup] = []
"""Groups whose ``with`` block is being executed, innermost last."""


def current_group(dag: DAG | None) -> TaskGroup | None:
    """The group of the innermost ``with`` block, if it belongs to ``dag``."""
    return _open[-1] if _open and _open[-1].dag is dag else None


class TaskGroup(Relative):
    """Tasks made inside ``with TaskGroup("load"):`` are called ``load.…``, and are drawn in one box.

    It stands in ``a >> group >> b`` for its first and its last tasks, those inside when the line is executed. Groups
    nest. The scheduler knows nothing of them: edges are those of their tasks.

    :param prefix_group_id: whether ids of tasks and groups inside begin with the group's.
    :param parent_group: the group around it; by default that of the innermost ``with`` block.
    :param default_args: arguments of tasks inside; they go before those of the groups around and of the DAG.
    :param tooltip: what people see when they point at it.
    :param add_suffix_on_collision: call it ``load__1`` where ``load`` is taken, in place of an error.
    """

    def __init__(
        self,
        group_id: str,
        prefix_group_id: bool = True,
        parent_group: TaskGroup | None = None,
        dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None,
        tooltip: str = "",
        ui_color: str = "CornflowerBlue",
        ui_fgcolor: str = "#000",
        add_suffix_on_collision: bool = False,
        **unknown: Any,
    ) -> None:
        from runtime.authoring.dag import current_dag

        where = f"TaskGroup {group_id!r}"
        check.reject_unknown(where, unknown, _ARGUMENTS)
        own_dag = dag or (parent_group.dag if parent_group else None) or current_dag()
        if own_dag is None:
            raise ArgumentError(f"{where} belongs to no DAG; make it inside `with DAG(...)`, or give it dag=")
        self.dag: DAG = own_dag
        self.parent_group = parent_group or current_group(self.dag)
        self.label = check.identifier("group_id", group_id)
        self.prefix_group_id = check.flag(where, "prefix_group_id", prefix_group_id)
        self.tooltip = _text(where, "tooltip", tooltip)
        self.ui_color = _text(where, "ui_color", ui_color)
        self.ui_fgcolor = _text(where, "ui_fgcolor", ui_fgcolor)
        outer = self.parent_group.default_args if self.parent_group else {}
        self.default_args: dict[str, Any] = {**outer, **check.mapping(where, "default_args", default_args)}
        self.group_id = self._free_id(add_suffix_on_collision)
        self.children: dict[str, BaseOperator | TaskGroup] = {}
        """Tasks and groups directly inside, by full id, in the order in which they were made."""
        self.dag.groups[self.group_id] = self
        if self.parent_group:
            self.parent_group.children[self.group_id] = self

    def child_id(self, label: str) -> str:
        """The full id of a task or group inside that is called ``label``."""
        prefix = self._prefix
        return f"{prefix}.{label}" if prefix else label

    @property
    def _prefix(self) -> str:
        if self.prefix_group_id:
            return self.group_id
        return self.parent_group._prefix if self.parent_group else ""

    def _free_id(self, add_suffix: bool) -> str:
        wanted = self.parent_group.child_id(self.label) if self.parent_group else self.label
        taken = self.dag.groups.keys() | self.dag.task_dict.keys()
        if wanted not in taken:
            return check.identifier("group_id", wanted)
        if not add_suffix:
            raise DuplicateTaskIdError(f"DAG {self.dag.dag_id!r} has two tasks or groups {wanted!r}; rename one")
        number = 1
        while f"{wanted}__{number}" in taken:
            number += 1
        return f"{wanted}__{number}"

    def add(self, task: BaseOperator) -> None:
        """Take a task in; its id is the full one already."""
        self.children[task.task_id] = task

    def get_child_by_label(self, label: str) -> BaseOperator | TaskGroup:
        """The task or group directly inside that is called so. Raises :class:`DagFileError`."""
        child = self.children.get(self.child_id(label))
        if child is None:
            labels = [name.removeprefix(f"{self._prefix}.") for name in self.children]
            hint = check.did_you_mean(label, labels)
            raise DagFileError(f"TaskGroup {self.group_id!r} has no task or group {label!r}{hint}")
        return child

    def operators(self) -> Iterator[BaseOperator]:
        """Every task inside, however deep."""
        for child in self.children.values():
            yield from child.operators()

    def first_tasks(self) -> Iterator[BaseOperator]:
        """Tasks that wait for none of the others inside."""
        inside = {task.task_id: task for task in self.operators()}
        return iter([task for task in inside.values() if inside.keys().isdisjoint(task.upstream_task_ids)])

    def last_tasks(self) -> Iterator[BaseOperator]:
        """Tasks that none of the others inside waits for; in place of a teardown, what it comes after."""
        inside = {task.task_id: task for task in self.operators()}
        return iter([task for task in inside.values() if not task.is_teardown and _is_last(task, inside)])

    def __enter__(self) -> Self:
        _open.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        _open.remove(self)

    def __repr__(self) -> str:
        return f"<TaskGroup {self.dag.dag_id}.{self.group_id}>"


_ARGUMENTS = (
    "group_id",
    "prefix_group_id",
    "parent_group",
    "dag",
    "default_args",
    "tooltip",
    "ui_color",
    "ui_fgcolor",
    "add_suffix_on_collision",
)


def _is_last(task: BaseOperator, inside: Mapping[str, BaseOperator]) -> bool:
    """A setup is not: what follows it may stand behind its teardown alone only where nothing uses it."""
    followers = [inside[name] for name in task.downstream_task_ids if name in inside]
    if task.is_setup and followers:
        return False
    return all(follower.is_teardown for follower in followers)


def _text(where: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{where}: {name} must be a string, not {value!r}")
    return value


class GroupFactory:
    """A function under ``@task_group``: each call makes one group of what its body makes."""

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._arguments = dict(arguments)

    def override(self, **arguments: Any) -> GroupFactory:
        """The same function with other arguments of :class:`TaskGroup`."""
        return GroupFactory(self.function, {**self._arguments, **arguments})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns; where that is nothing, the group."""
        arguments = {
            "group_id": self.function.__name__,
            "tooltip": (self.function.__doc__ or "").strip(),
            "add_suffix_on_collision": True,
            **self._arguments,
        }
        with TaskGroup(**arguments) as group:
            made = self.function(*args, **kwargs)
        return group if made is None else made


@overload
def task_group(group_id: Callable[..., Any]) -> GroupFactory: ...
@overload
def task_group(group_id: str | None = None, **arguments: Any) -> Callable[[Callable[..., Any]], GroupFactory]: ...
def task_group(
    group_id: str | Callable[..., Any] | None = None, **arguments: Any
) -> GroupFactory | Callable[[Callable[..., Any]], GroupFactory]:
    """Let each call of a function make a group of the tasks inside. Takes the arguments of :class:`TaskGroup`."""
    if callable(group_id):
        return GroupFactory(group_id, arguments)
    if group_id is not None:
        arguments["group_id"] = group_id
    return functools.partial(GroupFactory, arguments=arguments)
