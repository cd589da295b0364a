"""The output of containers, and ``GET …/pods/NAME/log``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.kubernetes_api.http import Connection, Response
from tests.kubernetes_api.statuses import ApiError, bad_request
from tests.kubernetes_api.store import Object

_PLAIN = "text/plain"


@dataclass(eq=False, slots=True)
class Log:
    """What one container has written: lines, each with the moment (epoch seconds) when it was whole."""

    lines: list[tuple[float, bytes]] = field(default_factory=list)
    ended: bool = False
    _rest: bytes = b""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def feed(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        now = time.time()
        self.lines += [(now, line + b"\n") for line in whole]
        self._wake()

    def end(self) -> None:
        """Nothing more comes."""
        if self._rest:
            self.lines.append((time.time(), self._rest))
            self._rest = b""
        self.ended = True
        self._wake()

    async def news(self) -> None:
        """Until something comes, or it has ended."""
        if not self.ended:
            await self._news.wait()

    def text(self) -> bytes:
        return b"".join(line for _, line in self.lines)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class LogReader:
    """Answers requests for logs."""

    def __init__(self, logs: Mapping[tuple[str, str], Log]) -> None:
        self._logs = logs
        self.unreachable: set[str] = set()
        """uids of pods whose node does not answer."""

    async def answer(self, pod: Object, query: Mapping[str, str], connection: Connection) -> Response | None:
        """Raises :class:`ApiError`."""
        container = _container(pod, query.get("container", ""))
        if not pod["spec"].get("nodeName"):
            return Response(204, b"", {}, _PLAIN)
        if pod["metadata"]["uid"] in self.unreachable:
            host = pod["status"].get("hostIP", "10.0.0.1")
            where = f"https://{host}:10250/containerLogs/{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            raise ApiError(500, f'Get "{where}/{container}": dial tcp {host}:10250: connect: no route to host')
        log = self._logs.get((pod["metadata"]["uid"], container))
        if log is None:
            raise bad_request(_why_not_started(pod, container))
        lines = list(_chosen(log, query))
        if query.get("follow") not in {"true", "1"}:
            return Response(200, b"".join(lines), {}, _PLAIN)
        connection.begin_stream(_PLAIN)
        for line in lines:
            connection.send(line)
        await self._follow(log, query, connection)
        connection.end_stream()
        return None

    @staticmethod
    async def _follow(log: Log, query: Mapping[str, str], connection: Connection) -> None:
        said = len(log.lines)
        while connection.open and not (log.ended and said == len(log.lines)):
            if said == len(log.lines):
                await log.news()
            for moment, line in log.lines[said:]:
                connection.send(_written(moment, line, query))
                said += 1


def _container(pod: Object, asked: str) -> str:
    name = pod["metadata"]["name"]
    containers = [container["name"] for container in pod["spec"]["containers"]]
    if not asked:
        if len(containers) == 1:
            return str(containers[0])
        names = [*(one["name"] for one in pod["spec"].get("initContainers") or []), *containers]
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]")
    if asked not in [*containers, *(one["name"] for one in pod["spec"].get("initContainers") or [])]:
        raise bad_request(f"container {asked} is not valid for pod {name}")
    return asked


def _why_not_started(pod: Object, container: str) -> str:
    statuses = [*pod["status"].get("containerStatuses", []), *pod["status"].get("initContainerStatuses", [])]
    states = [status["state"] for status in statuses if status["name"] == container]
    reason = states[0].get("waiting", {}).get("reason", "") if states else ""
    why = f"waiting to start: {reason}" if reason else "not available"
    if reason in {"ErrImagePull", "ImagePullBackOff"}:
        why = "waiting to start: trying and failing to pull image"
    return f'container "{container}" in pod "{pod["metadata"]["name"]}" is {why}'


def _chosen(log: Log, query: Mapping[str, str]) -> Iterator[bytes]:
    lines = log.lines
    if "sinceSeconds" in query:
        since = time.time() - int(query["sinceSeconds"])
        lines = [line for line in lines if line[0] >= since]
    if "tailLines" in query:
        tail = int(query["tailLines"])
        lines = lines[-tail:] if tail else []
    left = int(query.get("limitBytes") or 2**62)
    for moment, line in lines:
        text = _written(moment, line, query)[:left]
        left -= len(text)
        yield text


def _written(moment: float, line: bytes, query: Mapping[str, str]) -> bytes:
    if query.get("timestamps") not in {"true", "1"}:
        return line
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode() + line
