"""Checks of what users pass to DAGs and tasks. Each raises :class:`ArgumentError` that names the place."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from runtime.authoring.exceptions import ArgumentError
from runtime.core.ids import is_id

Choice = TypeVar("Choice", bound=StrEnum)
_DEEPEST = 50
_RENAMED = {
    "schedule_interval": "schedule",
    "timetable": "schedule",
    "concurrency": "max_active_tasks",
    "default_timezone": "timezone",
}


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or nothing where no choice is near."""
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def reject_unknown(where: str, given: Iterable[str], allowed: Collection[str]) -> None:
    """Refuse the first argument that is none of ``allowed``."""
    for name in given:
        if name in allowed:
            continue
        if _RENAMED.get(name) in allowed:
            raise ArgumentError(f"{where}: argument {name!r} is called {_RENAMED[name]!r} here")
        raise ArgumentError(f"{where}: unknown argument {name!r}{did_you_mean(name, allowed)}")


def identifier(kind: str, value: object) -> str:
    """``value``, if it may name a DAG or a task; ``kind`` is ``dag_id`` or ``task_id``."""
    if not isinstance(value, str):
        raise ArgumentError(f"{kind} must be a string, not {value!r}")
    if not is_id(value):
        shown = value if len(value) <= 80 else f"{value[:80]}…"
        raise ArgumentError(
            f"{kind} {shown!r} is not allowed; use at most 250 letters, digits, dashes, dots, underscores, and no '..'"
        )
    return value


def seconds(where: str, name: str, value: object, *, positive: bool = False) -> float:
    """The length of a timedelta or of a number of seconds."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArgumentError(f"{where}: {name} must be a timedelta or a number of seconds, not {value!r}")
    if value < 0 or (positive and value == 0):
        raise ArgumentError(f"{where}: {name} of {value:g} seconds; it must be {'above' if positive else 'at least'} 0")
    return float(value)


def optional_seconds(where: str, name: str, value: object) -> float | None:
    """As :func:`seconds`, above 0; ``None`` for no limit."""
    return None if value is None else seconds(where, name, value, positive=True)


def optional_limit(where: str, name: str, value: object) -> int | None:
    """A whole number from 1 on; ``None`` for no limit."""
    return None if value is None else whole(where, name, value, minimum=1)


def whole(where: str, name: str, value: object, *, minimum: int | None = None) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentError(f"{where}: {name} must be a whole number, not {value!r}")
    if minimum is not None and value < minimum:
        raise ArgumentError(f"{where}: {name} = {value}; it must be at least {minimum}")
    if abs(value) >= 2**31:
        raise ArgumentError(f"{where}: {name} = {value} is beyond 2147483647")
    return value


def flag(where: str, name: str, value: object) -> bool:
    """``True`` or ``False``."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{where}: {name} must be True or False, not {value!r}")
    return value


def text(where: str, name: str, value: object) -> str:
    """A string with something in it."""
    if not isinstance(value, str):
        raise ArgumentError(f"{where}: {name} must be a string, not {value!r}")
    if not value.strip():
        raise ArgumentError(f"{where}: {name} is empty")
    return str(value)


def optional_text(where: str, name: str, value: object) -> str | None:
    """A string, or ``None``."""
    if value is not None and not isinstance(value, str):
        raise ArgumentError(f"{where}: {name} must be a string, not {value!r}")
    return value


def one_of(where: str, name: str, value: object, choices: type[Choice]) -> Choice:
    """A member of ``choices``, given as itself or by its text."""
    if isinstance(value, choices):
        return value
    known = [choice.value for choice in choices]
    if not isinstance(value, str):
        raise ArgumentError(f"{where}: {name} must be one of {', '.join(known)}, not {value!r}")
    if value not in known:
        hint = did_you_mean(value, known) or f"; use one of {', '.join(known)}"
        raise ArgumentError(f"{where}: unknown {name} {str(value)!r}{hint}")
    return choices(value)


def mapping(where: str, name: str, value: object) -> dict[str, Any]:
    """A copy of a dictionary with string keys; ``None`` is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ArgumentError(f"{where}: {name} must be a dict with string keys, not {value!r}")
    return dict(value)


def plain_json(where: str, value: object, depth: int = 0) -> Any:
    """``value`` as plain JSON data; objects with ``to_dict()`` become dictionaries.

    A ``V1Pod`` and the like say ``None`` for each of hundreds of fields that nobody has set: those are left out.

    :param where: path to ``value``, which errors name.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth > _DEEPEST:
        raise ArgumentError(f"{where}: nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArgumentError(f"{where}: key {key!r} is no string")
        return {str(key): plain_json(f"{where}[{key!r}]", item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain_json(f"{where}[{index}]", item, depth + 1) for index, item in enumerate(value)]
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict) and not isinstance(value, type):
        plain = plain_json(where, to_dict(), depth + 1)
        return _without_none(plain) if hasattr(value, "openapi_types") else plain
    raise ArgumentError(f"{where}: {_shown(value)} is no JSON; use dicts, lists, strings, numbers, True, False or None")


def _without_none(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _without_none(item) for key, item in plain.items() if item is not None}
    return [_without_none(item) for item in plain] if isinstance(plain, list) else plain


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, float) else f"a {type(value).__name__}"
