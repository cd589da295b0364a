"""What may stand after ``hybrid``, and shell scripts that know it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from importlib import import_module

from runtime.cli.command import Group, Verb

SHELLS = ("bash", "zsh", "fish")
Words = dict[tuple[str, ...], list[str]]
"""What may follow a path of words: groups and verbs, then options and the choices of an argument."""


def words(groups: Mapping[str, tuple[str, str]], single: Mapping[str, tuple[str, str]]) -> Words:
    """Of the groups and single verbs of :mod:`runtime.cli.main`."""
    found: Words = {(): sorted([*groups, *single, "help"])}
    for name, (_, module) in groups.items():
        found |= dict(_below((name,), Group("", _verbs(module))))
    for name, (_, module) in single.items():
        found |= dict(_below((name,), _verbs(module or "info")[name]))
    return found


def script(shell: str, known: Words) -> str:
    """For one of :data:`SHELLS`."""
    return _fish(known) if shell == "fish" else _bash(known, zsh=shell == "zsh")


def _verbs(module: str) -> dict[str, Verb | Group]:
    verbs: dict[str, Verb | Group] = import_module(f"runtime.cli.commands.{module}").VERBS
    return verbs


def _below(path: tuple[str, ...], verb: Verb | Group) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    if isinstance(verb, Group):
        yield path, sorted(verb.verbs)
        for name, inner in verb.verbs.items():
            yield from _below((*path, name), inner)
        return
    parser = ArgumentParser()
    verb.arguments(parser)
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    choices = [str(one) for action in parser._actions if not action.option_strings for one in action.choices or ()]
    yield path, [*choices, *sorted(options)]


def _bash(known: Words, *, zsh: bool) -> str:
    cases = "\n".join(f'    "{" ".join(path)}") words="{" ".join(following)}" ;;' for path, following in known.items())
    head = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""\
# Completion of hybrid; made by `hybrid completion {"zsh" if zsh else "bash"}`.
{head}_hybrid() {{
  local path="" word words="" known
  local current="${{COMP_WORDS[COMP_CWORD]}}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) continue ;; esac
    known="$path${{path:+ }}$word"
    case "$known" in
{_paths(known)}      path="$known" ;;
    esac
  done
  case "$path" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _hybrid hybrid"""


def _paths(known: Words) -> str:
    return "      " + "|".join(f'"{" ".join(path)}"' for path in known if path) + ")\n"


def _fish(known: Words) -> str:
    lines = ["# Completion of hybrid; made by `hybrid completion fish`.", "complete -c hybrid -f"]
    for path, following in known.items():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in path) or "__fish_use_subcommand"
        plain = [word for word in following if not word.startswith("--")]
        deeper = [other[len(path)] for other in known if len(other) == len(path) + 1 and other[: len(path)] == path]
        if deeper and path:
            seen += f"; and not __fish_seen_subcommand_from {' '.join(deeper)}"
        if plain:
            lines.append(f"complete -c hybrid -n '{seen}' -a '{' '.join(plain)}'")
        lines += [
            f"complete -c hybrid -n '{seen}' -l {word.removeprefix('--')}" for word in following if word not in plain
        ]
    return "\n".join(lines)
