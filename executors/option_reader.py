"""Reads the options of an executor's section: text to typed values, each error a line that names the option."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from executors.errors import ExecutorConfigError

_TRUE, _FALSE = ("true", "t", "1", "yes", "on"), ("false", "f", "0", "no", "off")


class OptionReader:
    """Every method raises :class:`ExecutorConfigError`. An option that is empty is as good as none.

    :param options: ``context.options``.
    :param name: of the executor, for the errors.
    """

    def __init__(self, options: Mapping[str, str], name: str) -> None:
        self._options = options
        self._name = name

    def text(self, option: str, default: str) -> str:
        return self._options.get(option, "").strip() or default

    def whole(self, option: str, default: int, least: int = 0) -> int:
        raw = self.text(option, str(default))
        try:
            value = int(raw)
        except ValueError:
            raise self.error(option, raw, "is not a whole number") from None
        if value < least:
            raise self.error(option, raw, f"is below {least}")
        return value

    def seconds(self, option: str, default: float, least: float) -> float:
        raw = self.text(option, str(default))
        try:
            value = float(raw)
        except ValueError:
            raise self.error(option, raw, "is no number of seconds") from None
        if not least <= value < float("inf"):
            raise self.error(option, raw, f"is not between {least:g} s and for ever")
        return value

    def flag(self, option: str, default: bool) -> bool:
        raw = self.text(option, str(default)).lower()
        if raw not in _TRUE + _FALSE:
            raise self.error(option, raw, "is neither True nor False")
        return raw in _TRUE

    def names(self, option: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Separated by commas. Here an option that is there and empty means none."""
        if option not in self._options:
            return default
        return tuple(part.strip() for part in self._options[option].split(",") if part.strip())

    def mapping(self, option: str) -> dict[str, Any]:
        """A JSON object; empty where there is none."""
        raw = self.text(option, "{}")
        try:
            value = json.loads(raw)
        except ValueError:
            raise self.error(option, raw, "is no JSON") from None
        if not isinstance(value, dict):
            raise self.error(option, raw, "is no JSON object")
        return value

    def error(self, option: str, raw: str, what: str) -> ExecutorConfigError:
        return ExecutorConfigError(f"{self._name}: option {option} = {raw!r} {what}")
