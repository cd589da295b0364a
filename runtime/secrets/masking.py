"""Replacing secrets by ``***``: by the name that a value has, and by the value itself wherever it turns up.

A process has one :data:`masker`. Until a secret is fetched it knows none and costs its callers one comparison.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

MASK = "***"
SENSITIVE_WORDS = (
    "access_token",
    "api_key",
    "apikey",
    "authorization",
    "connection_string",
    "keyfile_dict",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "proxies",
    "proxy",
    "secret",
    "service_account",
    "token",
)
"""A name that contains one of these, in any case, names a secret: Airflow's list."""
SHORTEST = 5
"""Characters; masking shorter values would hide half of a log, and so tell what they are."""
_DEEPEST = 20


class Masker:
    """What this process must not show.

    :param words: further parts of sensitive names, beside :data:`SENSITIVE_WORDS`.
    :param by_name: false: only values that were given without a name are secrets.
    :param shortest: characters that a value needs to be masked wherever it turns up.
    """

    def __init__(self, words: Iterable[str] = (), *, by_name: bool = True, shortest: int = SHORTEST) -> None:
        self._forms: set[str] = set()
        self.pattern: re.Pattern[str] | None = None
        """``None`` as long as there is nothing to hide."""
        self.on_change: Callable[[re.Pattern[str]], None] | None = None
        """Called with each new ``pattern``."""
        self.configure(words, by_name=by_name, shortest=shortest)

    def __repr__(self) -> str:
        return f"<Masker of {len(self._forms)} forms>"

    def configure(self, words: Iterable[str], *, by_name: bool = True, shortest: int = SHORTEST) -> None:
        """Set the rules; what was added stays."""
        found = (word.strip().lower() for word in words)
        self._words = (*SENSITIVE_WORDS, *(word for word in found if word)) if by_name else ()
        self._shortest = max(1, shortest)

    def is_sensitive(self, name: object) -> bool:
        """Whether a value of this name is a secret."""
        folded = name.strip().lower() if isinstance(name, str) else ""
        return bool(folded) and any(word in folded for word in self._words)

    def add(self, value: Any, name: str | None = None) -> None:
        """Hide ``value`` from now on. With a ``name`` only if that is a sensitive one; of mappings those items that
        have such a name, or all where ``name`` itself is sensitive. Empty and short values are left alone.
        """
        forms = {form for text in self._secrets(value, name, 0) for form in _forms(text) if len(form) >= self._shortest}
        if forms <= self._forms:
            return
        self._forms |= forms
        # Longest first: a secret that begins with another one must go as a whole.
        self.pattern = re.compile("|".join(map(re.escape, sorted(self._forms, key=lambda form: (-len(form), form)))))
        if self.on_change is not None:
            self.on_change(self.pattern)

    def text(self, text: str) -> str:
        """``text`` without what was added."""
        return text if self.pattern is None else self.pattern.sub(MASK, text)

    def redact(self, value: Any, name: str | None = None) -> Any:
        """A copy fit to be shown: secrets by name and by value, in mappings, sequences and JSON texts of any depth."""
        return self._redact(value, name, 0)

    def held_back(self, text: str) -> int:
        """How many characters at the end of ``text`` may be the beginning of a secret that goes on."""
        if self.pattern is None:
            return 0
        longest = max(map(len, self._forms)) - 1
        whole = [match.span() for match in self.pattern.finditer(text)]
        for length in range(min(longest, len(text)), 0, -1):
            cut = len(text) - length
            # Never through a secret that is complete: neither part would be found.
            apart = not any(start < cut < end for start, end in whole)
            if apart and any(form.startswith(text[cut:]) for form in self._forms):
                return length
        return 0

    def _secrets(self, value: Any, name: str | None, depth: int) -> Iterator[str]:
        sensitive = name is None or self.is_sensitive(name)
        if isinstance(value, Mapping) and depth < _DEEPEST:
            for key, item in value.items():
                yield from self._secrets(item, None if sensitive and name is not None else str(key), depth + 1)
        elif isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
            for item in value:
                yield from self._secrets(item, name, depth + 1)
        elif isinstance(value, str) and (inner := _structure(value)) is not None and depth < _DEEPEST:
            if sensitive:
                yield value
            yield from self._secrets(inner, name if name is not None else "", depth + 1)
        elif sensitive and value is not None and not isinstance(value, bool):
            yield value if isinstance(value, str) else str(value)

    def _redact(self, value: Any, name: str | None, depth: int) -> Any:
        if self.is_sensitive(name):
            return _all_of(value, depth)
        if isinstance(value, str):
            return self._redact_text(value, depth)
        if depth > _DEEPEST:
            return value
        if isinstance(value, Mapping):
            return {key: self._redact(item, str(key), depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return self._redact_items(value, depth)
        return value

    def _redact_items(self, value: Any, depth: int) -> Any:
        names = getattr(value, "_fields", None)
        if names is None:
            return type(value)(self._redact(item, None, depth + 1) for item in value)
        return type(value)(*(self._redact(item, name, depth + 1) for name, item in zip(names, value, strict=True)))

    def _redact_text(self, text: str, depth: int) -> str:
        inner = _structure(text) if depth <= _DEEPEST else None
        if inner is not None:
            shown = self._redact(inner, None, depth + 1)
            if shown != inner:
                return self.text(json.dumps(shown, ensure_ascii=False))
        return self.text(text)


masker = Masker()
"""Of this process."""


def mask_secret(secret: Any, name: str | None = None) -> None:
    """Hide a value from logs and errors of this process from now on, as Airflow's function of this name."""
    masker.add(secret, name)


def redact(value: Any, name: str | None = None) -> Any:
    """See :meth:`Masker.redact`; with what this process has fetched."""
    return masker.redact(value, name)


def _all_of(value: Any, depth: int) -> Any:
    """The shape of ``value`` and nothing else."""
    if isinstance(value, Mapping) and depth <= _DEEPEST:
        return {key: _all_of(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields") and depth <= _DEEPEST:
        return type(value)(_all_of(item, depth + 1) for item in value)
    return value if value is None or value == "" or isinstance(value, bool) else MASK


def _structure(text: str) -> Any:
    """What a JSON object or list in a text says; ``None`` for any other text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _forms(secret: str) -> Iterator[str]:
    """The ways in which a secret is written: as it is, in a URL, in JSON, in ``repr``; and each line of several."""
    from urllib.parse import quote, quote_plus

    for text in (secret, *(secret.splitlines() if "\n" in secret else ())):
        text = text.strip()  # noqa: PLW2901  spaces around it are lost first
        yield text
        yield quote(text, safe="", errors="backslashreplace")
        yield quote(text, errors="backslashreplace")
        yield quote_plus(text, errors="backslashreplace")
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield repr(text)[1:-1]
