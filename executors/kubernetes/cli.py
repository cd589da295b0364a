"""``hybrid kubernetes …``: what is declared of it. Cheap to import; the commands themselves are elsewhere."""

from __future__ import annotations

from executors.cli import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

_EXECUTOR = Arg(("--executor",), {"metavar": "NAME", "help": "of several Kubernetes executors (default: the first)"})
_CLEANUP = (
    Arg(("--namespace",), {"metavar": "NAME", "help": "default: those that the executor watches"}),
    Arg(
        ("--min-pending-minutes",),
        {"type": int, "default": 30, "metavar": "N", "help": "how long a pod may be pending: 5 or more (default: 30)"},
    ),
)
_GENERATE = (
    Arg(("dag_id",), {"metavar": "DAG"}),
    Arg(("-l", "--logical-date"), {"metavar": "DATE", "help": "ISO-8601 (default: now)"}),
    Arg(("-o", "--output-path"), {"metavar": "DIR", "default": ".", "help": "where the files go (default: here)"}),
)


def commands() -> list[CLICommand]:
    """For :meth:`executors.base.BaseExecutor.get_cli_commands`."""
    cleanup = ActionCommand(
        "cleanup-pods",
        "delete pods of this executor that have ended, or are pending for too long",
        lazy_load_command("executors.kubernetes.cleanup.cleanup_pods"),
        (*_CLEANUP, _EXECUTOR),
    )
    generate = ActionCommand(
        "generate-dag-yaml",
        "write the pods that the tasks of a DAG would get, as YAML",
        lazy_load_command("executors.kubernetes.commands.generate_dag_yaml"),
        (*_GENERATE, _EXECUTOR),
    )
    return [GroupCommand("kubernetes", "clean up pods of KubernetesExecutor, look at their YAML", (cleanup, generate))]
