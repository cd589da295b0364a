"""What an executor may ask its host for besides reporting facts: that a callback of a task is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import msgspec

from executors.workload import TaskInstanceKey

CallbackKind = Literal["task_failure", "task_retry", "task_success"]


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """Run one of a task's callbacks, although no worker will: the relative of Airflow's ``TaskCallbackRequest``.

    Raises ``ValueError`` where a field is not what it says.
    """

    KINDS: ClassVar[tuple[str, ...]] = get_args(CallbackKind)

    key: TaskInstanceKey
    kind: CallbackKind = "task_failure"
    message: str = ""
    """Why, for a person."""

    def __post_init__(self) -> None:
        if not isinstance(self.key, TaskInstanceKey):
            raise ValueError(f"a callback request names a TaskInstanceKey, not {self.key!r}")  # noqa: TRY004
        if self.kind not in self.KINDS:
            raise ValueError(f"kind of a callback request is one of {', '.join(self.KINDS)}, not {self.kind!r}")
        if not isinstance(self.message, str):
            raise ValueError(f"message of a callback request is text, not {self.message!r}")  # noqa: TRY004

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, data: bytes | str) -> CallbackRequest:
        """Raises ``msgspec.ValidationError`` where ``data`` is no callback request."""
        return _decoder.decode(data)


_decoder = msgspec.json.Decoder(CallbackRequest)
