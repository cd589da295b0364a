"""docs/cli.md names every verb and every option."""

from __future__ import annotations

import importlib
from argparse import SUPPRESS
from pathlib import Path

import pytest

from runtime.cli.command import Parser
from runtime.cli.main import GROUPS, SINGLE

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def verbs():
    for group, (_, module) in GROUPS.items():
        for name, verb in importlib.import_module(f"runtime.cli.commands.{module}").VERBS.items():
            yield pytest.param(f"{group} {name}", verb, id=f"{group} {name}")
    for name, (_, module) in SINGLE.items():
        verb = importlib.import_module(f"runtime.cli.commands.{module or 'info'}").VERBS[name]
        yield pytest.param(name, verb, id=name)


@pytest.mark.parametrize(("name", "verb"), list(verbs()))
def test_verb_and_its_options_are_on_the_page(name, verb):
    assert name in PAGE or f"`{name.split()[-1]} " in PAGE
    parser = Parser()
    verb.arguments(parser)
    shown = [a for a in parser._actions if a.option_strings and a.dest != "help" and a.help is not SUPPRESS]
    missing = [action.option_strings for action in shown if not any(flag in PAGE for flag in action.option_strings)]
    assert not missing
