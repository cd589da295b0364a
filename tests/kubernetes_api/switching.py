"""How a switch is turned: where the server is, wherever that is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tests.kubernetes_api.server import Server

_Method = TypeVar("_Method", bound=Callable[..., Any])
DEFAULT = "default"
"""The namespace where none is said."""


class Turned:
    """Bodies of switches run in the server's event loop, and read :attr:`server`."""

    server: Server

    def _dispatch(self, method: Callable[..., Any], args: Iterable[Any], kwargs: dict[str, Any]) -> Any:
        return method(self, *args, **kwargs)


def switch(method: _Method) -> _Method:
    """Make it run where the server is. What it takes and gives survives JSON."""

    @functools.wraps(method)
    def call(self: Turned, *args: Any, **kwargs: Any) -> Any:
        return self._dispatch(method, args, kwargs)

    return call  # type: ignore[return-value]
