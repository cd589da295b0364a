"""Asking another host's log server for one attempt log."""

from __future__ import annotations

import http.client
import json
from urllib.parse import quote

from runtime.logserver.server import PREFIX

TIMEOUT = 5.0
"""Seconds for the connection, and between two pieces of the answer."""


class LogUnavailableError(Exception):
    """Why there is no such log to be had, in one line that names the host."""


def fetch_log(host: str, port: int, path: str, token: str, *, offset: int = 0, timeout: float = TIMEOUT) -> bytes:
    """The log from ``offset`` on. Raises :class:`LogUnavailableError`.

    :param path: as :func:`runtime.log.attempt_logs.attempt_path` makes it; the token is for it.
    """
    where = f"{host}:{port}"
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        target = PREFIX + quote(path) + (f"?offset={offset}" if offset else "")
        connection.request("GET", target, headers={"Authorization": f"Bearer {token}", "Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except http.client.IncompleteRead as error:
        raise LogUnavailableError(f"the log server on {where} broke off after {len(error.partial)} bytes") from error
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise LogUnavailableError(f"no log server answers on {where}: {_told(error)}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise LogUnavailableError(f"the log server on {where} says {response.status}: {_detail(body)}")
    return body


def _told(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error) or type(error).__name__


def _detail(body: bytes) -> str:
    """The reason in an answer of our own server; whatever else listens there is shown in a few words."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body[:200].decode(errors="replace").split())[:100] or "nothing"
