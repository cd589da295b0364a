"""The one seam between a supervisor and the task service: requests go out, each answer comes back to its asker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from executors.local.channel import Channel, Kind
from runtime.core.messages import (
    Done,
    Finish,
    Finished,
    Heartbeat,
    HeartbeatReply,
    Reply,
    Request,
    RunStateGet,
    Secret,
    Start,
    Started,
    TriggeredRun,
    TriggerRun,
    VariableSet,
    XComPull,
    XComPush,
    XComValues,
    decode_reply,
    encode,
)

Answer: TypeAlias = Callable[[Reply | None], None]
"""Takes the reply; ``None`` where the service failed to answer, which is never a "no"."""
RawAnswer: TypeAlias = Callable[[bytes], None]


class Reporter(Protocol):
    """How a supervisor speaks to the task service. Neither method blocks."""

    def send(self, request: Request, answer: Answer) -> None:
        """Start, heartbeat or finish. Raises ``ConnectionError`` where the transport is gone."""

    def relay(self, request: Request, answer: RawAnswer) -> None:
        """Pass on what user code asked; the reply stays encoded. Raises ``ConnectionError``."""


class PipeReporter:
    """Over the executor's socket. The service answers the requests of one worker in their order."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: deque[RawAnswer] = deque()

    def send(self, request: Request, answer: Answer) -> None:
        """See :meth:`Reporter.send`."""
        self.relay(request, lambda body: answer(_decode(body)))

    def relay(self, request: Request, answer: RawAnswer) -> None:
        """See :meth:`Reporter.relay`."""
        self._waiting.append(answer)
        self._channel.send(Kind.CALL, encode(request))

    def on_reply(self, body: bytes) -> None:
        """Hand a REPLY frame to the oldest asker. Raises ``ConnectionError`` where nobody asked."""
        if not self._waiting:
            raise ConnectionError("a REPLY to no CALL")
        self._waiting.popleft()(body)


def refusal(request: Request, reason: str) -> Reply:
    """The "no" of the type that answers ``request``."""
    return next(make(reason) for kinds, make in _REFUSALS if isinstance(request, kinds))


_REFUSALS: tuple[tuple[tuple[type, ...], Callable[[str], Reply]], ...] = (
    ((Start,), lambda reason: Started(False, reason)),
    ((Heartbeat,), lambda reason: HeartbeatReply(False, reason)),
    ((Finish,), lambda reason: Finished(False, reason=reason)),
    ((XComPull,), lambda reason: XComValues(reason=reason)),
    ((XComPush, VariableSet), lambda reason: Done(False, reason)),
    ((TriggerRun, RunStateGet), lambda reason: TriggeredRun(reason=reason)),
    ((object,), lambda reason: Secret(reason=reason)),
)


def _decode(body: bytes) -> Reply | None:
    try:
        return decode_reply(body)
    except msgspec.DecodeError:
        return None
