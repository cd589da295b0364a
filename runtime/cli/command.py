"""What a verb is, and how its arguments are read."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, NoReturn, cast

if TYPE_CHECKING:
    from runtime.config import Settings

FORMATS = ("table", "json", "yaml", "plain")


class UsageError(Exception):
    """The command line makes no sense: one line on stderr, exit code 2."""


class Verb(NamedTuple):
    """One command. ``run`` returns the exit code; ``arguments`` adds what it takes."""

    help: str
    run: Callable[[Namespace], int]
    arguments: Callable[[ArgumentParser], None] = lambda _: None


class Group(NamedTuple):
    """Verbs, and groups of them, by name."""

    help: str
    verbs: dict[str, Verb | Group]


def elsewhere(help: str, module: str, name: str) -> Verb:  # noqa: A002  as the field is called
    """The verb ``name`` of ``runtime.cli.commands.MODULE``, imported when used: executors wait for `tasks run`."""

    def verb() -> Verb:
        return cast("dict[str, Verb]", import_module(f"runtime.cli.commands.{module}").VERBS)[name]

    return Verb(help, lambda args: verb().run(args), lambda parser: verb().arguments(parser))


class Parser(ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def parse(prog: str, verb: Verb, argv: list[str]) -> Namespace:
    """Read ``argv`` for one verb. Raises :class:`UsageError`; ``--help`` prints and raises ``SystemExit(0)``."""
    parser = Parser(prog=prog, description=verb.help[0].upper() + verb.help[1:] + ".", allow_abbrev=False)
    verb.arguments(parser)
    return parser.parse_args(argv)


def add_output(parser: ArgumentParser) -> None:
    """Add ``-o``."""
    parser.add_argument("-o", "--output", choices=FORMATS, default="table", help="format (default: table)")


def load_settings() -> Settings:
    """Read the configuration; warnings go to stderr. Raises :class:`~runtime.core.errors.ConfigError`."""
    from runtime.config import load

    settings = load()
    for warning in settings.warnings:
        print(f"hybrid: warning: {warning}", file=sys.stderr)
    return settings


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal unless ``yes``. Raises :class:`UsageError` where nobody is there, ``HybridError`` on no."""
    from runtime.core.errors import HybridError

    if yes:
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is here to answer; pass -y to mean yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise HybridError("nothing was changed")
