"""The base of every task."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from runtime.authoring import arguments as check
from runtime.authoring.callbacks import Callback, callbacks
from runtime.authoring.construction import OperatorMeta
from runtime.authoring.defaults import Defaults
from runtime.authoring.exceptions import TaskError
from runtime.authoring.params import plain_params
from runtime.authoring.placement import executor_chain, plain_executor_config
from runtime.authoring.retrying import backoff_factor
from runtime.authoring.rules import TriggerRule, WeightRule
from runtime.authoring.setups import Roles
from runtime.authoring.xcom import XComArg

if TYPE_CHECKING:
    from runtime.authoring.dag import DAG
    from runtime.authoring.groups import TaskGroup

Callbacks = Callback | Sequence[Callback] | None


class BaseOperator(Roles, metaclass=OperatorMeta):
    """One task of a DAG: subclass it, override :meth:`execute`.

    Takes keyword arguments only; what is not given comes from the DAG's ``default_args``. Raises
    :class:`~runtime.authoring.exceptions.ArgumentError` for an argument that is unknown or of the wrong kind.

    :param retries: how often it is tried again after a failure.
    :param retry_delay: timedelta or seconds between two tries.
    :param retry_exponential_backoff: ``True``, which is 2, or the factor by which each delay is longer than the one
        before; see :mod:`runtime.core.retries`.
    :param max_retry_delay: timedelta or seconds that a growing delay never exceeds.
    :param depends_on_past: start only when this task succeeded, or was skipped, in the run before, by logical date.
    :param wait_for_downstream: and when all tasks directly downstream of it did, too; implies ``depends_on_past``.
    :param ignore_first_depends_on_past: start where no earlier run has had this task.
    :param max_active_tis_per_dag: instances of this task queued or running at once, in all runs.
    :param max_active_tis_per_dagrun: the same within one run.
    :param on_execute_callback: function of the context, or list of them, called before :meth:`execute`; likewise
        ``on_success_callback``, ``on_failure_callback`` (it has failed for good), ``on_retry_callback`` and
        ``on_skipped_callback`` (it raised ``SkipTask``) after it.
    :param execution_timeout: timedelta or seconds that one try may take; ``None`` for no limit.
    :param pool_slots: slots of ``pool`` that it holds while it is queued or runs.
    :param weight_rule: ``downstream``, ``upstream`` or ``absolute``; see :mod:`runtime.core.weights`.
    :param executor: name of a configured executor, or a list of names: each falls back to the next, as
        ``[core] executor_fallback`` has it. Else the DAG's, else what ``[core] executor_routes`` says.
    :param params: values, or :class:`~runtime.authoring.params.Param`; they go before the DAG's.
    :param do_xcom_push: whether what :meth:`execute` returns is kept as an XCom.
    :param executor_config: options for that executor; plain JSON, or objects with ``to_dict()``.
    :param task_group: the group that it stands in; by default that of the innermost ``with TaskGroup`` block.
    :param doc_md: what people read of it, Markdown; ``doc``, ``doc_json``, ``doc_yaml``, ``doc_rst`` stay with it.

    ``task_id`` is the full id, that of its groups in front; ``label`` is what the author wrote.
    """

    template_fields: ClassVar[Sequence[str]] = ()
    """Attributes in which templates are rendered and references resolved before :meth:`execute`."""
    template_ext: ClassVar[Sequence[str]] = ()
    """Endings of file names: a field that ends so is read from that file, which is searched beside the DAG file."""
    operator_name: ClassVar[str] = ""
    """What people see; empty: the class's name."""

    def __init__(
        self,
        *,
        task_id: str,
        dag: DAG | None = None,
        task_group: TaskGroup | None = None,
        owner: str | None = None,
        retries: int | None = None,
        retry_delay: timedelta | float | None = None,
        retry_exponential_backoff: bool | float = False,
        max_retry_delay: timedelta | float | None = None,
        execution_timeout: timedelta | float | None = None,
        trigger_rule: str = TriggerRule.ALL_SUCCESS,
        pool: str = "default_pool",
        pool_slots: int = 1,
        priority_weight: int = 1,
        weight_rule: str = WeightRule.DOWNSTREAM,
        queue: str | None = None,
        executor: str | Sequence[str] | None = None,
        executor_config: Mapping[str, Any] | None = None,
        depends_on_past: bool = False,
        wait_for_downstream: bool = False,
        ignore_first_depends_on_past: bool = True,
        max_active_tis_per_dag: int | None = None,
        max_active_tis_per_dagrun: int | None = None,
        on_execute_callback: Callbacks = None,
        on_success_callback: Callbacks = None,
        on_failure_callback: Callbacks = None,
        on_retry_callback: Callbacks = None,
        on_skipped_callback: Callbacks = None,
        params: Mapping[str, Any] | None = None,
        do_xcom_push: bool = True,
        doc_md: str | None = None,
        doc: str | None = None,
        doc_json: str | None = None,
        doc_yaml: str | None = None,
        doc_rst: str | None = None,
    ) -> None:
        defaults = dag.defaults if dag else Defaults()
        self.label = check.identifier("task_id", task_id)
        self.task_group = task_group
        task_id = task_group.child_id(task_id) if task_group else task_id
        self.task_id = check.identifier("task_id", task_id)
        where = f"task {task_id!r}"
        self.dag: DAG | None = None
        self.upstream_task_ids: set[str] = set()
        self.downstream_task_ids: set[str] = set()
        self.owner = check.text(where, "owner", defaults.owner if owner is None else owner)
        self.retries = check.whole(where, "retries", defaults.retries if retries is None else retries, minimum=0)
        self.retry_delay = check.seconds(
            where, "retry_delay", defaults.retry_delay if retry_delay is None else retry_delay
        )
        self.retry_exponential_backoff = backoff_factor(where, retry_exponential_backoff)
        self.max_retry_delay = check.optional_seconds(where, "max_retry_delay", max_retry_delay)
        timeout = defaults.execution_timeout if execution_timeout is None else execution_timeout
        self.execution_timeout = (
            None if timeout is None else check.seconds(where, "execution_timeout", timeout, positive=True)
        )
        self.trigger_rule = check.one_of(where, "trigger_rule", trigger_rule, TriggerRule)
        self.pool = check.text(where, "pool", pool)
        self.pool_slots = check.whole(where, "pool_slots", pool_slots, minimum=1)
        self.priority_weight = check.whole(where, "priority_weight", priority_weight)
        self.weight_rule = check.one_of(where, "weight_rule", weight_rule, WeightRule)
        self.queue = check.text(where, "queue", defaults.queue if queue is None else queue)
        self.executor = executor
        self.executor_chain = executor_chain(where, executor)
        self.executor_by_default = "executor" in self._by_default
        self.executor_config = plain_executor_config(where, executor_config)
        self.wait_for_downstream = check.flag(where, "wait_for_downstream", wait_for_downstream)
        self.depends_on_past = check.flag(where, "depends_on_past", depends_on_past) or self.wait_for_downstream
        self.ignore_first_depends_on_past = check.flag(
            where, "ignore_first_depends_on_past", ignore_first_depends_on_past
        )
        self.max_active_tis_per_dag = check.optional_limit(where, "max_active_tis_per_dag", max_active_tis_per_dag)
        self.max_active_tis_per_dagrun = check.optional_limit(
            where, "max_active_tis_per_dagrun", max_active_tis_per_dagrun
        )
        self.on_execute_callback = callbacks(where, "on_execute_callback", on_execute_callback)
        self.on_success_callback = callbacks(where, "on_success_callback", on_success_callback)
        self.on_failure_callback = callbacks(where, "on_failure_callback", on_failure_callback)
        self.on_retry_callback = callbacks(where, "on_retry_callback", on_retry_callback)
        self.on_skipped_callback = callbacks(where, "on_skipped_callback", on_skipped_callback)
        self.params, self.param_schemas = plain_params(where, params)
        self.do_xcom_push = check.flag(where, "do_xcom_push", do_xcom_push)
        self.doc_md = check.optional_text(where, "doc_md", doc_md)
        self.doc, self.doc_json, self.doc_yaml, self.doc_rst = doc, doc_json, doc_yaml, doc_rst
        self.is_setup = self.is_teardown = self.on_failure_fail_dagrun = False
        if dag is not None:
            dag.add_task(self)
        if task_group is not None:
            task_group.add(self)

    _by_default: set[str]
    dynamic_fields: tuple[str, ...] | None = None
    """Template fields that hold a template or a reference; found once, when the file is loaded."""

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Do the work; what it returns is the XCom ``return_value``. Must be overridden."""
        raise NotImplementedError(f"{type(self).__name__} has no execute(self, context)")

    def on_kill(self) -> None:
        """Clean up when the task is stopped from outside or its time is over. Must not block for long."""

    @property
    def output(self) -> XComArg:
        """What :meth:`execute` will return, as an argument for other tasks."""
        return XComArg(self)

    @property
    def log(self) -> logging.Logger:
        """Writes into the task's log."""
        return logging.getLogger(f"runtime.task.{type(self).__name__}")

    @property
    def dag_id(self) -> str:
        return self.dag.dag_id if self.dag else ""

    @property
    def upstream_list(self) -> list[BaseOperator]:
        """Direct upstream tasks, by id."""
        return [self._dag.task_dict[task_id] for task_id in sorted(self.upstream_task_ids)]

    @property
    def downstream_list(self) -> list[BaseOperator]:
        """Direct downstream tasks, by id."""
        return [self._dag.task_dict[task_id] for task_id in sorted(self.downstream_task_ids)]

    def get_direct_relative_ids(self, upstream: bool = False) -> set[str]:
        """Ids of the tasks directly downstream, or upstream."""
        return set(self.upstream_task_ids if upstream else self.downstream_task_ids)

    def get_flat_relative_ids(self, *, upstream: bool = False) -> set[str]:
        """Ids of all tasks downstream, or upstream, however far."""
        found: set[str] = set()
        pending = list(self.get_direct_relative_ids(upstream))
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += self._dag.task_dict[name].get_direct_relative_ids(upstream)
        return found

    @property
    def _dag(self) -> DAG:
        if self.dag is None:
            raise TaskError(f"task {self.task_id!r} belongs to no DAG")
        return self.dag

    def operators(self) -> Iterator[BaseOperator]:
        yield self

    def render_template_fields(self, context: Mapping[str, Any]) -> BaseOperator:
        """A shallow copy whose template fields are rendered; ``self`` stays as it is, for the next run.

        Raises :class:`TaskError` that names the field, and what references raise.
        """
        rendered = copy.copy(self)
        if self.dag is not None:
            self.dag.templates.render_fields(rendered, context)
        return rendered

    def __repr__(self) -> str:
        return f"<{self.operator_name or type(self).__name__} {self.dag_id}.{self.task_id}>"
