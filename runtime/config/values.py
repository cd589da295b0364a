"""Text to typed values. Every function here raises ``ValueError`` whose message completes "expected …"."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_POSTGRES = re.compile(r"^(postgres|postgresql|postgresql\+psycopg2|postgresql\+psycopg)://")
_PASSWORD = re.compile(r"(?P<start>://[^/@\s]*?:)\S*(?=@)|(?P<option>[?&]\w*password=)[^&\s]*")
_OPTIONS = re.compile(r"\?(?=\w+=)")
_LOGIN = re.compile(r"^[^:/]*(:[^@]*)?@")
"""As SQLAlchemy reads it: a password may hold all but an "@"."""
_SECRET_WORD = re.compile(r"password|passwd|secret|token|api_?key|private_?key|fernet|basic_auth", re.IGNORECASE)


def boolean(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("True or False")
    return word in _TRUE


def integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("a number") from None
    if not math.isfinite(value):
        raise ValueError("a finite number")
    return value


def optional_number(text: str) -> float | None:
    """Empty is ``None``; else a number above 0."""
    if text == "":
        return None
    value = number(text)
    if value <= 0:
        raise ValueError("a number above 0, or nothing for no limit")
    return value


def folder(text: str) -> Path:
    """An absolute path; a relative one would depend on where a command is started."""
    path = Path(os.path.expanduser(os.path.expandvars(text)))
    if not path.is_absolute():
        raise ValueError("an absolute path (`~` and `$HYBRID_HOME` are expanded)")
    return path


def time_zone(text: str) -> str:
    """The name as :class:`zoneinfo.ZoneInfo` takes it; ``utc`` in any case is ``UTC``."""
    if text.lower() == "utc":
        return "UTC"
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("a time zone such as utc or Europe/Amsterdam") from None
    return text


def log_level(text: str) -> str:
    level = text.upper()
    if level not in _LEVELS:
        raise ValueError("one of " + ", ".join(_LEVELS))
    return level


def port(text: str) -> int:
    value = integer(text)
    if not 0 <= value <= 65_535:
        raise ValueError("a port, 0 to 65535")
    return value


def task_api_url(text: str) -> str:
    """Without a slash at its end; Airflow's ``…/execution/`` gets the version that it lacks. Empty stays empty."""
    url = text.rstrip("/")
    if url and not re.match(r"https?://[^/\s]+", url):
        raise ValueError("http://host:port/execution/v1")
    return f"{url}/v1" if url.endswith("/execution") else url


def database_url(text: str) -> str:
    """SQLite with an absolute path, or PostgreSQL by psycopg 3 however the URL spells the driver."""
    if match := _POSTGRES.match(text):
        return "postgresql+psycopg://" + text[match.end() :]
    if not text.startswith("sqlite:"):
        raise ValueError("sqlite:////absolute/path or postgresql://user:password@host/name")
    path = os.path.expanduser(os.path.expandvars(text.removeprefix("sqlite://").removeprefix("/")))
    if not path.startswith("/"):
        raise ValueError("sqlite:////absolute/path, for several processes open it, each from a folder of its own")
    return "sqlite:///" + path


PARSERS: dict[str, Any] = {
    "str": str,
    "int": integer,
    "float": number,
    "bool": boolean,
    "Path": folder,
    "float | None": optional_number,
}
"""By the annotation of an option."""


def after_login(url: str) -> tuple[str, str]:
    """Of a database's URL what follows user and password: ``host:port/name``, and the options."""
    rest = url.partition("://")[2]
    where, *options = _OPTIONS.split(_LOGIN.sub("", rest, count=1), maxsplit=1)
    # To the last "@": a password may hold one that nobody has written as %40.
    return where.rpartition("@")[2], "".join(options)


def masked(key: str, value: str, *, sensitive: bool = False) -> str:
    """``value`` fit to be shown: passwords inside URLs become ``***``; so does all of a value named like a secret."""
    if _SECRET_WORD.search(key):
        return "***" if value else ""
    shown = _PASSWORD.sub(lambda match: (match["start"] or match["option"]) + "***", value)
    if sensitive and shown == value and "://" not in value:
        return "***" if value else ""
    return shown
