"""DAGs: tasks, their order, and when they run."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from runtime.authoring import arguments as check
from runtime.authoring.callbacks import Callback, callbacks
from runtime.authoring.defaults import Defaults
from runtime.authoring.exceptions import ArgumentError, DagFileError, DuplicateTaskIdError
from runtime.authoring.jinja import jinja_options
from runtime.authoring.loading import loading
from runtime.authoring.params import param_reference, plain_params
from runtime.authoring.placement import executor_chain
from runtime.authoring.schedule import date_micros, timetable_spec, timezone_of
from runtime.authoring.templates import Templates
from runtime.authoring.timetables import Timetable
from runtime.authoring.xcom import DagParam
from runtime.core.errors import HybridError
from runtime.core.timetables import validate

if TYPE_CHECKING:
    import jinja2

    from runtime.authoring.baseoperator import BaseOperator
    from runtime.authoring.groups import TaskGroup

_open: list[DAG] = []
"""DAGs whose ``with`` block is being executed, innermost last."""


def current_dag() -> DAG | None:
    """The DAG of the innermost ``with`` block."""
    return _open[-1] if _open else None


class DAG:
    """Tasks that belong together. Operators made inside ``with DAG(...):`` join it.

    Raises :class:`~runtime.authoring.exceptions.ArgumentError` or another
    :class:`~runtime.core.errors.HybridError` for an argument that is unknown or cannot be used.

    :param schedule: cron expression, preset (``@daily``, ``@once``, ``@continuous``, …), timedelta, timetable
        (:mod:`runtime.authoring.timetables`) or the name of a registered one, or ``None`` for runs by hand only.
    :param start_date: first logical date; its zone is the DAG's unless ``timezone`` is given.
    :param timezone: zone of the schedule, and of dates without one.
    :param catchup: run every interval since ``start_date``, not only the one that ended last; default: as configured.
    :param dagrun_timeout: timedelta or seconds after which a running run fails.
    :param max_consecutive_failed_dag_runs: pause the DAG when so many runs have failed in a row; 0 for never.
    :param on_success_callback: function of the context, or list of them, called when a run has succeeded; likewise
        ``on_failure_callback``.
    :param default_args: arguments of tasks that do not say otherwise.
    :param params: values that runs may override, plain or :class:`~runtime.authoring.params.Param` with a JSON schema.
    :param doc_md: what people read of it, Markdown, or the name of an ``.md`` file beside the DAG file.
    :param template_searchpath: folder or folders where template files are looked for, after that of the DAG file.
    :param template_undefined: what Jinja makes of unknown names; default ``jinja2.StrictUndefined``, an error.
    :param user_defined_macros: names that templates may use besides the context; ``user_defined_filters`` alike.
    :param render_template_as_native_obj: a field that is one expression becomes its value, not text.
    :param jinja_environment_kwargs: more arguments of the Jinja environment.
    :param executor: executor, or list of executors, of tasks that do not say otherwise.
    """

    def __init__(
        self,
        dag_id: str,
        *,
        description: str | None = None,
        schedule: str | timedelta | Timetable | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        timezone: str | tzinfo | None = None,
        catchup: bool | None = None,
        max_active_runs: int | None = None,
        max_active_tasks: int | None = None,
        dagrun_timeout: timedelta | float | None = None,
        max_consecutive_failed_dag_runs: int = 0,
        on_success_callback: Callback | Sequence[Callback] | None = None,
        on_failure_callback: Callback | Sequence[Callback] | None = None,
        default_args: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        executor: str | Sequence[str] | None = None,
        is_paused_upon_creation: bool | None = None,
        doc_md: str | None = None,
        template_searchpath: str | Iterable[str] | None = None,
        template_undefined: type[jinja2.Undefined] | None = None,
        user_defined_macros: Mapping[str, Any] | None = None,
        user_defined_filters: Mapping[str, Callable[..., Any]] | None = None,
        render_template_as_native_obj: bool = False,
        jinja_environment_kwargs: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        self.dag_id = check.identifier("dag_id", dag_id)
        where = f"DAG {dag_id!r}"
        check.reject_unknown(where, unknown, _arguments())
        load = loading()
        self.defaults = load.defaults if load else Defaults()
        self.default_args = check.mapping(where, "default_args", default_args)
        self.used_default_args: set[str] = {"start_date", "end_date"}
        self.description = description or ""
        self.catchup = self.defaults.catchup if catchup is None else check.flag(where, "catchup", catchup)
        self._set_schedule(where, schedule, start_date, end_date, timezone)
        self._set_limits(where, max_active_runs, max_active_tasks, dagrun_timeout)
        self.max_consecutive_failed_dag_runs = check.whole(
            where, "max_consecutive_failed_dag_runs", max_consecutive_failed_dag_runs, minimum=0
        )
        self.on_success_callback = callbacks(where, "on_success_callback", on_success_callback)
        self.on_failure_callback = callbacks(where, "on_failure_callback", on_failure_callback)
        self.params, self.param_schemas = plain_params(where, params, scheduled=self.timetable.kind != "none")
        self.tags = _tags(where, tags)
        self.executor = executor
        self.executor_chain = executor_chain(where, executor)
        self.is_paused_upon_creation = (
            None
            if is_paused_upon_creation is None
            else check.flag(where, "is_paused_upon_creation", is_paused_upon_creation)
        )
        self.task_dict: dict[str, BaseOperator] = {}
        self.groups: dict[str, TaskGroup] = {}
        """By id, in the order in which they were made."""
        self.edge_labels: dict[str, dict[str, str]] = {}
        """By upstream task id, then downstream task id."""
        self.numbered: dict[str, int] = {}
        """Last number given to calls of the same ``@task`` function, by task id."""
        self.fileloc = _defining_file()
        self.templates = Templates(
            self.dag_id,
            Path(self.fileloc).parent,
            jinja_options(
                where,
                searchpath=template_searchpath,
                undefined=template_undefined,
                macros=user_defined_macros,
                filters=user_defined_filters,
                native=render_template_as_native_obj,
                environment=jinja_environment_kwargs,
            ),
        )
        self.doc_md = documentation(where, doc_md, Path(self.fileloc).parent)

    def _set_schedule(self, where: str, schedule: object, start: object, end: object, timezone: object) -> None:
        start = self.default_args.get("start_date") if start is None else start
        end = self.default_args.get("end_date") if end is None else end
        try:
            self.timezone = timezone_of(where, timezone, start, self.defaults.timezone)
            self.start_date = date_micros(where, "start_date", start, self.timezone)
            self.end_date = date_micros(where, "end_date", end, self.timezone)
            self.timetable, self.custom_timetable = timetable_spec(where, schedule, self.timezone)
            validate(self.timetable, self.start_date, self.end_date)
        except ArgumentError:
            raise
        except HybridError as error:
            raise DagFileError(f"{where}: {error}") from None

    def _set_limits(self, where: str, runs: int | None, tasks: int | None, timeout: timedelta | float | None) -> None:
        self.max_active_runs = check.whole(
            where, "max_active_runs", self.defaults.max_active_runs if runs is None else runs, minimum=1
        )
        if self.timetable.kind == "continuous":
            if runs is not None and runs > 1:
                raise ArgumentError(
                    f"{where}: max_active_runs = {runs}; schedule '@continuous' runs one at a time, use 1"
                )
            self.max_active_runs = 1
        self.max_active_tasks = check.whole(
            where, "max_active_tasks", self.defaults.max_active_tasks if tasks is None else tasks, minimum=1
        )
        self.dagrun_timeout = (
            None if timeout is None else check.seconds(where, "dagrun_timeout", timeout, positive=True)
        )

    @property
    def tasks(self) -> list[BaseOperator]:
        """In the order in which they were made."""
        return list(self.task_dict.values())

    @property
    def task_ids(self) -> list[str]:
        return list(self.task_dict)

    def has_task(self, task_id: str) -> bool:
        return task_id in self.task_dict

    def get_task(self, task_id: str) -> BaseOperator:
        """Raises :class:`DagFileError` that suggests a near name."""
        if task_id not in self.task_dict:
            hint = check.did_you_mean(task_id, self.task_dict)
            raise DagFileError(f"DAG {self.dag_id!r} has no task {task_id!r}{hint}")
        return self.task_dict[task_id]

    def add_task(self, task: BaseOperator) -> None:
        """Take a task in. Raises :class:`DuplicateTaskIdError`."""
        if self.task_dict.setdefault(task.task_id, task) is not task:
            raise DuplicateTaskIdError(f"DAG {self.dag_id!r} has two tasks {task.task_id!r}; rename one")
        if task.task_id in self.groups:
            raise DuplicateTaskIdError(f"DAG {self.dag_id!r} has a task and a group {task.task_id!r}; rename one")
        task.dag = self

    def param(self, name: str, default: Any = None) -> DagParam:
        """The value that the run has for a parameter, as an argument for tasks."""
        return DagParam(name, default)

    def __enter__(self) -> Self:
        _open.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        _open.remove(self)
        if kind is None:
            register(self)

    def __repr__(self) -> str:
        return f"<DAG {self.dag_id}>"


def register(dag: DAG) -> None:
    """Tell the loader of a DAG that no global variable may hold."""
    load = loading()
    if load is not None and dag.fileloc in ("", load.path):
        load.dags.append(dag)


class DagFactory:
    """A function under ``@dag``: each call makes the DAG that its body describes."""

    def __init__(self, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.called = False
        self._arguments = arguments
        self._signature = inspect.signature(function)

    def __call__(self, *args: Any, **kwargs: Any) -> DAG:
        """The function's parameters become params of the DAG, and references to them inside the body."""
        self.called = True
        arguments = {"dag_id": self.function.__name__, "doc_md": self.function.__doc__, **self._arguments}
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments["params"] = {**(arguments.get("params") or {}), **bound.arguments}
        with DAG(**arguments) as made:
            self.function(**{name: param_reference(name, value) for name, value in bound.arguments.items()})
        return made


@overload
def dag(dag_id: Callable[..., Any]) -> DagFactory: ...
@overload
def dag(dag_id: str | None = None, **arguments: Any) -> Callable[[Callable[..., Any]], DagFactory]: ...
def dag(
    dag_id: str | Callable[..., Any] | None = None, **arguments: Any
) -> DagFactory | Callable[[Callable[..., Any]], DagFactory]:
    """Make a function that describes a DAG in its body into one that makes it. Takes the arguments of :class:`DAG`."""
    if callable(dag_id):
        return DagFactory(dag_id, arguments)
    if dag_id is not None:
        arguments["dag_id"] = dag_id
    return functools.partial(DagFactory, arguments=arguments)


@functools.cache
def _arguments() -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(DAG).parameters if name != "unknown")


def documentation(where: str, doc_md: object, folder: Path) -> str | None:
    """The text, or that of the file which it names; without such a file the name stays, as in Airflow."""
    text = check.optional_text(where, "doc_md", doc_md)
    if text is None or not text.endswith(".md") or "\n" in text:
        return text
    try:
        return (folder / text).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return text


def _tags(where: str, tags: Iterable[str] | None) -> tuple[str, ...]:
    if tags is None:
        return ()
    if isinstance(tags, str):
        raise ArgumentError(f"{where}: tags must be a list of strings; write tags=[{tags!r}]")
    return tuple(sorted({check.text(where, "tags", tag) for tag in tags}))


def _defining_file() -> str:
    """The file whose top level is being executed: the DAG file itself, also where a factory elsewhere makes the DAG."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame.f_code.co_filename if frame else ""
