"""``hybrid executors explain DAG TASK``: where a task goes, and every rule that was asked."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from executors.names import did_you_mean, parse_executors
from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.commands.executor_figures import read_figures
from runtime.cli.output import emit, emit_one
from runtime.config.routing import make_router
from runtime.core.errors import NotFoundError
from runtime.core.routes import FallbackPolicy
from runtime.core.routing import Route
from runtime.core.specs import DagSpec, TaskSpec


def _explain(args: Namespace) -> int:
    """Exit code 1 where the task has no executor."""
    from runtime.db import queries
    from runtime.db.engine import open_database

    settings = load_settings()
    router = make_router(settings, parse_executors(settings.core.executor))
    database = open_database(settings)
    with database.read() as connection:
        dag = queries.dag_spec(connection, args.dag_id)
    database.close()
    task = _find(dag, args.task_id)
    route = router.route(dag, task)
    live = read_figures(settings)
    tried = [entry._asdict() for entry in router.explain(dag, task)]
    if args.output in ("json", "yaml"):
        emit_one({**_decision(route, router.fallback), "tried": tried, "health": _healths(route, live)}, args.output)
    else:
        emit(tried, args.output, ("what", "decides"))
        emit_one({**_decision(route, router.fallback), **_healths(route, live)}, args.output)
    return 0 if route.chain else 1


def _find(dag: DagSpec, task_id: str) -> TaskSpec:
    for task in dag.tasks:
        if task.task_id == task_id:
            return task
    near = did_you_mean(task_id, [task.task_id for task in dag.tasks])
    raise NotFoundError(f"DAG {dag.dag_id!r} has no task {task_id!r}{near}")


def _decision(route: Route, fallback: FallbackPolicy) -> dict[str, object]:
    return {
        "executor": route.chain[0] if route.chain else None,
        "fallback_to": list(route.chain[1:]),
        "fallback_when": str(fallback) if len(route.chain) > 1 else None,
        "reason": route.reason,
    }


def _healths(route: Route, live: dict[str, dict[str, object]]) -> dict[str, object]:
    """How each executor of the chain is now, where a scheduler runs."""
    return {name: _health(live[name]) for name in route.chain if name in live}


def _health(figures: dict[str, object]) -> str:
    why = f": {figures['reason']}" if figures["reason"] else ""
    return f"{figures['health']}, {figures['open_slots']} open slots{why}"


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument("task_id", metavar="TASK")
    add_output(parser)


EXPLAIN = {"explain": Verb("show where a task goes, and every rule that was asked", _explain, _arguments)}
