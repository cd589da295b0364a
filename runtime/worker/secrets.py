"""Connections and variables of the metadata DB, for the task that runs: asked of the task service, as its attempt."""

from __future__ import annotations

from runtime.core.messages import (
    ConnectionGet,
    Done,
    Secret,
    VariableDelete,
    VariableGet,
    VariableSet,
    decode_reply,
)
from runtime.secrets.errors import SecretsError
from runtime.worker.task_instance import Ask


class ServedSecrets:
    """A :class:`~runtime.secrets.access.Source`. Its methods raise ``SecretsError``, ``ConnectionError``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def variable(self, key: str) -> str | None:
        """See :class:`~runtime.secrets.access.Source`."""
        return self._value(VariableGet("", "", key), f"variable {key!r}")

    def connection(self, conn_id: str) -> str | None:
        """See :class:`~runtime.secrets.access.Source`."""
        return self._value(ConnectionGet("", "", conn_id), f"connection {conn_id!r}")

    def set_variable(self, key: str, value: str, description: str | None) -> None:
        """See :class:`~runtime.secrets.access.Source`."""
        self._done(VariableSet("", "", key, value, description), f"variable {key!r} was not set")

    def delete_variable(self, key: str) -> bool:
        """See :class:`~runtime.secrets.access.Source`."""
        return self._value(VariableDelete("", "", key), f"variable {key!r}") is not None

    def _value(self, request: VariableGet | ConnectionGet | VariableDelete, what: str) -> str | None:
        data = self._ask(request)
        reply = decode_reply(data) if data else None
        if not isinstance(reply, Secret) or reply.reason:
            raise SecretsError(f"{what} cannot be had: {getattr(reply, 'reason', '') or 'the task service failed'}")
        return reply.value

    def _done(self, request: VariableSet, said: str) -> None:
        data = self._ask(request)
        reply = decode_reply(data) if data else None
        if not isinstance(reply, Done) or not reply.accepted:
            raise SecretsError(f"{said}: {getattr(reply, 'reason', '') or 'the task service failed'}")
