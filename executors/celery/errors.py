"""What Celery, kombu, redis and amqp raise, in our words: one line without a password. Caught nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from executors.celery.endpoints import Endpoint
from executors.errors import ExecutorError

_LONGEST = 200


class BrokerError(ExecutorError):
    """The broker, or the result backend, cannot be reached or refuses. Whatever was asked may have happened or not."""


class BrokerTimeoutError(BrokerError):
    """It did not answer in time."""


@contextmanager
def translated(what: str, endpoint: Endpoint) -> Iterator[None]:
    """Everything that is raised inside becomes a :class:`BrokerError` that says ``what`` failed at ``endpoint``.

    The cause stays chained where no part of its chain holds a secret.
    """
    try:
        yield
    except ExecutorError:
        raise
    except Exception as error:
        made = _translate(error, what, endpoint)
        raise made from (error if _is_clean(error, endpoint) else None)


def _translate(error: Exception, what: str, endpoint: Endpoint) -> BrokerError:
    root = _root(error)
    text = endpoint.redact(" ".join(str(root).split()))[:_LONGEST]
    where = f"{what}: {endpoint.shown}"
    if _is_timeout(root):
        return BrokerTimeoutError(f"{where} did not answer in time")
    if _is_refusal(root):
        return BrokerError(f"{where} refuses the user name or password: {text}")
    if isinstance(root, ImportError):
        return BrokerError(f"{where} needs the module {root.name}, which is not installed")
    return BrokerError(f"{where} {'cannot be reached' if _is_unreachable(root) else 'failed'}: {_told(root, text)}")


def _root(error: Exception) -> BaseException:
    """Behind kombu's own wrappers, which say less."""
    from kombu.exceptions import KombuError

    root: BaseException = error
    while isinstance(root, KombuError) and root.__cause__ is not None:
        root = root.__cause__
    return root


def _is_timeout(error: BaseException) -> bool:
    from redis import exceptions

    return isinstance(error, (TimeoutError, exceptions.TimeoutError))


def _is_refusal(error: BaseException) -> bool:
    from amqp.exceptions import AccessRefused
    from redis import exceptions

    kinds = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
    return isinstance(error, (*kinds, AccessRefused)) or "NOAUTH" in str(error)


def _is_unreachable(error: BaseException) -> bool:
    from redis import exceptions

    return isinstance(error, (OSError, exceptions.ConnectionError))


def _told(error: BaseException, text: str) -> str:
    return text if text and _is_unreachable(error) else f"{type(error).__name__} {text}".strip()


def _is_clean(error: BaseException, endpoint: Endpoint) -> bool:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if endpoint.redact(text := f"{one} {one.args!r}") != text:
            return False
        waiting += [one.__cause__, one.__context__]
    return True
