"""The worker's event loop: one ``poll``, a handler per descriptor."""

from __future__ import annotations

import math
import select
from collections.abc import Callable

NEVER = math.inf
"""The moment of a timer that is not set."""


class Loop:
    """Not :mod:`selectors`: that costs more than the system call it wraps, several times per attempt."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Call ``handler`` while ``fd`` is readable or at its end."""
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def also_writable(self, fd: int, wanted: bool) -> None:
        """Call the handler when ``fd`` takes data again, too."""
        if fd in self._handlers:
            self._poll.modify(fd, select.POLLIN | select.POLLOUT if wanted else select.POLLIN)

    def unwatch(self, fd: int) -> None:
        """Forget ``fd``, if it is known. To be called before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def turn(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds (or ``NEVER``) and call the handlers of what is ready."""
        limit = None if timeout == NEVER else max(0, math.ceil(timeout * 1000))
        for fd, _ in self._poll.poll(limit):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler()
