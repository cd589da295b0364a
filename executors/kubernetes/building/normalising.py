"""Pods and parts of pods as people write them → the API's JSON: camelCase, no ``None``, all fields known and typed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date
from typing import Any

from executors.kubernetes.building.schema import Field, Kind, fields_of, model_class
from executors.kubernetes.errors import PodConfigError

MOST_VALUES = 50_000
"""Of one pod. A few lines of YAML can stand for billions of values; a real pod has hundreds."""
_QUANTITIES = ("limits", "requests", "overhead", "sizeLimit", "divisor")
"""Fields whose text may be a number, as in ``cpu: 2``: the API server takes both."""
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "datetime": "a date"}


def normalise(fragment: object, where: str, model: str = "V1Pod") -> dict[str, Any]:
    """A new dictionary. ``where`` goes before the path of a field in errors: a file, or a key of ``executor_config``.

    Keys may be camelCase or snake_case (``V1Pod.to_dict()``). Raises :class:`PodConfigError` that names the field.
    """
    converted: dict[str, Any] = _Walk(where).convert(Kind("model", model), fragment, "")
    return converted


def to_model(data: Mapping[str, Any], where: str, model: str = "V1Pod", path: str = "") -> Any:
    """What :func:`normalise` made, as an object of the client.

    Raises :class:`PodConfigError` that names the part in which a required field is missing.
    """
    values = {
        field.attribute: _object(field.kind, data[field.name], where, _below(path, field.name))
        for field in fields_of(model).values()
        if field.name in data
    }
    try:
        return model_class(model)(**values)
    except ValueError as error:
        raise PodConfigError(f"{where}: {path or model}: {_missing(error)}") from None


def _object(kind: Kind, value: Any, where: str, path: str) -> Any:
    if kind.shape == "model":
        return to_model(value, where, kind.inner, path)
    if kind.shape == "list":
        return [_object(kind.inner, item, where, f"{path}[{index}]") for index, item in enumerate(value)]
    if kind.shape == "dict":
        return {key: _object(kind.inner, item, where, _below(path, key)) for key, item in value.items()}
    return value


def _missing(error: ValueError) -> str:
    """Newer clients' models are Pydantic's; older ones say it in a line."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return " ".join(str(error).split())[:300]
    first = errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


class _Walk:
    """Through one value, along with the kinds that it should have."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._left = MOST_VALUES

    def convert(self, kind: Kind, value: object, path: str) -> Any:
        self._left -= 1
        if self._left < 0:
            raise PodConfigError(f"{self._where}: it has more than {MOST_VALUES} values")
        if kind.shape == "model":
            return self._model(kind.inner, value, path)
        if kind.shape == "list":
            return self._list(kind.inner, value, path)
        if kind.shape == "dict":
            return self._dict(kind.inner, value, path)
        return self._scalar(kind.shape, value, path)

    def _model(self, model: str, value: object, path: str) -> dict[str, Any]:
        known, result = fields_of(model), {}
        for key, item in self._mapping(value, path).items():
            field = known.get(key)
            if field is None:
                raise self._error(_below(path, key), f"{model} has no such field{_did_you_mean(key, known)}")
            if item is None:
                continue
            if field.name in result:
                raise self._error(_below(path, field.name), "it is given twice")
            result[field.name] = self._field(field, item, path)
        return result

    def _field(self, field: Field, value: object, path: str) -> Any:
        below = _below(path, field.name)
        if field.name in _QUANTITIES:
            value = _quantities(value)
        return self.convert(field.kind, value, below)

    def _list(self, inner: Kind, value: object, path: str) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise self._error(path, f"expected a list, not {_type(value)}")
        return [self.convert(inner, item, f"{path}[{index}]") for index, item in enumerate(value) if item is not None]

    def _dict(self, inner: Kind, value: object, path: str) -> dict[str, Any]:
        """Keys are the user's own, such as the names of labels."""
        items = self._mapping(value, path).items()
        return {key: self.convert(inner, item, _below(path, key)) for key, item in items if item is not None}

    def _mapping(self, value: object, path: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._error(path, f"expected a mapping, not {_type(value)}")
        for key in value:
            if not isinstance(key, str):
                raise self._error(path, f"one of its keys is {_type(key)}, not text; put it in quotes")
        return value

    def _scalar(self, shape: str, value: object, path: str) -> Any:
        number = isinstance(value, int) and not isinstance(value, bool)
        fits = {
            "str": isinstance(value, str),
            "int": number,
            "float": number or isinstance(value, float),
            "bool": isinstance(value, bool),
            "object": number or isinstance(value, str),
            "datetime": isinstance(value, str),
        }
        if fits[shape]:
            return value
        if shape == "datetime" and isinstance(value, date):
            return value.isoformat()
        hint = "; put it in quotes" if shape == "str" and not isinstance(value, Mapping | list) else ""
        raise self._error(path, f"expected {_WORDS.get(shape, 'text or a number')}, not {_type(value)}{hint}")

    def _error(self, path: str, what: str) -> PodConfigError:
        return PodConfigError(f"{self._where}: {path}: {what}" if path else f"{self._where}: {what}")


def _quantities(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _quantities(item) for key, item in value.items()}
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _below(path: str, name: str) -> str:
    shown = _key(name) if name.isidentifier() else f"[{_key(name)!r}]"
    return f"{path}.{shown}".removeprefix(".") if name.isidentifier() else f"{path}{shown}"


def _key(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:80]}…"


def _did_you_mean(name: str, known: Mapping[str, Field]) -> str:
    near = difflib.get_close_matches(name[:80], list(known), n=1)
    return f"; did you mean {known[near[0]].name}?" if near else ""


def _type(value: object) -> str:
    """In the words of YAML and JSON. The value itself may be a secret."""
    if value is None:
        return "nothing"
    for types, words in ((bool, "true or false"), (int | float, "a number"), (str, "text"), (Mapping, "a mapping")):
        if isinstance(value, types):
            return words
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
