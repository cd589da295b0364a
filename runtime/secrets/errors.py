"""What can be wrong with secrets. No message holds a value."""

from __future__ import annotations

from runtime.core.errors import HybridError


class SecretsError(HybridError):
    """A connection, variable, key or backend that cannot be used."""


class ConnectionNotFound(SecretsError):  # noqa: N818  Airflow: AirflowNotFoundException
    """Nobody knows a connection of this id."""


class VariableNotFound(SecretsError, KeyError):  # noqa: N818  Airflow: KeyError
    """Nobody knows a variable of this key."""

    __str__ = Exception.__str__


class SecretsAccessDenied(HybridError):  # noqa: N818  Airflow's kind of name
    """For backends: this secret is not for this caller. Nobody else is asked for it."""


class NotServedError(BaseException):
    """Here no task runs. No ``Exception``: a worker that looks at a DAG file before it has an attempt must not go on
    with the default that the file's code would fall back to.
    """
