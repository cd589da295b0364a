"""What an executor is handed: plain frozen data that survives a JSON round trip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class TaskInstanceKey:
    """Names one dispatch of one try of one task instance.

    It iterates and prints as the five fields that Airflow's executors know, so ``dag_id, task_id, run_id, try_number,
    map_index = key`` works. ``attempt_id`` takes part in equality and hash: a late event of an earlier dispatch of the
    same try is never credited to the newer one.
    """

    dag_id: str
    task_id: str
    run_id: str
    try_number: int = 1
    map_index: int = -1
    attempt_id: str = ""

    def __iter__(self) -> Iterator[str | int]:
        return iter((self.dag_id, self.task_id, self.run_id, self.try_number, self.map_index))

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} {self.run_id} try {self.try_number}"

    def __repr__(self) -> str:
        return (
            f"TaskInstanceKey(dag_id={self.dag_id!r}, task_id={self.task_id!r}, run_id={self.run_id!r}, "
            f"try_number={self.try_number}, map_index={self.map_index})"
        )


@dataclass(frozen=True, slots=True)
class CodeReference:
    """Which version of which file holds the task: data, so that no executor ever imports user code."""

    rel_path: str
    file_hash: str
    bundle_name: str = "dags-folder"
    bundle_version: str | None = None


@dataclass(frozen=True, slots=True)
class TaskInstanceRef:
    """What an executor is told of a task instance in questions about it (adopt, revoke, stuck, logs)."""

    key: TaskInstanceKey
    queue: str = "default"
    external_executor_id: str | None = None
    started: bool = False
    executor_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dag_id(self) -> str:
        return self.key.dag_id

    @property
    def task_id(self) -> str:
        return self.key.task_id

    @property
    def run_id(self) -> str:
        return self.key.run_id

    @property
    def try_number(self) -> int:
        return self.key.try_number

    @property
    def map_index(self) -> int:
        return self.key.map_index


@dataclass(frozen=True, slots=True)
class Workload:
    """One attempt to run one task instance.

    ``command`` is always enough by itself: an executor that runs it somewhere with ``env`` is complete. ``code`` lets a
    warm executor choose a process that already holds the file. ``env`` carries secrets and stays out of ``repr``.
    """

    key: TaskInstanceKey
    command: tuple[str, ...]
    code: CodeReference
    queue: str = "default"
    priority_weight: int = 1
    pool_slots: int = 1
    executor_config: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> Workload:
        """Raises ``msgspec.ValidationError`` where ``data`` is no workload."""
        return _decoder.decode(data)


_decoder = msgspec.json.Decoder(Workload)
