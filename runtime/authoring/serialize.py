"""From a DAG object to data, after the checks that need the whole DAG. The same file always gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.authoring.arguments import did_you_mean
from runtime.authoring.baseoperator import BaseOperator
from runtime.authoring.branching import SkipMixin
from runtime.authoring.callbacks import callback_kinds
from runtime.authoring.dag import DAG
from runtime.authoring.empty import EmptyOperator
from runtime.authoring.exceptions import CycleError, DagFileError
from runtime.authoring.groups import TaskGroup
from runtime.authoring.placement import chosen_executor
from runtime.authoring.rules import TriggerRule
from runtime.core.specs import DagSpec, GroupSpec, TaskSpec
from runtime.core.weights import effective_weights


def dag_spec(dag: DAG) -> DagSpec:
    """The DAG as data. Raises :class:`CycleError` and :class:`DagFileError`."""
    check_setups(dag)
    upstream = {task.task_id: tuple(sorted(task.upstream_task_ids)) for task in dag.tasks}
    weights = effective_weights(
        own={task.task_id: task.priority_weight for task in dag.tasks},
        rules={task.task_id: task.weight_rule.value for task in dag.tasks},
        upstream=upstream,
        order=topological_order(dag.dag_id, upstream),
    )
    return DagSpec(
        dag_id=dag.dag_id,
        tasks=tuple(_task_spec(dag, task, weights[task.task_id]) for task in dag.tasks),
        timetable=dag.timetable,
        start_date=dag.start_date,
        end_date=dag.end_date,
        catchup=dag.catchup,
        max_active_runs=dag.max_active_runs,
        max_active_tasks=dag.max_active_tasks,
        dagrun_timeout=dag.dagrun_timeout,
        is_paused_upon_creation=dag.is_paused_upon_creation,
        max_consecutive_failed_dag_runs=dag.max_consecutive_failed_dag_runs,
        has_on_success_callback=bool(dag.on_success_callback),
        has_on_failure_callback=bool(dag.on_failure_callback),
        params=dag.params,
        param_schemas=dag.param_schemas,
        groups=tuple(_group_spec(group) for group in dag.groups.values()),
        edge_labels={name: dict(sorted(below.items())) for name, below in sorted(dag.edge_labels.items())},
        tags=dag.tags,
        description=dag.description,
        doc_md=dag.doc_md,
        owner=", ".join(sorted({task.owner for task in dag.tasks})) or dag.defaults.owner,
    )


def _task_spec(dag: DAG, task: BaseOperator, weight: int) -> TaskSpec:
    executors, source = chosen_executor(task.executor_chain, task.executor_by_default, dag.executor_chain)
    return TaskSpec(
        task_id=task.task_id,
        operator=task.operator_name or type(task).__name__,
        upstream=tuple(sorted(task.upstream_task_ids)),
        trigger_rule=task.trigger_rule.value,
        retries=task.retries,
        retry_delay=task.retry_delay,
        retry_exponential_backoff=task.retry_exponential_backoff,
        max_retry_delay=task.max_retry_delay,
        depends_on_past=task.depends_on_past,
        wait_for_downstream=task.wait_for_downstream,
        ignore_first_depends_on_past=task.ignore_first_depends_on_past,
        max_active_tis_per_dag=task.max_active_tis_per_dag,
        max_active_tis_per_dagrun=task.max_active_tis_per_dagrun,
        callbacks=callback_kinds(task),
        is_setup=task.is_setup,
        is_teardown=task.is_teardown,
        on_failure_fail_dagrun=task.on_failure_fail_dagrun,
        decides=isinstance(task, SkipMixin),
        group=task.task_group.group_id if task.task_group else None,
        doc_md=task.doc_md,
        execution_timeout=task.execution_timeout,
        pool=task.pool,
        pool_slots=task.pool_slots,
        priority_weight=weight,
        queue=task.queue,
        executor=executors[0] if executors else None,
        executor_fallback=executors[1:] if executors else (),
        executor_source=source,
        executor_config=task.executor_config,
        owner=task.owner,
        empty=type(task).execute is EmptyOperator.execute,
    )


def _group_spec(group: TaskGroup) -> GroupSpec:
    return GroupSpec(
        group_id=group.group_id,
        parent=group.parent_group.group_id if group.parent_group else None,
        tooltip=group.tooltip,
        ui_color=group.ui_color,
        ui_fgcolor=group.ui_fgcolor,
    )


def check_setups(dag: DAG) -> None:
    """Raise :class:`DagFileError` where a task that uses a setup has a rule that would let it run without it."""
    for task in dag.tasks:
        for follower in task.downstream_list if task.is_setup else ():
            if not follower.is_teardown and follower.trigger_rule != TriggerRule.ALL_SUCCESS:
                raise DagFileError(
                    f"DAG {dag.dag_id!r}: task {follower.task_id!r} follows the setup {task.task_id!r} and must have "
                    f"the trigger rule all_success, not {follower.trigger_rule}"
                )


def unused_default_args(dag: DAG) -> list[str]:
    """Warnings about ``default_args`` that no task takes: a misspelt one would be silent otherwise."""
    known = dag.used_default_args | BaseOperator.accepted
    return [
        f"DAG {dag.dag_id!r}: no task takes {name!r} of default_args, it has no effect{did_you_mean(name, known)}"
        for name in dag.default_args
        if name not in known
    ]


def topological_order(dag_id: str, upstream: Mapping[str, Sequence[str]]) -> list[str]:
    """Task ids, upstream before downstream. Raises :class:`CycleError` that names one cycle."""
    waiting = {task_id: len(others) for task_id, others in upstream.items()}
    downstream: dict[str, list[str]] = {task_id: [] for task_id in upstream}
    for task_id, others in upstream.items():
        for other in others:
            downstream[other].append(task_id)
    order = [task_id for task_id, count in waiting.items() if count == 0]
    for task_id in order:  # grows while it is walked
        for follower in downstream[task_id]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                order.append(follower)
    if len(order) < len(upstream):
        stuck = {task_id for task_id, count in waiting.items() if count > 0}
        raise CycleError(f"DAG {dag_id!r} has a cycle: {' → '.join(_cycle(stuck, upstream))}")
    return order


def _cycle(stuck: set[str], upstream: Mapping[str, Sequence[str]]) -> list[str]:
    """One cycle among tasks of which each waits for another of them, in the order of execution."""
    path: list[str] = []
    task_id = min(stuck)
    while task_id not in path:
        path.append(task_id)
        task_id = next(other for other in upstream[task_id] if other in stuck)
    cycle = path[path.index(task_id) :][::-1]
    start = cycle.index(min(cycle))
    cycle = cycle[start:] + cycle[:start]
    return [*cycle, cycle[0]]
