"""Verbs that configured executors bring along (:meth:`executors.base.BaseExecutor.get_cli_commands`).

Whatever is wrong with one executor is a line on stderr: the others' verbs work.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from executors.cli import ActionCommand, Arg, GroupCommand
from executors.registry import BrokenExecutor, ConfiguredExecutor
from runtime.cli.command import Group, Verb, load_settings
from runtime.cli.command_host import CommandHost
from runtime.config import Settings
from runtime.config.executors import survey_executors
from runtime.core.errors import HybridError


def vended_verbs(reserved: Collection[str], settings: Settings | None = None) -> dict[str, Verb | Group]:
    """What the configured executors add to ``hybrid``, sorted; what had to be left out is told on stderr.

    :param reserved: names that ``hybrid`` has itself.
    :param settings: by default those of the home.

    Raises :class:`~runtime.core.errors.ConfigError`, and ``ExecutorConfigError`` for a bad list of executors.
    """
    root = Group("", {})
    settings = settings or load_settings()
    by_class: dict[type, list[ConfiguredExecutor]] = {}
    for entry in survey_executors(settings):
        if isinstance(entry, BrokenExecutor):
            _warn(entry.reason)
        else:
            by_class.setdefault(entry.cls, []).append(entry)
    for entries in by_class.values():  # under another alias a class has the same commands
        host = CommandHost(settings, entries)
        _Vendor(str(entries[0].name), reserved, host).add(root, _commands(entries[0]))
    return dict(sorted(root.verbs.items()))


def _commands(entry: ConfiguredExecutor) -> list[Any]:
    try:
        return list(entry.cls.get_cli_commands())
    except (Exception, SystemExit) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        _warn(f"executor {entry.name}: get_cli_commands() raised {told}")
        return []


class _Vendor:
    """Merges the commands of one executor into those of the others."""

    def __init__(self, name: str, reserved: Collection[str], host: CommandHost) -> None:
        self._name = name
        self._reserved = reserved
        self._host = host

    def add(self, group: Group, commands: list[Any], path: str = "hybrid") -> None:
        """Groups of one name become one; of two actions of one name the first stays."""
        for command in commands:
            if fault := _fault(command):
                self._leave_out(f"{path} …", fault)
                continue
            words = f"{path} {command.name}"
            known = group.verbs.get(command.name)
            if path == "hybrid" and command.name in self._reserved:
                self._leave_out(words, "hybrid has it itself")
            elif isinstance(command, GroupCommand) and not isinstance(known, Verb):
                known = group.verbs.setdefault(command.name, Group(command.help, {}))
                assert isinstance(known, Group)
                self.add(known, list(command.subcommands), words)
            elif known is not None:
                self._leave_out(words, "an executor before it in [core] executor has it too")
            else:
                group.verbs[command.name] = _verb(command, words, self._host)

    def _leave_out(self, words: str, reason: str) -> None:
        _warn(f"executor {self._name}: a command `{words}` is left out: {reason}")


def _fault(command: Any) -> str | None:
    """What makes it no command; ``None`` for a good one."""
    if not isinstance(command, ActionCommand | GroupCommand):
        return f"it is of type {type(command).__name__}, neither ActionCommand nor GroupCommand"
    fields = vars(command)
    name, about = fields["name"], fields["help"]
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum() or name.startswith("-"):
        return f"its name is {str(name)[:80]!r}"
    if not isinstance(about, str) or not about.strip():
        return f"{name} has no help"
    if isinstance(command, GroupCommand):
        return None if isinstance(fields["subcommands"], list | tuple) else f"the subcommands of {name} are no list"
    return _action_fault(name, fields)


def _action_fault(name: str, fields: Mapping[str, Any]) -> str | None:
    if not callable(fields["func"]):
        return f"the func of {name} cannot be called"
    if not isinstance(fields["args"], list | tuple) or not all(isinstance(arg, Arg) for arg in fields["args"]):
        return f"the args of {name} are no list of Arg"
    return None


def _verb(action: ActionCommand, words: str, host: CommandHost) -> Verb:
    return Verb(action.help, partial(_run, action, words, host), partial(_add_arguments, action, words))


def _run(action: ActionCommand, words: str, host: CommandHost, args: Namespace) -> int:
    code = host.run(action, args)
    if code is not None and not isinstance(code, int):
        raise HybridError(f"`{words}` returned {type(code).__name__}, which is no exit code")
    return code or 0


def _add_arguments(action: ActionCommand, words: str, parser: ArgumentParser) -> None:
    for arg in action.args:
        try:
            parser.add_argument(*arg.flags, **arg.options)
        except Exception as error:
            raise HybridError(f"`{words}` declares a bad argument {arg.flags}: {error}") from error


def _warn(line: str) -> None:
    print(f"hybrid: warning: {' '.join(line.split())}", file=sys.stderr)
