"""What goes wrong between a client and the API server, by request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.kubernetes_api.http import Hangup
from tests.kubernetes_api.statuses import ApiError

ANY = "*"


@dataclass(slots=True)
class Fault:
    """Meets the next ``times`` calls of a kind, or all; ``after``: the call is carried out, only its answer is lost."""

    verb: str = ANY
    resource: str = ANY
    times: int | None = None
    delay: float = 0.0
    """Seconds before anything is done."""
    drop: bool = False
    error: ApiError | None = None
    after: bool = False
    skip: int = 0
    """Calls that it lets pass before it begins."""

    def meets(self, verb: str, resource: str) -> bool:
        """And if so, counts."""
        if self.verb not in (ANY, verb) or self.resource not in (ANY, resource) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def strike(self) -> None:
        if self.drop:
            raise Hangup
        if self.error is not None:
            raise self.error


@dataclass(slots=True)
class Faults:
    """Of the requests, and of the watches that run."""

    requests: list[Fault] = field(default_factory=list)
    mute_watches: bool = False
    """New watches are half-open: they take the request, and never say anything."""
    withheld_events: int = 0
    """So many of the next changes reach no watch."""
    duplicate_events: bool = False
    gone_as_http: bool = False
    """A watch from a revision that is too old is refused with HTTP 410, as it once was, instead of an ERROR event."""

    def meeting(self, verb: str, resource: str) -> list[Fault]:
        """Those that this call meets."""
        return [fault for fault in self.requests if fault.meets(verb, resource)]

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]


async def strike(faults: Iterable[Fault], *, after: bool) -> None:
    """Wait, hang up or raise."""
    for fault in faults:
        if fault.delay and not after:
            await asyncio.sleep(fault.delay)
        if fault.after is after:
            fault.strike()
