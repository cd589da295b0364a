"""What DAG files and templates use: ``Variable``, ``BaseHook``, ``{{ var.value.x }}``, ``{{ conn.x }}``."""

from __future__ import annotations

import json
from typing import Any

from runtime.secrets.access import find_variable, required_source
from runtime.secrets.connection import Connection
from runtime.secrets.errors import ConnectionNotFound, SecretsError, VariableNotFound
from runtime.secrets.files import variable_text
from runtime.secrets.masking import mask_secret

__all__ = ["CONN", "VAR", "BaseHook", "Connection", "Variable", "check_key", "mask_secret"]
_NOTHING: Any = object()
_LONGEST_KEY = 250


class Variable:
    """Airflow's ``Variable``: looked up in the secrets backend, the environment, the database; written to the last."""

    @staticmethod
    def get(key: str, default: Any = _NOTHING, deserialize_json: bool = False, *, default_var: Any = _NOTHING) -> Any:
        """Its value: a text, or what its JSON says with ``deserialize_json``.

        ``default`` (2.x: ``default_var``) stands for one that does not exist. Raises
        :class:`~runtime.secrets.errors.VariableNotFound`, a ``KeyError``; :class:`SecretsError` for what is no JSON.
        """
        check_key(key)
        value = find_variable(key)
        if value is None:
            fallback = default if default is not _NOTHING else default_var
            if fallback is _NOTHING:
                raise VariableNotFound(
                    f"there is no variable {key!r}; set it with `hybrid variables set`, or give a default"
                )
            return fallback
        return _from_json(key, value) if deserialize_json else value

    @staticmethod
    def set(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        """Create or replace it in the database. Raises :class:`SecretsError`."""
        check_key(key)
        text = json.dumps(value, indent=2) if serialize_json else variable_text(value, f"variable {key!r}")
        source = required_source(f"variable {key!r}")()
        mask_secret(text, key)
        source.set_variable(key, text, description)

    @staticmethod
    def setdefault(key: str, default: Any, description: str | None = None, deserialize_json: bool = False) -> Any:
        """Its value; where there is none, ``default`` is set and returned."""
        found = Variable.get(key, default=None, deserialize_json=deserialize_json)
        if found is not None:
            return found
        if default is None:
            raise ValueError("setdefault needs a default that is not None")
        Variable.set(key, default, description, serialize_json=deserialize_json)
        return default

    @staticmethod
    def delete(key: str) -> int:
        """Delete it from the database; how many there were, 0 or 1. Raises :class:`SecretsError`."""
        check_key(key)
        return int(required_source(f"variable {key!r}")().delete_variable(key))


class BaseHook:
    """The part of Airflow's that needs no provider."""

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """See :meth:`Connection.get`."""
        return Connection.get(conn_id)


class _Values:
    """``var.value``, ``var.json``: attributes are variables."""

    def __init__(self, deserialize_json: bool) -> None:
        self._json = deserialize_json

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        return Variable.get(key, deserialize_json=self._json)

    def get(self, key: str, default: Any = _NOTHING, *, default_var: Any = _NOTHING) -> Any:
        """With a default."""
        return Variable.get(key, default, self._json, default_var=default_var)


class VariableAccessor:
    """``var`` in templates and contexts."""

    def __init__(self) -> None:
        self.value = _Values(False)
        self.json = _Values(True)


class ConnectionAccessor:
    """``conn`` in templates and contexts: attributes are connections."""

    def __getattr__(self, conn_id: str) -> Connection:
        if conn_id.startswith("_"):
            raise AttributeError(conn_id)
        return Connection.get(conn_id)

    def get(self, conn_id: str, default_conn: Any = None) -> Any:
        """``default_conn`` where there is none of this id."""
        try:
            return Connection.get(conn_id)
        except ConnectionNotFound:
            return default_conn


VAR = VariableAccessor()
CONN = ConnectionAccessor()


def check_key(key: Any) -> None:
    """Raise :class:`SecretsError` for what is no key of a variable."""
    if not isinstance(key, str) or not key or len(key) > _LONGEST_KEY or "\0" in key:
        raise SecretsError(f"a variable's key is a text of 1 to {_LONGEST_KEY} characters, not {str(key)[:60]!r}")


def _from_json(key: str, value: str) -> Any:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        raise SecretsError(f"variable {key!r} is no JSON, and is to be read as such") from None
    mask_secret(found, key)
    return found
