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


def _lint(args: Namespace) -> int:
    from runtime.config.lint import lint
    from runtime.config.options import SECTIONS
    from runtime.config.settings import did_you_mean

    of_executors = _executor_sections()
    everything = lint(of_executors)
    sections = sorted({*SECTIONS, *of_executors, *(one.section for one in everything)})
    for name in args.section or ():
        if name not in sections and name.partition(":")[0] not in sections:
            raise NotFoundError(f"there is no section [{name}]{did_you_mean(name, sections)}")
    found = [
        one
        for one in everything
        if _chosen(one.section, args.section, args.ignore_section)
        and _chosen(one.option, args.option, args.ignore_option)
    ]
    records = [{"section": f.section, "option": f.option, "source": f.source, "problem": f.problem} for f in found]
    if records or args.output in ("json", "yaml"):
        emit(records, args.output, ("section", "option", "source", "problem"))
    else:
        print("no problems found")
    return 1 if records else 0


def _executor_sections() -> set[str]:
    """Of the built-in executors and of those that are configured, where the configuration can be read."""
    from executors.errors import ExecutorError
    from executors.names import COMPOSITES
    from executors.registry import ConfiguredExecutor
    from runtime.config import load
    from runtime.config.executors import survey_executors
    from runtime.core.errors import ConfigError

    found = {"local_executor", "celery", "celery_broker_transport_options", "kubernetes_executor"}
    found |= {composite.conf_section for composite in COMPOSITES.values()}
    try:
        entries = [entry for entry in survey_executors(load()) if isinstance(entry, ConfiguredExecutor)]
    except (ConfigError, ExecutorError):
        return found
    return found | {name for one in entries for name in (one.cls.conf_section, *one.cls.conf_sections_extra) if name}


def _chosen(name: str, only: list[str] | None, ignored: list[str] | None) -> bool:
    return (not only or name in only) and name not in (ignored or ())


def _lint_arguments(parser: ArgumentParser) -> None:
    for name in ("section", "option"):
        parser.add_argument(
            f"--{name}", action="append", metavar=name.upper(), help=f"only this {name}; may be repeated"
        )
        parser.add_argument(f"--ignore-{name}", action="append", metavar=name.upper(), help=f"not this {name}")
    add_output(parser)


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
    "lint": Verb("find every mistake in it; exit 1 when there are any", _lint, _lint_arguments),
    "list": Verb("list every option, its value and where that comes from", _list, _list_arguments),
}
