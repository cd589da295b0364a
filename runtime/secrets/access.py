"""From user code to connections and variables: secrets backend, environment, then whoever serves this process.

A worker or parse process says who serves it (:func:`serve`) before user code runs; nothing is made until it asks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from runtime.secrets.backends import EnvironmentVariablesBackend, load_backend
from runtime.secrets.connection import Connection
from runtime.secrets.errors import NotServedError, SecretsAccessDenied, SecretsError
from runtime.secrets.masking import SHORTEST, masker

log = logging.getLogger("runtime.task")


class SecretsConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a process that runs user code is told. Travels by pipe only: ``backend_kwargs`` may hold a password."""

    backend: str = ""
    backend_kwargs: str = ""
    """JSON."""
    words: tuple[str, ...] = ()
    """See :class:`~runtime.secrets.masking.Masker`."""
    by_name: bool = True
    shortest: int = SHORTEST

    def __repr__(self) -> str:
        return f"SecretsConfig(backend={self.backend!r})"


class Source(Protocol):
    """The metadata database, through whatever this process has. Methods raise ``SecretsError`` where it says no."""

    def variable(self, key: str) -> str | None:
        """Its value; ``None`` where there is no such variable."""

    def connection(self, conn_id: str) -> str | None:
        """JSON of its fields; ``None`` where there is no such connection."""

    def set_variable(self, key: str, value: str, description: str | None) -> None:
        """Create or replace it."""

    def delete_variable(self, key: str) -> bool:
        """Whether there was one."""


class Supply(NamedTuple):
    """The two arguments of :func:`serve`."""

    source: Callable[[], Source] | None = None
    config: SecretsConfig = SecretsConfig()


NOBODY = Supply()


class _Access:
    """Of this process. ``backends`` is made when the first question comes."""

    def __init__(self) -> None:
        self.source: Callable[[], Source] | None = None
        self.config = SecretsConfig()
        self.backends: list[Any] | None = None


_access = _Access()


def serve(source: Callable[[], Source] | None, config: SecretsConfig) -> None:
    """From now on ``source()`` answers what backends do not; ``None``: nobody does, and asking is an error."""
    _access.source = source
    if config is not _access.config:
        _access.config, _access.backends = config, None


def find_variable(key: str) -> str | None:
    """The value, masked from now on where its key is sensitive; ``None`` where nobody knows it.

    Raises ``SecretsError``, :class:`SecretsAccessDenied`, and :class:`NotServedError` outside of a task.
    """
    source = required_source(f"variable {key!r}")
    value: str | None = _ask_backends("get_variable", key, f"variable {key!r}")
    if value is None:
        value = source().variable(key)
    if value is not None:
        masker.add(value, key)
    return value


def find_connection(conn_id: str) -> Connection | None:
    """The connection, its secrets masked from now on; ``None`` where nobody knows it. Raises as above."""
    source = required_source(f"connection {conn_id!r}")
    found: Connection | None = _ask_backends("get_connection", conn_id, f"connection {conn_id!r}")
    if found is None and (value := source().connection(conn_id)) is not None:
        found = Connection.from_json(value, conn_id)
    return found


def required_source(what: str) -> Callable[[], Source]:
    """Whoever serves this process. Raises :class:`NotServedError`."""
    if _access.source is None:
        raise NotServedError(f"{what} can be had only while a task runs, or a DAG file is parsed")
    return _access.source


def ask_each(backends: list[Any], method: str, key: str, what: str) -> Any:
    """The first answer that is not ``None``. A backend that fails is a warning without its words: they may be secret.

    Raises :class:`SecretsAccessDenied`.
    """
    for backend in backends:
        try:
            found = getattr(backend, method)(key)
        except SecretsAccessDenied:
            raise
        except Exception as error:
            told = str(error) if isinstance(error, SecretsError) else type(error).__name__
            log.warning("%s could not answer for %s (%s); asking the next", type(backend).__name__, what, told)
            continue
        if found is not None:
            return found
    return None


def _ask_backends(method: str, key: str, what: str) -> Any:
    if _access.backends is None:
        config = _access.config
        masker.configure(config.words, by_name=config.by_name, shortest=config.shortest)
        masker.add(config.backend_kwargs, "")
        own = load_backend(config.backend, config.backend_kwargs)
        _access.backends = [*([own] if own is not None else []), EnvironmentVariablesBackend()]
    return ask_each(_access.backends, method, key, what)
