"""Where a task says that it wants to run."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.authoring.arguments import plain_json
from runtime.authoring.exceptions import ArgumentError

LARGEST_CONFIG = 262_144
"""Bytes of JSON of one task's ``executor_config``: it is stored with the DAG, and travels with every attempt."""
Chain = tuple[str, ...]
"""Names of executors as written: the first, and those that a task falls back to. Never empty."""


def executor_chain(where: str, value: object) -> Chain | None:
    """``executor=``, a name or a list of names; whether they are configured is asked of :mod:`executors.names` when the
    file is parsed.
    """
    if value is None:
        return None
    if not isinstance(value, str | list | tuple):
        raise ArgumentError(f"{where}: executor must be the name of an executor, or a list of names, not {value!r}")
    names = [value] if isinstance(value, str) else list(value)
    if not names:
        raise ArgumentError(f"{where}: executor is an empty list; name an executor or leave it out")
    for name in names:
        if not isinstance(name, str):
            raise ArgumentError(f"{where}: executor must be names of executors, not {name!r}")
        if not name.strip():
            raise ArgumentError(f"{where}: executor is empty; name an executor or leave it out")
    stripped = tuple(name.strip() for name in names)
    if len(set(stripped)) < len(stripped):
        raise ArgumentError(f"{where}: executor names one executor twice: {', '.join(stripped)}")
    return stripped


def plain_executor_config(where: str, value: object) -> dict[str, Any]:
    """``executor_config`` as plain JSON of at most ``LARGEST_CONFIG`` bytes; a ``V1Pod`` in it becomes a dictionary."""
    plain = plain_json(f"{where}: executor_config", {} if value is None else value)
    if not isinstance(plain, dict):
        raise ArgumentError(f"{where}: executor_config must be a dict, not {value!r}")
    try:
        size = len(msgspec.json.encode(plain))
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{where}: executor_config is no JSON: {error}") from None
    if size > LARGEST_CONFIG:
        raise ArgumentError(f"{where}: executor_config has {size} bytes of JSON; at most {LARGEST_CONFIG} are allowed")
    return plain


def chosen_executor(own: Chain | None, by_default: bool, dag: Chain | None) -> tuple[Chain | None, str | None]:
    """The executors that were asked for, and who asked: ``task``, ``default_args``, ``dag`` or nobody."""
    if own is not None:
        return own, "default_args" if by_default else "task"
    return (dag, "dag") if dag is not None else (None, None)
