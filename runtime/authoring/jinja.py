"""The Jinja environment of a DAG, as its author asked for it. Jinja itself is imported where one is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.authoring import arguments as check
from runtime.authoring.exceptions import ArgumentError

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True, slots=True)
class JinjaOptions:
    """What a DAG says of its templates."""

    searchpath: tuple[str, ...] = ()
    undefined: type[jinja2.Undefined] | None = None
    macros: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    native: bool = False
    environment: Mapping[str, Any] = field(default_factory=dict)


def jinja_options(
    where: str,
    *,
    searchpath: object,
    undefined: object,
    macros: object,
    filters: object,
    native: object,
    environment: object,
) -> JinjaOptions:
    """The arguments of a DAG, checked. Raises :class:`ArgumentError`."""
    return JinjaOptions(
        searchpath=_folders(where, searchpath),
        undefined=_undefined(where, undefined),
        macros=check.mapping(where, "user_defined_macros", macros),
        filters=_filters(where, filters),
        native=check.flag(where, "render_template_as_native_obj", native),
        environment=check.mapping(where, "jinja_environment_kwargs", environment),
    )


def _folders(where: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    given = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(given, Iterable) or not all(isinstance(one, str | os.PathLike) for one in given):
        raise ArgumentError(f"{where}: template_searchpath must be a folder or a list of folders, not {value!r}")
    return tuple(os.fspath(one) for one in given)


def _undefined(where: str, value: object) -> type[jinja2.Undefined] | None:
    if value is None:
        return None
    import jinja2

    if not (isinstance(value, type) and issubclass(value, jinja2.Undefined)):
        raise ArgumentError(f"{where}: template_undefined must be jinja2.Undefined or a subclass of it, not {value!r}")
    return value


def _filters(where: str, value: object) -> dict[str, Callable[..., Any]]:
    filters = check.mapping(where, "user_defined_filters", value)
    for name, function in filters.items():
        if not callable(function):
            raise ArgumentError(f"{where}: user_defined_filters[{name!r}] must be a function, not {function!r}")
    return filters


def search_folders(folder: Path, options: JinjaOptions) -> list[Path]:
    """Where template files are looked for, in order; relative folders stand beside the DAG file."""
    return [folder, *(folder / path for path in options.searchpath)]


def make_environment(folder: Path, options: JinjaOptions) -> jinja2.Environment:
    """Raises ``TypeError`` for ``jinja_environment_kwargs`` that Jinja does not know."""
    import jinja2
    from jinja2.nativetypes import NativeEnvironment
    from jinja2.sandbox import SandboxedEnvironment

    from runtime.authoring.filters import FILTERS

    class NativeSandbox(NativeEnvironment, SandboxedEnvironment):
        """Values in place of text."""

    arguments: dict[str, Any] = {
        "undefined": options.undefined or jinja2.StrictUndefined,
        "loader": jinja2.FileSystemLoader([str(path) for path in search_folders(folder, options)]),
        "extensions": ["jinja2.ext.do"],
        "cache_size": 0,
        "auto_reload": False,
        **options.environment,
    }
    environment = NativeSandbox(**arguments) if options.native else SandboxedEnvironment(**arguments)
    environment.filters.update(FILTERS)
    environment.filters.update(options.filters)
    environment.globals.update(options.macros)
    return environment
