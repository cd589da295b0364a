"""Scheduler and kubelet: pods get a node, their containers run as local processes, and their status says so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kubernetes_api.containers import MARK, Container, kill_marked
from tests.kubernetes_api.logs import Log
from tests.kubernetes_api.podrun import PodRun
from tests.kubernetes_api.registry import Registry
from tests.kubernetes_api.selectors import by_labels
from tests.kubernetes_api.store import Change, Key, Object

RUN, PRETEND, OFF = "run", "pretend", "off"
"""Kinds of kubelet: processes; no processes, but their states; neither it nor a scheduler."""


@dataclass(eq=False, slots=True)
class Behaviour:
    """What becomes of new pods that it meets, until it is released."""

    kind: str
    """``unschedulable``; ``never_start``; ``run``; ``pretend``; or the reason for which containers wait, e.g.
    ``ImagePullBackOff``."""
    selector: str = ""
    name: str = ""
    """A regular expression that the pod's whole name matches; empty: any."""
    message: str = ""
    times: int | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def meets(self, pod: Object) -> bool:
        """And if so, counts."""
        if self.times == 0 or self.released.is_set() or not by_labels(self.selector)(pod):
            return False
        if self.name and not re.fullmatch(self.name, pod["metadata"]["name"]):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Kubelet:
    """Follows the store. Everything happens in the event loop's thread.

    :param env: what every container has in its environment, beneath the pod's own.
    :param entrypoint: the command of containers that name none; without it they pretend.
    :param start_delay: seconds from the node to the running container.
    :param folder: where containers work; its name marks the processes of this kubelet.
    """

    def __init__(
        self,
        registry: Registry,
        kind: str,
        env: Mapping[str, str],
        entrypoint: list[str],
        start_delay: float,
        folder: Path,
    ) -> None:
        self.registry = registry
        self.kind = kind
        self.env = {**env, MARK: str(folder)}
        self.entrypoint = entrypoint
        self.start_delay = start_delay
        self.secrets: dict[str, str] = {}
        self.behaviours: list[Behaviour] = []
        self.runs: dict[str, PodRun] = {}
        """By uid."""
        self.logs: dict[tuple[str, str], Log] = {}
        """By uid and container; they outlive the pod."""
        self.names: dict[str, str] = {}
        """Of every pod that there has been, by uid."""
        self.folder = folder
        self._addresses = 0
        self._tasks: set[asyncio.Task[None]] = set()
        if kind != OFF:
            registry.store.listeners.add(self._follow)

    def behaviour_for(self, pod: Object) -> Behaviour:
        met = next((known for known in reversed(self.behaviours) if known.meets(pod)), None)
        return met or Behaviour(self.kind)

    def release(self) -> None:
        """New pods are run as usual, and those that were held go on."""
        for behaviour in self.behaviours:
            behaviour.released.set()
        self.behaviours.clear()

    def next_address(self) -> str:
        self._addresses += 1
        return f"10.244.{self._addresses // 250 % 250}.{self._addresses % 250 + 1}"

    def add_log(self, uid: str, container: Container) -> None:
        self.logs[uid, container.name] = container.log

    def run_of(self, key: Key) -> PodRun:
        """Raises :class:`ApiError` 404, or ``LookupError`` when nothing runs it."""
        run = self.runs.get(self.registry.get(key)["metadata"]["uid"])
        if run is None:
            raise LookupError(f"pod {'/'.join(key)} has ended, so nothing can befall it")
        return run

    async def close(self) -> None:
        """Kill every process. Idempotent."""
        self.registry.store.listeners.discard(self._follow)
        for run in list(self.runs.values()):
            run.kill()
        ended = [container.ended.wait() for run in self.runs.values() for container in run.started()]
        await asyncio.wait_for(asyncio.gather(*ended), 10.0)
        kill_marked(str(self.folder))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, coroutine: Any) -> None:
        """Run it in the background; what it raises is raised in the loop's handler of exceptions."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "the fake kubelet failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    def _follow(self, change: Change) -> None:
        """Never acts at once: a change is finished before the next one begins."""
        soon: Callable[..., Any] = asyncio.get_running_loop().call_soon
        if change.old is None and change.new is not None:
            soon(self._begin, change.new)
            return
        assert change.old is not None
        run = self.runs.get(change.old["metadata"]["uid"])
        if run is None:
            return
        if change.new is None:
            soon(run.vanished)
        elif _deadline(change.new) != _deadline(change.old):
            soon(run.terminate, change.new["metadata"]["deletionGracePeriodSeconds"])

    def _begin(self, pod: Object) -> None:
        run = PodRun(self, pod, self.behaviour_for(pod))
        self.runs[run.uid] = run
        self.names[run.uid] = pod["metadata"]["name"]
        self.spawn(run.live())


def _deadline(pod: Object) -> Any:
    return pod["metadata"].get("deletionTimestamp")
