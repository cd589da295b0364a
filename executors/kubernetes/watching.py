"""Watches the pods of one or more namespaces, in a thread for each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec

from executors.context import NoStats, Stats
from executors.kubernetes.client import Cluster, Pod, PodWatch
from executors.kubernetes.errors import GoneError, KubernetesError, translated
from executors.kubernetes.pacing import chance
from executors.kubernetes.viewing import Course, Deleted, List, News, Place, Seen, View, Wait, Watch

__all__ = ["Deleted", "News", "Seen", "Watcher"]

P = ParamSpec("P")

_BARREN = 3
"""Watches in a row that could be opened, and broke before they said anything, are trouble."""

log = logging.getLogger(__name__)


class Watcher:
    """Begins at once, in daemon threads named ``kube-watch-NAME-0`` …. No method waits for the API server.

    :param namespaces: one thread each; "" means all namespaces of the cluster.
    :param selector: of labels; a pod that leaves it is :class:`Deleted` here.
    :param wake: called from the threads when :meth:`take` has something, once until it is taken.
    :param relist_interval: seconds between two lists, which find what events have not told; a second at least, as that
        is the shortest watch that there is.
    :param inactivity: seconds of a watch; where it has not ended a few seconds later, its connection is dead.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Sequence[str],
        selector: str,
        *,
        wake: Callable[[], None] = lambda: None,
        relist_interval: float = 60.0,
        inactivity: float = 30.0,
        stats: Stats | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._news: list[News] = []
        self._lookouts = [
            _Lookout(cluster, namespace, selector, Course(relist_interval, inactivity), self._tell, stats, clock)
            for namespace in namespaces
        ]
        short = cluster.name.rpartition(".")[2]
        self._threads = [
            threading.Thread(target=lookout.run, name=f"kube-watch-{short}-{number}", daemon=True)
            for number, lookout in enumerate(self._lookouts)
        ]
        for thread in self._threads:
            thread.start()

    def take(self) -> list[News]:
        """What has happened since the last time, in order for each pod."""
        with self._lock:
            news, self._news = self._news, []
        return news

    @property
    def synced(self) -> bool:
        """Each namespace has been listed once: a pod that is not in :meth:`snapshot` is not there."""
        return all(lookout.view.synced for lookout in self._lookouts)

    @property
    def trouble(self) -> str | None:
        """Why some namespace cannot be listed or watched now, in one line."""
        return next((lookout.trouble for lookout in self._lookouts if lookout.trouble), None)

    @property
    def listed(self) -> float:
        """When, by ``clock``, the last list of each namespace began: what it has found was told before this was read.
        Before all have been listed: minus infinity.
        """
        return min((lookout.listed for lookout in self._lookouts), default=float("-inf"))

    def snapshot(self) -> Mapping[Place, Pod]:
        """All pods that lists and events have told of, :meth:`take` those of them that are untaken too."""
        with self._lock:
            return {where: pod for lookout in self._lookouts for where, pod in lookout.view.pods.items()}

    def close(self, timeout: float = 0.2) -> bool:
        """End the watches. True: no thread is left; else :meth:`Cluster.close` ends them. Idempotent."""
        deadline = time.monotonic() + timeout
        for lookout in self._lookouts:
            lookout.close()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _tell(self, change: Callable[P, list[News]], *args: P.args, **kwargs: P.kwargs) -> None:
        with self._lock:
            news = change(*args, **kwargs)
            is_first = bool(news) and not self._news
            self._news += news
        if is_first:
            self._wake()


class _Lookout:
    """One namespace."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        selector: str,
        course: Course,
        tell: Callable[..., None],
        stats: Stats | None,
        clock: Callable[[], float],
    ) -> None:
        self.view = View()
        self.listed = float("-inf")
        self.trouble: str | None = None
        self._cluster = cluster
        self._namespace = namespace
        self._selector = selector
        self._course = course
        self._tell = tell
        self._stats = stats or NoStats()
        self._clock = clock
        self._closed = threading.Event()
        self._watch: PodWatch | None = None
        self._heard = False
        self._opened = False
        self._barren = 0

    def run(self) -> None:
        while not self._closed.is_set():
            step = self._course.step(self._clock())
            if isinstance(step, Wait):
                self._closed.wait(step.seconds)
                continue
            self._heard = self._opened = False
            try:
                with translated("watch pods"):
                    self._list() if isinstance(step, List) else self._follow(step)
            except KubernetesError as error:
                self._failed(error)

    def close(self) -> None:
        self._closed.set()
        if (watch := self._watch) is not None:
            watch.close()

    def _list(self) -> None:
        began, items = self._clock(), list[Pod]()
        more: str | None = None
        while True:
            page = self._cluster.list_pods(self._namespace, self._selector, continue_=more)
            items += page.items
            more = page.continue_
            if self._closed.is_set():
                return
            if not more:
                break
        self._tell(self.view.listed, items, page.resource_version)
        self.listed = began
        self._course.listed(self._clock(), chance())
        self._recovered()

    def _follow(self, step: Watch) -> None:
        began = self._clock()
        version = self.view.resource_version
        watch = self._cluster.watch_pods(self._namespace, self._selector, version, timeout=step.seconds)
        self._watch, self._opened = watch, True
        if self._closed.is_set():
            watch.close()
        if self._barren < _BARREN:
            self._recovered()
        try:
            for kind, pod in watch:
                self._heard = True
                self._fruitful()
                self._tell(self.view.happened, kind, pod)
        finally:
            self._watch = None
            watch.release()
        self._fruitful()
        now = self._clock()
        self._course.watched(now - began, self._heard, now, chance())

    def _fruitful(self) -> None:
        if self._barren:
            self._barren = 0
            self._recovered()

    def _recovered(self) -> None:
        if self.trouble:
            log.info("%s: pods of %s are watched again", self._cluster.name, self._shown)
        self.trouble = None

    def _failed(self, error: KubernetesError) -> None:
        if self._closed.is_set():
            return
        self._stats.incr("kubernetes_executor.watch_failures")
        self._course.failed(error, self._heard, self._clock(), chance())
        self._barren += self._opened and not self._heard
        if (self._opened and self._barren < _BARREN) or (isinstance(error, GoneError) and not self._opened):
            # That a watch breaks says little, they all do one day. Whether another can be opened says more.
            log.debug("%s: pods of %s: %s", self._cluster.name, self._shown, error)
            return
        if not self.trouble:
            log.warning("%s: pods of %s cannot be watched: %s", self._cluster.name, self._shown, error)
        self.trouble = str(error)

    @property
    def _shown(self) -> str:
        return self._namespace or "all namespaces"
