"""Everything of one executor that talks to its cluster, in threads of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from executors.context import ExecutorContext
from executors.kubernetes.building.naming import selector
from executors.kubernetes.client import Cluster
from executors.kubernetes.creating import Created, Creator, Exists
from executors.kubernetes.deleting import Deleter
from executors.kubernetes.leftovers import CleanUp, Keep, Remove
from executors.kubernetes.logs import whole
from executors.kubernetes.options import KubernetesOptions
from executors.kubernetes.viewing import place
from executors.kubernetes.watching import Watcher
from executors.workload import TaskInstanceKey


class Backend:
    """Starts its threads at once, and waits for nothing. Raises :class:`ClusterConfigError`."""

    def __init__(self, options: KubernetesOptions, context: ExecutorContext) -> None:
        self._options = options
        self._log_sink = context.log_sink if options.collect_logs else None
        self.cluster = Cluster(options)
        self.creator = Creator(
            self.cluster,
            concurrency=options.creation_concurrency,
            retries=options.publish_retries,
            wake=context.wake,
            stats=context.stats,
        )
        self.watcher = Watcher(
            self.cluster,
            options.namespaces,
            selector(options),
            wake=context.wake,
            relist_interval=options.relist_interval,
            inactivity=options.watch_inactivity,
            stats=context.stats,
        )
        self.deleter = Deleter(self.cluster, grace=options.delete_grace, stats=context.stats)

    def troubles(self) -> list[str]:
        """Why the cluster cannot be reached, in one line each; empty where it can."""
        return [trouble for trouble in (self.creator.trouble, self.watcher.trouble) if trouble]

    def remove(self, act: Remove) -> None:
        """Delete the pod in the background; first its output is kept."""
        self.deleter.delete(*act.place, act.uid or None, before=self._before(act))

    def keep(self, act: Keep) -> None:
        """Label the pod in the background; first its output is kept."""
        self.deleter.label_done(*act.place, act.uid, before=self._before(act))

    def close(self, patience: float) -> None:
        """Delete what is still to be created or deleted, for ``patience`` seconds; then cut all calls off."""
        deadline = time.monotonic() + patience
        self.creator.close(patience / 2)
        for result in self.creator.take():
            if isinstance(result, Created | Exists):
                self.remove(Remove(place(result.pod), result.pod["metadata"]["uid"]))
        self.deleter.close(max(0.0, deadline - time.monotonic()))
        self.watcher.close()
        self.cluster.close()

    def close_in_background(self, patience: float) -> None:
        """As :meth:`close`, in a thread that the process waits for."""
        threading.Thread(target=self.close, args=(patience,), name=f"{self._options.name}-closing").start()

    def told(self) -> Iterator[str]:
        """Lines for an operator."""
        yield f"cluster  {self.cluster.url}"
        yield f"create   {self.creator.pending} pending: {self.creator.trouble or 'no trouble'}"
        listed = f"{len(self.watcher.snapshot())} pods" if self.watcher.synced else "not listed yet"
        namespaces = ", ".join(name or "all namespaces" for name in self._options.namespaces)
        yield f"watch    {namespaces}: {listed}: {self.watcher.trouble or 'no trouble'}"
        yield f"delete   {self.deleter.pending} pending: {self.deleter.trouble or 'no trouble'}"

    def _before(self, act: CleanUp) -> Callable[[], None] | None:
        if act.collect is None or self._log_sink is None:
            return None
        return partial(self._collect, self._log_sink, act.collect, *act.place)

    def _collect(
        self, sink: Callable[[TaskInstanceKey, str], None], key: TaskInstanceKey, namespace: str, name: str
    ) -> None:
        if text := whole(self.cluster, namespace, name):
            sink(key, text)
