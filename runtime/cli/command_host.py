"""What a verb that an executor brought along is given besides its arguments."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from functools import partial

from executors.cli import ActionCommand
from executors.context import ExecutorContext
from executors.registry import ConfiguredExecutor
from runtime.cli.command import confirm
from runtime.cli.daemon_log import log_to_stderr
from runtime.cli.dag_workloads import dag_workloads
from runtime.cli.declaring import WorkerDeclaration
from runtime.cli.output import Record, emit
from runtime.config import Settings
from runtime.config.withholding import withhold_sections, withhold_signing_key
from runtime.config.worker import remote_worker_config

REMOTE_WORKER_ENTRY = "runtime.worker.remote_process:start_worker"


class CommandHost:
    """For the commands of one class of executors.

    :param entries: the configured executors of that class.
    """

    def __init__(self, settings: Settings, entries: Sequence[ConfiguredExecutor]) -> None:
        self._settings = settings
        self._entries = entries

    def run(self, action: ActionCommand, args: Namespace) -> int | None:
        """See :class:`~executors.cli.ActionCommand`."""
        args.contexts = self._contexts()
        args.emit = lambda records, columns: _emit(args, records, columns)
        args.dag_workloads = partial(dag_workloads, self._settings)
        args.confirm = lambda question: confirm(question, yes=getattr(args, "yes", False))
        return self._run_worker(action, args) if action.is_worker else action.func(args)

    def _contexts(self) -> dict[str, ExecutorContext]:
        settings = self._settings
        return {
            entry.name.name: ExecutorContext(
                name=entry.name.name,
                options={"default_queue": settings.operators.default_queue, **entry.options},
                worker_config=remote_worker_config(settings),
                remote_worker_entry=REMOTE_WORKER_ENTRY,
                declared=WorkerDeclaration(settings),
            )
            for entry in self._entries
        }

    def _sections(self) -> set[str]:
        """Of the configuration, those that these executors read."""
        classes = {entry.cls for entry in self._entries}
        return {name for cls in classes for name in (cls.conf_section, *cls.conf_sections_extra) if name}

    def _run_worker(self, action: ActionCommand, args: Namespace) -> int | None:
        from runtime.logserver.child import LogServerChild

        withhold_signing_key()
        withhold_sections(self._sections())
        log_to_stderr(self._settings.logging.logging_level)
        log_server = LogServerChild(self._settings)
        args.tend = log_server.tend
        try:
            return action.func(args)
        finally:
            log_server.close()


def _emit(args: Namespace, records: Sequence[Record], columns: Sequence[str]) -> None:
    emit(records, getattr(args, "output", "table"), columns)
