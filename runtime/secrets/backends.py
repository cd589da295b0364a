"""Where connections, variables and options may come from, beside the database: Airflow's interface, and two of its own.

A backend of Airflow ports by changing its import. It is made once per process from ``[secrets] backend_kwargs``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from runtime.core.errors import ConfigError
from runtime.secrets import connection as connections
from runtime.secrets.connection import Connection

CONN_PREFIX = "HYBRID_CONN_"
VAR_PREFIX = "HYBRID_VAR_"


class BaseSecretsBackend:
    """Override what it holds. Each answer is ``None`` where it knows nothing, so that the next one is asked.

    Methods may block, at most as long as the task may wait; they are called in the process that wants the value. What
    they raise is a warning and the next backend is asked, except for
    :class:`~runtime.secrets.errors.SecretsAccessDenied`, which is final.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Keyword arguments are ``[secrets] backend_kwargs``."""

    @staticmethod
    def build_path(path_prefix: str, secret_id: str, sep: str = "/") -> str:
        """``prefix/id``."""
        return f"{path_prefix}{sep}{secret_id}"

    def get_conn_value(self, conn_id: str) -> str | None:
        """URI or JSON of a connection."""
        return None

    def deserialize_connection(self, conn_id: str, value: str) -> Connection:
        """Raises :class:`~runtime.secrets.errors.SecretsError`."""
        return connections.parse(value, conn_id)

    def get_connection(self, conn_id: str) -> Connection | None:
        """The connection; by default what :meth:`get_conn_value` says."""
        value = self.get_conn_value(conn_id)
        return self.deserialize_connection(conn_id, value) if value else None

    def get_variable(self, key: str) -> str | None:
        """The value of a variable."""
        return None

    def get_config(self, key: str) -> str | None:
        """The value of an option that is written ``option_secret = key``."""
        return None


class EnvironmentVariablesBackend(BaseSecretsBackend):
    """``HYBRID_CONN_ID`` (URI or JSON) and ``HYBRID_VAR_KEY``, id and key in upper case."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self._environ = environ

    def get_conn_value(self, conn_id: str) -> str | None:
        """See the base class; an empty variable is none."""
        return self._environ.get(CONN_PREFIX + conn_id.upper()) or None

    def get_variable(self, key: str) -> str | None:
        """See the base class."""
        return self._environ.get(VAR_PREFIX + key.upper())


class LocalFilesystemBackend(BaseSecretsBackend):
    """Files of this host: ``.json``, ``.yaml``, ``.yml`` or ``.env``, as ``import`` and ``export`` have them.

    :param variables_file_path: key → value.
    :param connections_file_path: id → URI, or object of fields.

    Read again for each question, so that a changed file counts at once.
    """

    def __init__(self, variables_file_path: str | None = None, connections_file_path: str | None = None) -> None:
        super().__init__()
        self._variables_file = variables_file_path
        self._connections_file = connections_file_path

    def get_connection(self, conn_id: str) -> Connection | None:
        """See the base class."""
        from runtime.secrets.files import read_connections

        return read_connections(self._connections_file).get(conn_id) if self._connections_file else None

    def get_variable(self, key: str) -> str | None:
        """See the base class."""
        from runtime.secrets.files import read_variables

        return read_variables(self._variables_file).get(key) if self._variables_file else None


_SHORT = {
    "airflow.secrets.local_filesystem.LocalFilesystemBackend": LocalFilesystemBackend,
    "LocalFilesystemBackend": LocalFilesystemBackend,
    "EnvironmentVariablesBackend": EnvironmentVariablesBackend,
}


def load_backend(path: str, kwargs: str) -> Any:
    """The backend of ``[secrets] backend`` and ``backend_kwargs``; ``None`` where none is configured.

    Raises :class:`ConfigError`; what the class itself raises is named by its type only, for it may quote the arguments.
    """
    if not path:
        return None
    where = f"[secrets] backend = {path}"
    arguments = parse_kwargs(kwargs)
    cls: Any = _SHORT.get(path) or _import(path, where)
    try:
        return cls(**arguments)
    except Exception as error:
        raise ConfigError(f"{where}: it cannot be made with its backend_kwargs ({type(error).__name__})") from None


def parse_kwargs(text: str) -> dict[str, Any]:
    """``[secrets] backend_kwargs``. Raises :class:`ConfigError`, which does not quote them."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError('[secrets] backend_kwargs must be a JSON object such as {"url": "https://vault"}')
    return found


def _import(path: str, where: str) -> Any:
    module, dot, name = path.rpartition(".")
    try:
        if not dot:
            raise ImportError("it must be module.Class")
        return getattr(import_module(module), name)
    except AttributeError:
        raise ConfigError(f"{where}: module {module} has no class {name}") from None
    except Exception as error:
        raise ConfigError(f"{where}: it cannot be imported ({type(error).__name__}: {error})") from None
