"""Watches: chunked streams of changes, with bookmarks, that end by timeout, by fault, or with the connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.kubernetes_api.faults import Faults
from tests.kubernetes_api.http import Connection
from tests.kubernetes_api.selectors import Predicate
from tests.kubernetes_api.statuses import ApiError
from tests.kubernetes_api.store import Change, Store, encode_event

DEFAULT_TIMEOUT = 1800.0
_UNSET = 0
"""A watch from no revision, or from "0": the objects that are there come first, as ADDED."""


@dataclass(eq=False, slots=True)
class Watch:
    """One stream. It is muted for good by :attr:`silent`: the client's connection is half-open."""

    connection: Connection
    matches: Predicate
    bookmarks: bool
    after: int = 0
    """It is told of changes that are newer than this revision, which may lie in the future."""
    silent: bool = False
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, change: Change, *, times: int = 1) -> None:
        kind = change.seen_through(self.matches)
        if kind is not None and change.revision > self.after:
            self.say(change.event(kind) * times)

    def say(self, line: bytes) -> None:
        if not self.silent:
            self.connection.send(line)

    def expire(self, error: ApiError) -> None:
        """End it by an ERROR event."""
        self.say(encode_event("ERROR", error.status))
        self._ended.set()

    async def until_ended(self, seconds: float) -> None:
        """Or for so many seconds."""
        try:
            await asyncio.wait_for(self._ended.wait(), max(seconds, 0.0))
        except TimeoutError:
            return

    @property
    def ended(self) -> bool:
        return self._ended.is_set()


class Watches:
    """All streams of one store."""

    def __init__(self, store: Store, faults: Faults, bookmark_interval: float) -> None:
        self.live: set[Watch] = set()
        self.bookmark_interval = bookmark_interval
        self._store = store
        self._faults = faults
        store.listeners.add(self._publish)

    async def serve(
        self, connection: Connection, matches: Predicate, revision: int, *, bookmarks: bool, seconds: float
    ) -> None:
        """Stream for so many seconds, or until something ends it. Raises 410 before the first byte if asked to."""
        watch = Watch(connection, matches, bookmarks, revision, silent=self._faults.mute_watches)
        try:
            past = [] if revision == _UNSET else self._store.changes_since(revision)
        except ApiError as error:
            if self._faults.gone_as_http:
                raise
            connection.begin_stream()
            watch.expire(error)
            connection.end_stream()
            return
        connection.begin_stream()
        self._replay(watch, revision, past)
        self.live.add(watch)
        try:
            await self._keep_up(watch, seconds, max(revision, self._store.revision))
        finally:
            self.live.discard(watch)
        connection.end_stream()

    def mute(self) -> None:
        """Every stream that runs is half-open from now on."""
        for watch in self.live:
            watch.silent = True

    def break_(self) -> None:
        """Close the connections of all streams."""
        for watch in list(self.live):
            watch.connection.abort()

    def expire(self, error: ApiError) -> None:
        for watch in self.live:
            watch.expire(error)

    def _replay(self, watch: Watch, revision: int, past: list[Change]) -> None:
        if revision == _UNSET:
            for _, obj in self._store.objects():
                if watch.matches(obj):
                    watch.say(encode_event("ADDED", obj))
        for change in past:
            watch.see(change)

    async def _keep_up(self, watch: Watch, seconds: float, begun: int) -> None:
        """A bookmark says a version that is newer than when the stream began: where nothing happens, none comes."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            await watch.until_ended(min(self.bookmark_interval, deadline - loop.time()))
            if watch.ended:
                return
            if watch.bookmarks and self._store.revision > begun:
                watch.say(_bookmark(self._store.revision))

    def _publish(self, change: Change) -> None:
        if self._faults.withheld_events:
            self._faults.withheld_events -= 1
            return
        for watch in self.live:
            watch.see(change, times=2 if self._faults.duplicate_events else 1)


def _bookmark(revision: int) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": None}, "status": {}}
    return encode_event("BOOKMARK", pod)
