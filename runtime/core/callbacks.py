"""What a scheduler wants called of a DAG: data for the DAG processor's callback child."""

from __future__ import annotations

import msgspec


class RunCallback(msgspec.Struct, frozen=True, tag="run", tag_field="of"):
    """``on_success_callback`` or ``on_failure_callback`` of a DAG, for a run that has ended."""

    dag_run_id: int
    kind: str
    """``success`` or ``failure``."""
    reason: str
    """``success``, ``task_failure`` or ``timed_out``, as Airflow has them."""


class TaskCallback(msgspec.Struct, frozen=True, tag="task", tag_field="of"):
    """A callback of a task whose attempt's process could not run it any more."""

    task_instance_id: str
    try_number: int
    kind: str
    """``failure``, ``retry`` or ``success``."""
    message: str
    """Why, for a person: the text of ``context["exception"]``."""


Wanted = RunCallback | TaskCallback
encode = msgspec.json.encode
_decoder: msgspec.json.Decoder[RunCallback | TaskCallback] = msgspec.json.Decoder(RunCallback | TaskCallback)


def decode_wanted(data: str) -> Wanted:
    """Raises ``msgspec.DecodeError`` where ``data`` is none of these."""
    return _decoder.decode(data)
