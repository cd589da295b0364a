"""The grammar of ``[core] executor``: text in, frozen names out. Imports no executor.

::

    value  := entry ("," entry)*                      spaces ignored; the first entry is the default
    entry  := target | alias ":" target
    target := BuiltinName | dotted.module.Class | name of an entry point of the group hybrid.executors
    alias  := [A-Za-z][A-Za-z0-9_-]{0,62}, no "__"

An entry's *name* is its alias, else its target as written. :func:`lookup` matches names first and classes second. So
that this order never hides a surprise, an alias may not be the name of a class that it does not stand for.
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from executors.entry_points import installed_executors
from executors.errors import ExecutorConfigError, UnknownExecutorError

BUILTINS: Mapping[str, str] = MappingProxyType(
    {
        "LocalExecutor": "executors.local.executor.LocalExecutor",
        "SequentialExecutor": "executors.local.sequential.SequentialExecutor",
        "CeleryExecutor": "executors.celery.executor.CeleryExecutor",
        "KubernetesExecutor": "executors.kubernetes.executor.KubernetesExecutor",
    }
)
"""Short name → dotted path."""


@dataclass(frozen=True, slots=True)
class Composite:
    """One of Airflow's two-in-one executors: tasks of one queue go to the second, all others to the first."""

    executors: tuple[str, str]
    conf_section: str
    """Its option ``kubernetes_queue`` (default ``kubernetes``) names that queue."""

    def __str__(self) -> str:
        return ", ".join(self.executors)


COMPOSITES: Mapping[str, Composite] = MappingProxyType(
    {
        "CeleryKubernetesExecutor": Composite(("CeleryExecutor", "KubernetesExecutor"), "celery_kubernetes_executor"),
        "LocalKubernetesExecutor": Composite(("LocalExecutor", "KubernetesExecutor"), "local_kubernetes_executor"),
    }
)
"""There is no composite executor class: a name of these stands for its two executors, and a rule of routing."""

ALIAS_LENGTH = 63
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class ExecutorName:
    """One entry of the list."""

    name: str
    """What people write: the alias, else the target as written."""
    alias: str | None
    target: str
    """A key of ``BUILTINS``, ``dotted.module.Class`` or the name of an entry point."""
    path: str
    """``dotted.module.Class``, also of a built-in."""
    position: int
    """In the list, counted from 1."""

    @property
    def class_name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def entry(self) -> str:
        """As written in the list, without spaces."""
        return f"{self.alias}:{self.target}" if self.alias else self.target

    def __str__(self) -> str:
        return self.name


Plugins = Callable[[], Mapping[str, Sequence[str]]]
"""Entry point's name → the classes that bear it. Asked only where a target is neither built in nor dotted."""


def section_key(name: str) -> str:
    """How an alias appears in environment variables: ``east-1`` → ``EAST_1``."""
    return name.upper().replace("-", "_")


def parse_executors(value: str, plugins: Plugins = installed_executors) -> tuple[ExecutorName, ...]:
    """Read ``[core] executor``; at least one entry, in the order written, composites as their two executors.

    Raises :class:`ExecutorConfigError` for the first bad entry, with its position, the reason and what to write.
    """
    entries = [entry for part in value.split(",") for entry in _expanded(part.strip())]
    if not any(entries):
        what = "holds only commas" if "," in value else "is empty"
        raise ExecutorConfigError(f"[core] executor {what}; name at least one executor: {', '.join(BUILTINS)}")
    names: list[ExecutorName] = []
    for position, entry in enumerate(entries, 1):
        name = _parse_entry(position, entry, plugins, last=position == len(entries))
        for earlier in names:
            _check_pair(earlier, name)
        names.append(name)
    return tuple(names)


def composites(value: str) -> list[str]:
    """The composite executors that ``[core] executor`` names."""
    return [part.strip() for part in value.split(",") if part.strip() in COMPOSITES]


def _expanded(entry: str) -> tuple[str, ...]:
    return COMPOSITES[entry].executors if entry in COMPOSITES else (entry,)


def lookup(names: Sequence[ExecutorName], text: str) -> ExecutorName:
    """The entry that ``text`` means: its name; else its class name, dotted path or target.

    Raises :class:`UnknownExecutorError` where none matches, or where a class stands behind several names.
    """
    for name in names:
        if name.name == text:
            return name
    found = [name for name in names if text in (name.class_name, name.path, name.target)]
    if len(found) == 1:
        return found[0]
    if found:
        choices = ", ".join(name.name for name in found)
        raise UnknownExecutorError(f"executor {_shown(text)} is ambiguous: {choices} are of this class; use one name")
    raise UnknownExecutorError(f"unknown executor {_shown(text)}{_advice(names, text)} {_configured(names)}")


def check_executor_field(names: Sequence[ExecutorName], value: object) -> ExecutorName:
    """What ``executor=`` of a task or DAG means; the caller leaves ``None`` (nobody said) out.

    Raises :class:`UnknownExecutorError` also where the value is empty or no text.
    """
    if not isinstance(value, str):
        kind = type(value).__name__
        raise UnknownExecutorError(f"executor= takes one name as a string, not {kind} {_configured(names)}")
    if not value.strip():
        raise UnknownExecutorError(f"executor= is empty; leave it out for the default {_configured(names)}")
    return lookup(names, value)


def did_you_mean(text: str, choices: Iterable[str]) -> str:
    """``"; did you mean X?"``, or nothing where no choice is near. Case does not count; a unique beginning is near."""
    folded = {choice.lower(): choice for choice in choices}
    wanted = text.lower()
    near = difflib.get_close_matches(wanted, folded, n=1)
    begins = [choice for choice in folded if wanted and choice.startswith(wanted)]
    if not near and len(begins) == 1:
        near = begins
    return f"; did you mean {folded[near[0]]}?" if near else ""


def _parse_entry(position: int, entry: str, plugins: Plugins, *, last: bool) -> ExecutorName:
    if not entry:
        what = "the list ends with a comma" if last else "there is nothing before this comma"
        raise ExecutorConfigError(f"[core] executor, entry {position}: {what}; remove it")
    head, colon, tail = (part.strip() for part in entry.partition(":"))
    alias, target = (head, tail) if colon else (None, head)
    reason = _pair_error(head, tail) if colon else None
    path = None if reason else _path(target)
    if not reason and path is None:
        path, reason = _plugin(target, alias, plugins)
    if reason or path is None:
        raise ExecutorConfigError(f"[core] executor, entry {position} {_shown(entry)}: {reason}")
    return ExecutorName(alias or target, alias, target, path, position)


def _pair_error(alias: str, target: str) -> str | None:
    if ":" in target:
        return "more than one ':'; write alias:target"
    if not alias:
        return f"no alias before ':'; write alias:{_cut(target) or 'LocalExecutor'}, or leave ':' out"
    if not target:
        return f"no target after ':'; write {_cut(alias)}:LocalExecutor, for example"
    return _alias_error(alias, target)


def _alias_error(alias: str, target: str) -> str | None:
    if "." in alias:
        return f"an alias has no dots; did you mean {_cut(f'{alias}.{target}')}? (a class is written with dots only)"
    if not _ALIAS.fullmatch(alias):
        return f"alias {_shown(alias)} may hold only A-Z, a-z, 0-9, '-' and '_', and starts with a letter"
    if len(alias) > ALIAS_LENGTH:
        return f"the alias has {len(alias)} characters; at most {ALIAS_LENGTH} are allowed"
    if "__" in section_key(alias):
        return f"alias {alias!r} holds '__' ('-' counts as '_'), which separates the parts of environment variables"
    if alias in COMPOSITES or BUILTINS.get(alias) not in (None, BUILTINS.get(target, target)):
        swapped = "." not in target and _ALIAS.fullmatch(target) and target not in BUILTINS
        advice = f"; did you mean {target}:{alias}?" if swapped else "; choose another alias"
        return f"alias {alias!r} is the name of a different executor{advice}"
    return None


def _path(target: str) -> str | None:
    """The class of a built-in, or that a dotted path names; ``None`` for any other text."""
    if target in BUILTINS:
        return BUILTINS[target]
    parts = target.split(".")
    dotted = len(parts) > 1 and all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)
    return target if dotted else None


def _plugin(target: str, alias: str | None, plugins: Plugins) -> tuple[str | None, str | None]:
    """The class behind an entry point's name, or why there is none."""
    if target in COMPOSITES:
        return None, f"{target} has no alias; write its two executors as a list, executor = {COMPOSITES[target]}"
    known = plugins() if target and "." not in target else {}
    classes = known.get(target, ())
    if len(classes) == 1 and _path(classes[0]) == classes[0]:
        return classes[0], None
    if classes:
        what = "is no module:Class" if len(classes) == 1 else "is offered more than once; write the dotted path of one"
        return None, f"the entry point {_shown(target)} {what}: {', '.join(map(_cut, classes))}"
    what = f"{_shown(target)} is neither" if alias else "neither"
    near = did_you_mean(target, [*BUILTINS, *known])
    choices = f"built in: {', '.join(BUILTINS)}" + (f"; entry points: {', '.join(map(_cut, known))}" if known else "")
    return None, f"{what} a built-in executor nor a dotted module.path.Class{near} ({choices})"


def _check_pair(earlier: ExecutorName, name: ExecutorName) -> None:
    reason = _conflict(earlier, name, f"entry {earlier.position} {_shown(earlier.entry)}")
    if reason:
        raise ExecutorConfigError(f"[core] executor, entry {name.position} {_shown(name.entry)}: {reason}")


def _conflict(earlier: ExecutorName, name: ExecutorName, there: str) -> str | None:
    if not earlier.alias and not name.alias and earlier.path == name.path:
        return f"the same executor as {there}; give this one an alias, for example second:{name.target}"
    if earlier.name == name.name:
        what = "alias" if earlier.alias and name.alias else "name"
        return f"the {what} {name.name!r} is taken by {there}; choose another alias"
    if earlier.alias and name.alias and section_key(earlier.alias) == section_key(name.alias):
        folded = section_key(name.alias)
        return f"its alias becomes {folded} in environment variables, like that of {there}; choose another alias"
    if earlier.path != name.path and (name.alias in _classes(earlier) or earlier.alias in _classes(name)):
        clash = name.alias if name.alias in _classes(earlier) else earlier.alias
        return f"{clash!r} would mean this or {there}, one by its alias, one by its class; choose another alias"
    return None


def _classes(name: ExecutorName) -> tuple[str, str]:
    return name.class_name, name.target


def _advice(names: Sequence[ExecutorName], text: str) -> str:
    if text in BUILTINS:
        return "; add it to [core] executor to use it"
    choices = {known for name in names for known in (name.name, *_classes(name))}
    return did_you_mean(text, sorted(choices))


def _configured(names: Sequence[ExecutorName]) -> str:
    return f"(configured: {', '.join(name.name for name in names)})"


def _cut(text: str) -> str:
    """Fit to be echoed in a line."""
    text = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")
