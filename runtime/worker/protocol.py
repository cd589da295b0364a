"""What a supervisor and the process that runs user code say to each other, in frames of :mod:`executors.local.channel`.

======== ======================= =====================================================================
Frame    Direction               Body
======== ======================= =====================================================================
ASSIGN   supervisor → attempt    :class:`Setup`; only where the attempt is a fresh interpreter
REPLY    supervisor → attempt    first :class:`Go`, then the service's answers to XCom requests, in order
CALL     attempt → supervisor    what user code asks (``messages.Asked``); attempt and nonce are filled in on the way
ENDED    attempt → supervisor    :class:`Result`, the last frame
IDLE     attempt → supervisor    :class:`Begin`: user code begins now; not sent where the supervisor knows all that
======== ======================= =====================================================================
"""

from __future__ import annotations

import msgspec

from runtime.core.messages import Asked, RunContext
from runtime.worker.settings import WorkerSettings


class Setup(msgspec.Struct, frozen=True):
    """What a forked child inherits and a fresh interpreter has to be told."""

    supervisor_pid: int
    pythonpath: str | None
    """What ``PYTHONPATH`` shall be for user code; the interpreter itself was started with another one."""
    settings: WorkerSettings


class Go(msgspec.Struct, frozen=True):
    """The start is granted: run this."""

    attempt_id: str
    context: RunContext
    held: bool
    """Whether the process inherited the file; else it imports it."""


class Begin(msgspec.Struct, frozen=True):
    """What the supervisor must know of the task while its code runs; seconds."""

    execution_timeout: float | None
    retry_delay: float


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """How user code ended; the fields of ``Finish``."""

    outcome: str
    reason: str = ""
    retry: bool = True
    retry_delay: float = 300.0
    return_value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    skip: tuple[str, ...] = ()
    calls: int = 0
    """Callbacks that the process still runs after this, which has the same end whatever they do."""


encode = msgspec.json.Encoder().encode
decode_setup = msgspec.json.Decoder(Setup).decode
decode_go = msgspec.json.Decoder(Go).decode
decode_begin = msgspec.json.Decoder(Begin).decode
decode_result = msgspec.json.Decoder(Result).decode
_asked: msgspec.json.Decoder[Asked] = msgspec.json.Decoder(Asked)
decode_asked = _asked.decode
