"""Connections and variables on behalf of an attempt: decrypted here, for a worker has no key."""

from __future__ import annotations

import json

from sqlalchemy import Connection

from runtime.core.errors import HybridError
from runtime.core.messages import (
    ConnectionGet,
    Done,
    Reply,
    Secret,
    SecretRequest,
    VariableDelete,
    VariableGet,
    VariableSet,
)
from runtime.db.connections import find_connection
from runtime.db.variables import delete_variable, find_variable, save_variable
from runtime.secrets.keyring import Keyring

_LONGEST_NAME = 250


def answer(connection: Connection, keyring: Keyring | None, request: SecretRequest) -> Reply:
    """The reply; what cannot be had is told in its ``reason``."""
    try:
        return _answer(connection, _required(keyring), request)
    except HybridError as error:
        return refusal(request, str(error))


def refusal(request: SecretRequest, reason: str) -> Reply:
    """The "no" of the type that answers ``request``."""
    return Done(False, reason) if isinstance(request, VariableSet) else Secret(reason=reason)


def _answer(connection: Connection, keyring: Keyring, request: SecretRequest) -> Reply:
    if isinstance(request, VariableGet):
        return Secret(find_variable(connection, keyring, request.key))
    if isinstance(request, ConnectionGet):
        found = find_connection(connection, keyring, request.conn_id)
        return Secret(None if found is None else json.dumps(found.to_dict()))
    if not 0 < len(request.key) <= _LONGEST_NAME or "\0" in request.key:
        raise HybridError(f"a variable's key has 1 to {_LONGEST_NAME} characters")
    if isinstance(request, VariableDelete):
        return Secret("" if delete_variable(connection, request.key) else None)
    save_variable(connection, keyring, request.key, request.value, request.description)
    return Done(True)


def _required(keyring: Keyring | None) -> Keyring:
    if keyring is None:
        raise HybridError("this service has no key to connections and variables")
    return keyring
