"""Bulk reads of a Celery result backend: hints of what became of attempts that have not reported. Never the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from celery import Celery

_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker noted of a task."""

    state: str
    """Celery's word: STARTED, SUCCESS, FAILURE, REVOKED, RETRY, …"""
    reason: str = ""
    """Of a failure, in one line."""


class _Meta(msgspec.Struct):
    status: str
    result: Any = None


_meta = msgspec.json.Decoder(_Meta)


class Reader(Protocol):
    """The bulk read of one backend."""

    def read(self, ids: Sequence[str]) -> Mapping[str, Outcome]:
        """What is known of these tasks; an id that is unknown is left out. Raises what the backend's library raises."""

    def close(self) -> None:
        """Give connections up. Never raises."""


def make_reader(app: Celery) -> Reader | None:
    """For the backend that ``app`` is configured with; ``None`` where it has no bulk reads.

    Connects to nothing, unless the backend's library does. Raises what that raises.
    """
    backend: Any = app.backend
    if hasattr(backend, "mget"):
        return _KeyReader(backend)
    return _RowReader(backend) if hasattr(backend, "ResultSession") else None


class _KeyReader:
    """One MGET."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def read(self, ids: Sequence[str]) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        values = self._backend.mget([self._backend.get_key_for_task(task_id) for task_id in ids])
        for task_id, raw in zip(ids, values, strict=True):
            if raw and (outcome := _parse(raw)):
                found[task_id] = outcome
        return found

    def close(self) -> None:
        with suppress(Exception):
            self._backend.client.connection_pool.disconnect()  # others than Redis keep no connection


class _RowReader:
    """One SELECT … IN. Columns, not objects: nothing of what a worker stored is built here."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def read(self, ids: Sequence[str]) -> dict[str, Outcome]:
        from sqlalchemy import select

        task = self._backend.task_cls
        with self._backend.ResultSession() as session:
            wanted = task.task_id.in_(ids)
            rows = session.execute(select(task.task_id, task.status, task.result).where(wanted)).all()
        return {task_id: Outcome(status, _reason(_loads(result))) for task_id, status, result in rows}

    def close(self) -> None:
        with suppress(Exception):
            self._backend.session_manager.invalidate(self._backend.url)


def _parse(raw: bytes | str) -> Outcome | None:
    try:
        meta = _meta.decode(raw)
    except msgspec.MsgspecError:
        return None
    return Outcome(meta.status, _reason(meta.result))


def _loads(raw: bytes | str | None) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else None
    except (msgspec.MsgspecError, TypeError):
        return None


def _reason(result: Any) -> str:
    """``{"exc_type": "RuntimeError", "exc_message": ["exit code 3"]}`` → ``RuntimeError: exit code 3``."""
    if not isinstance(result, dict) or "exc_type" not in result:
        return ""
    message = result.get("exc_message")
    told = ", ".join(map(str, message)) if isinstance(message, list | tuple) else str(message or "")
    return " ".join(f"{result['exc_type']}: {told}".removesuffix(": ").split())[:_LONGEST_REASON]
