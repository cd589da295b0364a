"""Errors that reach people. ``str(error)`` is one line: what, where, what to do."""


class HybridError(Exception):
    """Base of everything that a command prints as one line, with exit code 1."""


class ConfigError(HybridError):
    """An option has a value that cannot be used."""


class NotFoundError(HybridError):
    """A DAG, run or task that does not exist; the message suggests near names."""


class DatabaseError(HybridError):
    """The metadata DB is missing, not migrated, too new, or not to be reached."""
