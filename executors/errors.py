"""What can go wrong with the list of executors or with one executor. Every message is one line for a person."""


class ExecutorError(Exception):
    """Base of all errors of this package."""


class TaskServiceAwayError(ExecutorError):
    """The host's task service cannot answer now; nothing was changed, and the same requests may be sent again."""


class ExecutorConfigError(ExecutorError):
    """``[core] executor``, or an option of an executor's section, is wrong. Says what, where and what to do."""


class UnknownExecutorError(ExecutorError):
    """A name that matches no configured executor, or that several match. Lists the choices."""


class ExecutorLoadError(ExecutorConfigError):
    """An executor's module or class cannot be imported, or its constructor raised."""
