"""``hybrid config …``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.output import emit
from runtime.config import Item
from runtime.core.errors import NotFoundError


def _get_value(args: Namespace) -> int:
    items = list(load_settings().items(show_sensitive=args.show_sensitive))
    for item in items:
        if (item.section, item.key) == (args.section, args.option):
            print(item.value)
            return 0
    raise NotFoundError(_missing(items, args.section, args.option))


def _missing(items: list[Item], section: str, option: str) -> str:
    import difflib

    names = [item.key for item in items if item.section == section] or sorted({item.section for item in items})
    word = option if any(item.section == section for item in items) else section
    near = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    return (
        f"[{section}] has no option {option}; {hint}" if word is option else f"there is no section [{section}]; {hint}"
    )


def _list(args: Namespace) -> int:
    items = load_settings().items(show_sensitive=args.show_sensitive)
    columns = ("section", "key", "value", "source")
    emit([{name: getattr(item, name) for name in columns} for item in items], args.output, columns)
    return 0


def _sensitive(parser: ArgumentParser) -> None:
    parser.add_argument("--show-sensitive", action="store_true", help="show passwords too")


def _get_value_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("section", metavar="SECTION")
    parser.add_argument("option", metavar="OPTION")
    _sensitive(parser)


def _list_arguments(parser: ArgumentParser) -> None:
    _sensitive(parser)
    add_output(parser)


VERBS = {
    "get-value": Verb("print one option", _get_value, _get_value_arguments),
    "list": Verb("list every option, its value and where that comes from", _list, _list_arguments),
}
