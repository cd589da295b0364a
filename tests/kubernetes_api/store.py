"""The objects of one cluster, every version of them until it is compacted, and who follows the changes: its etcd.

Objects are never changed in place: what was read stays what it was.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.kubernetes_api.selectors import Predicate
from tests.kubernetes_api.statuses import already_exists, gone

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
FIRST_REVISION = 1000


@dataclass(slots=True)
class Change:
    """One version: ``old`` is ``None`` for a creation, ``new`` is ``None`` for a deletion."""

    revision: int
    key: Key
    old: Object | None
    new: Object | None
    _encoded: dict[str, bytes] = field(default_factory=dict)

    def seen_through(self, matches: Predicate) -> str | None:
        """``ADDED``, ``MODIFIED`` or ``DELETED`` for a watch with this selector; ``None``: nothing."""
        before = self.old is not None and matches(self.old)
        after = self.new is not None and matches(self.new)
        if before:
            return "MODIFIED" if after else "DELETED"
        return "ADDED" if after else None

    def event(self, kind: str) -> bytes:
        """The line of a watch. Who no longer sees an object is sent its last state, with the version of the change."""
        if kind not in self._encoded:
            obj = self.new if kind != "DELETED" else None
            if obj is None:
                assert self.old is not None
                obj = with_revision(self.old, self.revision)
            self._encoded[kind] = encode_event(kind, obj)
        return self._encoded[kind]


def encode_event(kind: str, obj: Object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"


def with_revision(obj: Mapping[str, Any], revision: int) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}


class Store:
    """Objects of one kind. All of its methods run in one thread."""

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.revision = FIRST_REVISION
        self.compacted = FIRST_REVISION
        """History up to this revision, and without it, is forgotten."""
        self.listeners: set[Callable[[Change], None]] = set()
        self._objects: dict[Key, Object] = {}
        self._history: list[Change] = []

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def create(self, key: Key, obj: Object) -> Object:
        """Raises :class:`ApiError` 409 AlreadyExists."""
        if key in self._objects:
            raise already_exists(self.resource, key[1])
        return self._commit(key, None, obj)

    def update(self, key: Key, obj: Object) -> Object:
        """What changes nothing makes no version."""
        old = self._objects[key]
        return old if with_revision(obj, 0) == with_revision(old, 0) else self._commit(key, old, obj)

    def delete(self, key: Key) -> Object:
        """Say the last state, with the version of the deletion."""
        old = self._objects.pop(key)
        self.revision += 1
        self._publish(Change(self.revision, key, old, None))
        return with_revision(old, self.revision)

    def objects(self) -> Iterator[tuple[Key, Object]]:
        """Now, in the order of their keys."""
        return iter(sorted(self._objects.items()))

    def objects_at(self, revision: int) -> list[tuple[Key, Object]]:
        """As they were. Raises :class:`ApiError` 410 once that is forgotten."""
        if revision < self.compacted:
            raise gone(f"The provided resource version is too old: {revision} ({self.compacted})")
        then: dict[Key, Object | None] = dict(self._objects)
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            then[change.key] = change.old
        return sorted((key, obj) for key, obj in then.items() if obj is not None)

    def changes_since(self, revision: int) -> list[Change]:
        """All that are newer. Raises :class:`ApiError` 410 where some of them are forgotten."""
        if revision < self.compacted:
            raise gone(f"too old resource version: {revision} ({self.compacted})")
        start = bisect.bisect_right(self._history, revision, key=lambda change: change.revision)
        return list(itertools.islice(self._history, start, None))

    def compact(self) -> int:
        """Forget the history. Say the revision."""
        self.compacted = self.revision
        self._history.clear()
        return self.revision

    def tick(self) -> int:
        """A new revision without a change here: something else of the cluster has changed."""
        self.revision += 1
        return self.revision

    def _commit(self, key: Key, old: Object | None, obj: Object) -> Object:
        self.revision += 1
        new = self._objects[key] = with_revision(obj, self.revision)
        self._publish(Change(self.revision, key, old, new))
        return new

    def _publish(self, change: Change) -> None:
        self._history.append(change)
        for listener in list(self.listeners):
            listener(change)
