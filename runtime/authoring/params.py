"""``Param``: a parameter of a DAG or task with a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.authoring import arguments as check
from runtime.authoring.exceptions import ArgumentError
from runtime.authoring.xcom import DagParam
from runtime.core.errors import HybridError
from runtime.core.params import check_schema, check_value

_NONE: Any = object()


class Param:
    """A default value, words for people, and as keyword arguments the rules of a JSON schema.

    ::

        DAG(..., params={"depth": Param(3, type="integer", minimum=1), "table": Param(type="string")})

    Without a default, or with ``None`` where the schema does not allow it, each run has to bring a value in its
    ``conf``, and the DAG cannot have a schedule.

    :param schema: rules as a dictionary, in place of keyword arguments or besides them.
    """

    def __init__(
        self,
        default: Any = _NONE,
        description: str | None = None,
        schema: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.description = description
        self.schema: dict[str, Any] = {**(schema or {}), **kwargs}
        self._default = default

    @property
    def value(self) -> Any:
        """The default. Raises :class:`ArgumentError` where there is none."""
        if self._default is _NONE:
            raise ArgumentError("the Param has no default value")
        return self._default

    @property
    def has_value(self) -> bool:
        return self._default is not _NONE

    def __repr__(self) -> str:
        default = "" if self._default is _NONE else f"{self._default!r}, "
        return f"Param({default}{self.schema})"


Plain = tuple[dict[str, Any], dict[str, dict[str, Any]]]
"""Default values, and JSON schemas of those that have one, by name."""


def plain_params(where: str, params: object, *, scheduled: bool = False) -> Plain:
    """``params=`` as plain JSON. Raises :class:`ArgumentError` for what is no JSON, a bad schema, and a bad default.

    :param scheduled: runs come by themselves, so that each param must have a value.
    """
    values: dict[str, Any] = {}
    schemas: dict[str, dict[str, Any]] = {}
    for name, given in check.mapping(where, "params", params).items():
        if not isinstance(given, Param):
            values[name] = check.plain_json(f"{where}: params[{name!r}]", given)
            continue
        schema = _schema(f"{where}: param {name!r}", given)
        if schema:
            schemas[name] = schema
        if _is_required(given, schema):
            if scheduled:
                raise ArgumentError(
                    f"{where}: param {name!r} has no value that its schema allows, and the DAG has a schedule; "
                    "give it a default, or let the schema allow null"
                )
            continue
        values[name] = check.plain_json(f"{where}: param {name!r}", given.value)
        _allowed(f"{where}: param {name!r}", values[name], schema)
    return values, schemas


def param_reference(name: str, value: Any) -> DagParam:
    """What stands for a parameter of a ``@dag`` function inside its body."""
    if not isinstance(value, Param):
        return DagParam(name, value)
    return DagParam(name, value.value) if value.has_value else DagParam(name)


def _schema(where: str, param: Param) -> dict[str, Any]:
    schema: dict[str, Any] = check.plain_json(f"{where}: schema", param.schema)
    if param.description is not None:
        schema = {"description": check.text(where, "description", param.description), **schema}
    if schema:
        try:
            check_schema(where, schema)
        except HybridError as error:
            raise ArgumentError(str(error)) from None
    return schema or ({} if param.has_value else {"description": ""})


def _is_required(param: Param, schema: Mapping[str, Any]) -> bool:
    """Whether each run has to bring it, in Airflow's words: no default, or ``None`` where that is not allowed."""
    if not param.has_value:
        return True
    if param.value is not None:
        return False
    try:
        check_value("", None, schema)
    except HybridError:
        return True
    return False


def _allowed(where: str, value: Any, schema: Mapping[str, Any]) -> None:
    if not schema:
        return
    try:
        check_value(where, value, schema)
    except HybridError as error:
        raise ArgumentError(str(error)) from None
