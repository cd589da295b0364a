"""Verbs that configured executors bring along (:meth:`executors.base.BaseExecutor.get_cli_commands`)."""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial

from executors.cli import ActionCommand, GroupCommand
from runtime.cli.command import Verb, load_settings
from runtime.config.executors import load_registry


def vended_group(name: str) -> dict[str, Verb] | None:
    """The verbs of the group ``name`` of any configured executor, ``None`` where none has it."""
    for entry in load_registry(load_settings()):
        for command in entry.cls.get_cli_commands():
            if command.name == name and isinstance(command, GroupCommand):
                return {
                    action.name: _verb(action) for action in command.subcommands if isinstance(action, ActionCommand)
                }
    return None


def _verb(action: ActionCommand) -> Verb:
    return Verb(action.help, lambda args: action.func(args) or 0, partial(_arguments, action))


def _arguments(action: ActionCommand, parser: ArgumentParser) -> None:
    for arg in action.args:
        parser.add_argument(*arg.flags, **arg.options)
