"""Where the task API is."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from runtime.core.errors import ConfigError


class Endpoint(NamedTuple):
    """The parts of ``http[s]://host:port/execution/v1``."""

    encrypted: bool
    host: str
    port: int | None
    """``None``: the scheme's own."""
    path: str


def parse_endpoint(url: str) -> Endpoint:
    """Raises :class:`ConfigError` for a URL without a host, or with a port that cannot be one."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"the task API's URL names no host and port: {url.rpartition('@')[2]}")
    return Endpoint(parts.scheme == "https", host, port, parts.path.rstrip("/"))
