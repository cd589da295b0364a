"""Params of runs: the author's default values, what a run's ``conf`` says instead, and the JSON schemas of both.

Values are checked by the ``jsonschema`` library, as in Airflow, so that a schema means the same here. It is pure Python
but for one small wheel, and imported only where a DAG has a schema at all: commands and tasks of others never pay its
60 ms.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runtime.core.errors import HybridError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_LONGEST = 80


class ParamError(HybridError):
    """A value that its param's schema does not allow, or a schema that is none; names param, value and rule."""


def check_conf(
    where: str, params: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Any]], conf: Mapping[str, Any]
) -> None:
    """Check what a run of these params with this ``conf`` would see. Raises :class:`ParamError`.

    :param where: begins the error: "DAG x".
    :param params: default values; a param that has a schema and no value here must be given in ``conf``.
    """
    for name, schema in schemas.items():
        if name in conf:
            check_value(f"{where}: param {name!r}", conf[name], schema)
        elif name not in params:
            raise ParamError(f"{where}: param {name!r} has no value; give it in the run's conf, {{{name!r}: …}}")


def check_value(where: str, value: Any, schema: Mapping[str, Any]) -> None:
    """Raise :class:`ParamError` unless the schema allows the value."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator(schema).iter_errors(value))
    if error is not None:
        place = "".join(f"[{step!r}]" for step in error.absolute_path)
        said = f"{place and f'at {place}, '}{_short_text(error.message)} (rule {_rule(error)})"
        raise ParamError(f"{where} = {_short(value)}: {said}")


def check_schema(where: str, schema: Mapping[str, Any]) -> None:
    """Raise :class:`ParamError` unless ``schema`` is a JSON schema."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "".join(f"[{step!r}]" for step in error.absolute_path)
        raise ParamError(f"{where}: its schema{place} is no JSON schema: {_short_text(error.message)}") from None


def _validator(schema: Mapping[str, Any]) -> Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema, format_checker=_formats())


@functools.cache
def _formats() -> Any:
    """The library's checks, and ``date-time``, for which it would need one more package."""
    from jsonschema import FormatChecker

    checker = FormatChecker()

    checker.checks("date-time", ValueError)(_is_date_time)
    return checker


def _is_date_time(value: object) -> bool:
    """Raises ``ValueError``."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def _rule(error: Any) -> str:
    return f"{error.validator}: {_short(error.validator_value)}"


def _short(value: Any) -> str:
    return _short_text(repr(value))


def _short_text(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
