"""What an executor may add to the command line. Plain data, so that nothing heavy is imported for ``--help``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Arg:
    """One argument, as :meth:`argparse.ArgumentParser.add_argument` takes it."""

    flags: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ActionCommand:
    """``hybrid … NAME``: runs ``func(args)`` and exits with what it returns (``None`` is 0)."""

    name: str
    help: str
    func: Callable[[Any], int | None]
    """Its argument has what was parsed, and besides:

    * ``contexts``: by name, the :class:`~executors.context.ExecutorContext` of each configured executor of the class
      that brought the command, with ``worker_config`` and ``remote_worker_entry`` for remote workers;
    * ``emit(records, columns)``: prints a list of dictionaries, as the argument ``output`` says, if there is one;
    * ``confirm(question)``: asks on the terminal, unless there is an argument ``yes`` that is true; raises on a no;
    * ``dag_workloads(dag_id, logical_date, executor)``: the :class:`~executors.workload.Workload` of each task of a DAG
      that goes to the instance called ``executor``, without a start ticket; ``logical_date`` is ISO-8601 or ``None``;
    * ``tend()``: see ``is_worker``.
    """
    args: Sequence[Arg] = ()
    is_worker: bool = False
    """Tasks run below it: the host sets logging up, and serves this machine's task logs as long as ``func`` calls
    ``args.tend()``, about once a second, in the main thread."""


@dataclass(frozen=True)
class GroupCommand:
    """``hybrid NAME …`` with commands of its own."""

    name: str
    help: str
    subcommands: Sequence[CLICommand] = ()


CLICommand: TypeAlias = ActionCommand | GroupCommand


def lazy_load_command(import_path: str) -> Callable[[Any], int | None]:
    """Return a function that imports ``module.function`` only when it is called."""
    module_name, _, attribute = import_path.rpartition(".")

    def command(args: Any) -> int | None:
        result: int | None = getattr(importlib.import_module(module_name), attribute)(args)
        return result

    command.__name__ = attribute
    return command
