"""XCom values: JSON, and nothing that JSON would change on the way."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

LARGEST = 32 * 2**20
"""Bytes of one value: a message to the next task, not a data store."""

_encoder = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
"""Not msgspec's: that one would quietly turn sets, bytes and dates into something else."""
_PLAIN = (str, int, float, bool, type(None))


class XComValueError(TypeError):
    """A value that JSON cannot hold; the message names the task, the type and the place."""


def encode_value(value: Any, said: str) -> msgspec.Raw:
    """``value`` as JSON; ``said`` begins the error: "task x returned". Raises :class:`XComValueError`."""
    try:
        data = _encoder.encode(value).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise XComValueError(f"{said} {_complaint(value, error)}; XCom takes JSON values") from None
    if len(data) > LARGEST:
        raise XComValueError(
            f"{said} {len(data)} bytes of JSON; XCom takes at most {LARGEST}: store it, pass its address"
        )
    return msgspec.Raw(data)


def decode_value(data: msgspec.Raw | bytes) -> Any:
    """The value of its JSON."""
    return json.loads(bytes(data))


def _complaint(value: Any, error: Exception) -> str:
    found = None if isinstance(error, RecursionError) or "Circular" in str(error) else _offender(value, "")
    if found is None:
        return f"a value that {error}" if isinstance(error, RecursionError) else f"{_a(value)} ({error})"
    bad, place = found
    return f"{_a(bad)} at {place}" if place else _a(bad)


def _offender(value: Any, place: str) -> tuple[Any, str] | None:
    """The first thing in ``value`` that is no JSON, and where it is; ``None`` where all of it is."""
    if isinstance(value, _PLAIN):
        return (value, place) if isinstance(value, float) and not math.isfinite(value) else None
    if isinstance(value, dict):
        bad_key = next((key for key in value if not isinstance(key, _PLAIN)), None)
        if bad_key is not None:
            return bad_key, f"a key of {place}" if place else "one of its keys"
        items = [(item, f"{place}[{key!r}]") for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(item, f"{place}[{index}]") for index, item in enumerate(value)]
    else:
        return value, place
    return next((found for item, where in items if (found := _offender(item, where))), None)


def _a(value: Any) -> str:
    if isinstance(value, float):
        return f"the float {value}"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"
