"""Which fields a pod has: read from the models of the client, so that it knows what the installed client knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

SCALARS = ("str", "int", "float", "bool", "object", "datetime")
"""``object``: a number or a name, such as a probe's port."""
_LIST = re.compile(r"list\[(.+)\]", re.IGNORECASE)
_DICT = re.compile(r"dict[(\[]str, (.+)[)\]]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Kind:
    """``shape`` is ``list``, ``dict``, ``model`` or a scalar; ``inner`` the kind of its items, or the model's name."""

    shape: str
    inner: Any = None


@dataclass(frozen=True, slots=True)
class Field:
    """:param attribute: its name in Python; :param name: its name in JSON."""

    attribute: str
    name: str
    kind: Kind


def model_class(model: str) -> Any:
    """The client's class. Costs the import of the client at the first call."""
    from kubernetes import client

    return getattr(client, model)


@cache
def fields_of(model: str) -> dict[str, Field]:
    """A model's fields by both of their names."""
    cls = model_class(model)
    found = [Field(name, cls.attribute_map[name], _kind(text)) for name, text in cls.openapi_types.items()]
    return {field.attribute: field for field in found} | {field.name: field for field in found}


def _kind(text: str) -> Kind:
    if match := _LIST.fullmatch(text):
        return Kind("list", _kind(match[1]))
    if match := _DICT.fullmatch(text):
        return Kind("dict", _kind(match[1]))
    return Kind(text) if text in SCALARS else Kind("model", text)
