"""What ``hybrid kubernetes generate-dag-yaml`` does, and what the commands share.

All commands raise :class:`~executors.errors.ExecutorError`, which the host prints as one line.
"""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError, ExecutorError
from executors.kubernetes.building.build import build_pod
from executors.kubernetes.building.mutating import load_hook
from executors.kubernetes.building.normalising import to_model
from executors.kubernetes.errors import PodConfigError
from executors.kubernetes.options import KubernetesOptions, read_options
from executors.workload import Workload

TICKET = "(a secret of each attempt's own)"
"""Stands where a real pod has its start ticket."""
_LONGEST = 200


def chosen(args: Namespace) -> tuple[ExecutorContext, KubernetesOptions]:
    """The instance that ``--executor`` names, else the first. Raises :class:`ExecutorConfigError`."""
    contexts: dict[str, ExecutorContext] = args.contexts
    if args.executor is not None and args.executor not in contexts:
        raise ExecutorConfigError(f"--executor {args.executor}: choose from {', '.join(contexts)}")
    context = contexts[args.executor] if args.executor is not None else next(iter(contexts.values()))
    return context, read_options(context.options, context.name, context.worker_config)


def generate_dag_yaml(args: Namespace) -> int:
    """One file per task that would run on the chosen executor, named after DAG, task and date; replaces old ones."""
    context, options = chosen(args)
    workloads: Callable[..., Sequence[Workload]] = args.dag_workloads
    found = workloads(args.dag_id, args.logical_date, context.name)
    if not found:
        raise ExecutorError(f"DAG {args.dag_id} has no task that runs on executor {context.name}")
    folder = Path(args.output_path)
    files = {_file_name(workload): _document(workload, options) for workload in found}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ExecutorError(f"-o {folder}: {error.strerror}") from None
    for name in files:
        print(folder / name)  # noqa: T201
    return 0


def _document(workload: Workload, options: KubernetesOptions) -> str:
    import yaml

    pod = _pod(replace(workload, env={**workload.env, "HYBRID_START_TICKET": TICKET}), options)
    head = ("apiVersion", "kind", "metadata", "spec")
    text: str = yaml.safe_dump({name: pod[name] for name in head}, sort_keys=False, allow_unicode=True)
    return text


def _pod(workload: Workload, options: KubernetesOptions) -> dict[str, Any]:
    try:
        pod = build_pod(workload, options, hook=load_hook(options))
        to_model(pod, "pod")
    except PodConfigError as error:
        raise ExecutorError(f"task {workload.key.task_id}: {error}") from None
    return pod


def _file_name(workload: Workload) -> str:
    """As Airflow's, ``DAG_TASK_DATE.yml``; cut where a file system could not take it."""
    key = workload.key
    name = f"{key.dag_id}_{key.task_id}_{key.run_id.partition('__')[2]}"
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"{name}.yml"
