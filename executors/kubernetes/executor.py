"""KubernetesExecutor: each attempt in a pod of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from executors.base import BaseExecutor
from executors.cli import CLICommand
from executors.context import ExecutorContext
from executors.events import Accepted, Failed, Lost
from executors.findings import Examination
from executors.kubernetes.adopting import found_by, is_foreign
from executors.kubernetes.backend import Backend
from executors.kubernetes.building.build import build_pod
from executors.kubernetes.building.mutating import Hook, load_hook
from executors.kubernetes.cli import commands
from executors.kubernetes.client import Cluster
from executors.kubernetes.creating import Created, Exists, Refused, Requeued, Result
from executors.kubernetes.errors import ClusterUnreachableError, KubernetesError, PodConfigError
from executors.kubernetes.health import complaint, examine
from executors.kubernetes.leftovers import Keep, Remove
from executors.kubernetes.logs import places, tail
from executors.kubernetes.options import read_options
from executors.kubernetes.pods import Act, Pods
from executors.kubernetes.viewing import Deleted, News, Place, Pod, Seen, place
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload

PATIENCE = 20.0
"""Seconds in which pods are deleted when the executor ends."""
_POLL = 0.05


class KubernetesExecutor(BaseExecutor):
    """Options: :class:`~executors.kubernetes.options.KubernetesOptions`. Raises :class:`ExecutorConfigError` on a bad
    one.

    A slot is freed when the host tells :meth:`reported`, or by what becomes of the pod. :meth:`heartbeat` never waits
    for the API server, which other threads talk to; it raises where that cannot be reached, after all else was done.
    """

    supports_sentry: ClassVar[bool] = True
    ticket_file: ClassVar[bool] = False
    conf_section: ClassVar[str | None] = "kubernetes_executor"

    def __init__(self, parallelism: int = 32, *, context: ExecutorContext | None = None) -> None:
        super().__init__(parallelism, context=context)
        self.options = read_options(self.context.options, self.context.name, self.context.worker_config)
        self._pods = Pods(self.options, time.monotonic)
        self._news: deque[Result | News] = deque()
        """Taken, and not passed on yet: one that raises holds up no other."""
        self._backend: Backend | None = None
        self._hook: Hook | None = None

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read the cluster's configuration and begin to watch; a cluster that is down is the heartbeats' affair.

        Raises :class:`ExecutorConfigError`.
        """
        self._hook = load_hook(self.options)
        if self._backend is None:
            self._backend = Backend(self.options, self.context)

    def end(self) -> None:
        """Wait until all have ended and their pods are cleaned up; the latter for ``PATIENCE`` seconds.

        Raises :class:`ClusterUnreachableError` while something still runs; call it again then.
        """
        super().end()
        deadline = time.monotonic() + PATIENCE
        while not self._pods.is_settled and time.monotonic() < deadline:
            with suppress(KubernetesError):
                self.sync()
            time.sleep(_POLL)
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close(deadline - time.monotonic())

    def terminate(self) -> None:
        """Forget everything, and delete its pods in the background, for ``PATIENCE`` seconds. Idempotent."""
        backend, self._backend = self._backend, None
        for key in [*self.running, *self.queued_tasks]:
            self.lost(key, "the executor was terminated")
            if backend is not None:
                self._cancel(key, backend)
        if backend is not None:
            self._perform(self._pods.all_removed(), backend)
            backend.close_in_background(PATIENCE)

    # -- heartbeat -------------------------------------------------------------------------------------------------

    def trigger_tasks(self, open_slots: int) -> None:
        """As the base class does it, ``worker_pods_creation_batch_size`` at a time."""
        waiting, began = len(self.queued_tasks), time.monotonic()
        if not waiting or open_slots <= 0:
            return
        try:
            super().trigger_tasks(min(open_slots, self.options.batch_size or open_slots))
        finally:
            stats = self.context.stats
            stats.gauge("kubernetes_executor.pod_creation_batch_size", waiting - len(self.queued_tasks))
            stats.timing("kubernetes_executor.pod_creation_batch_duration", time.monotonic() - began)

    def execute_async(
        self,
        key: TaskInstanceKey,
        command: Sequence[str],
        queue: str | None = None,
        executor_config: Any | None = None,
    ) -> None:
        """Build its pod and hand it to creation. What makes no pod is refused."""
        if self._backend is None:
            raise KubernetesError(f"{self.name}: launch before start()")
        try:
            manifest = build_pod(self.workload(key), self.options, hook=self._hook)
        except PodConfigError as error:
            self.refuse(key, str(error))
            return
        where = place(manifest)
        self._pods.submitted(key, where)
        self._backend.creator.submit(key, where[0], manifest)

    def sync(self) -> None:
        """Pass on what became of creations and pods, and clean up.

        Raises :class:`ClusterUnreachableError` where the API server does not answer.
        """
        backend = self._backend
        if backend is None:
            return
        listed = backend.watcher.listed  # before what that list has brought is taken
        self._news += [*backend.creator.take(), *backend.watcher.take()]
        while self._news:
            self._perform(self._hear(self._news.popleft()), backend)
        self._perform(self._pods.due(listed), backend)
        if troubles := backend.troubles():
            raise ClusterUnreachableError("; ".join(dict.fromkeys(troubles)))

    def _hear(self, news: Result | News) -> list[Act]:
        match news:
            case Seen(pod):
                return self._pods.seen(pod)
            case Deleted(pod):
                return self._pods.deleted(pod)
            case Created(key, pod) | Exists(key, pod):
                self._count("success")
                return self._pods.created(key, pod)
            case Refused(key, reason, uncertain):
                self._count("failed")
                return self._pods.refused(key, reason, uncertain=uncertain)
            case Requeued(key, reason):
                self._count("retried")
                return self._pods.postponed(key, reason)

    def _count(self, status: str) -> None:
        self.context.stats.incr(f"kubernetes_executor.pod_creation_status.{status}")

    def _perform(self, acts: Iterable[Act], backend: Backend) -> None:
        for act in acts:
            match act:
                case Remove():
                    backend.remove(act)
                case Keep():
                    backend.keep(act)
                case Failed() | Lost():
                    backend.creator.cancel(act.key)  # the watch may have shown a pod from before
                    self._end(act)
                case Accepted():
                    backend.creator.cancel(act.key)  # the watch may have shown what a call without an answer has made
                    self._events.append(act)
                case _:
                    self._events.append(act)

    # -- what becomes of an attempt --------------------------------------------------------------------------------

    def started(self, key: TaskInstanceKey) -> None:
        """It has a pod: create no other, and be content that the watch shows it."""
        self._pods.started(key)
        if self._backend is not None:
            self._backend.creator.cancel(key)

    def reported(self, key: TaskInstanceKey) -> None:
        """Free the slot; its pod is cleaned up when it has ended."""
        if key in self.running or key in self.queued_tasks:
            self.success(key)
        if self._backend is None or not self._cancel(key, self._backend):
            self._pods.reported(key)

    def revoke_task(self, ti: TaskInstanceRef) -> None:
        """Forget it, and delete its pod in the background, also one that is being created."""
        super().revoke_task(ti)
        backend = self._backend
        if backend is None or self._cancel(ti.key, backend):
            return
        if ti.key in self._pods:
            self._perform(self._pods.revoked(ti.key), backend)
        elif (pod := found_by(ti, self.options, backend.watcher.snapshot())) is not None:
            self._perform(self._pods.revoked_stray(pod), backend)
        elif not backend.watcher.synced and not is_foreign(ti):
            # A scheduler that is gone may have made a pod, which the first list will show.
            self._pods.submitted(ti.key, places(self.options, ti)[0])
            self._perform(self._pods.revoked(ti.key), backend)

    def _cancel(self, key: TaskInstanceKey, backend: Backend) -> bool:
        """Whether there is no pod of it and will be none."""
        if not self._pods.is_creating(key) or not backend.creator.cancel(key):
            return False
        self._pods.forget(key)
        return True

    def try_adopt_task_instances(self, tis: Sequence[TaskInstanceRef]) -> Sequence[TaskInstanceRef]:
        """Count those that have a pod as running here, whatever has become of it: the next heartbeat tells.

        Until the pods have been listed once, those that have started are taken to have one. The others are returned:
        handed over again, they find their pod by its name.
        """
        if (backend := self._backend) is None:
            return tis
        began = time.monotonic()
        is_listed, pods = backend.watcher.synced, backend.watcher.snapshot()
        left = [ti for ti in tis if not self._adopt(ti, backend, is_listed, pods)]
        self.context.stats.timing("kubernetes_executor.adopt_task_instances.duration", time.monotonic() - began)
        return left

    def _adopt(self, ti: TaskInstanceRef, backend: Backend, listed: bool, pods: Mapping[Place, Pod]) -> bool:
        if self.has_task(ti):
            return True
        if ti.key in self._pods or is_foreign(ti):
            return False
        pod = found_by(ti, self.options, pods)
        if pod is None and (listed or not ti.started):
            return False
        code = CodeReference("", "")
        self.running[ti.key] = Workload(ti.key, (), code, queue=ti.queue, executor_config=ti.executor_config)
        self._pods.adopted(ti.key, places(self.options, ti)[0])
        if pod is not None:
            self._perform(self._pods.seen(pod), backend)
        return True

    # -- for people ------------------------------------------------------------------------------------------------

    def health_check(self) -> str | None:
        """Whether the API server answers and allows what is needed, and whether pods can report. Blocks for seconds."""
        backend = self._backend
        if backend is None:
            return "not started"
        return complaint(backend.cluster, self.options, [*backend.troubles(), backend.deleter.trouble])

    def examine(self) -> Examination:
        """The same in parts, and the images of the pods, and what is unsafe. Blocks for seconds."""
        backend = self._backend
        if backend is None:
            return super().examine()
        return Examination(examine(backend.cluster, self.options, [*backend.troubles(), backend.deleter.trouble]))

    def get_task_log(self, ti: TaskInstanceRef, try_number: int) -> tuple[list[str], list[str]]:
        """The last ``running_pod_log_lines`` of its pod, while there is one. Also where the executor is not started.

        Raises :class:`KubernetesError`.
        """
        if self._backend is not None:
            return tail(self._backend.cluster, self.options, ti)
        cluster = Cluster(self.options)
        try:
            return tail(cluster, self.options, ti)
        finally:
            cluster.close()

    @staticmethod
    def get_cli_commands() -> list[CLICommand]:
        """``hybrid kubernetes …``."""
        return commands()

    def debug_dump(self) -> str:
        """The base class's lines, then the pods, and what is said to the cluster."""
        lines = [super().debug_dump(), f"  pods     {', '.join(self._pods.told()) or 'none'}"]
        if self._backend is not None:
            lines += [f"  {line}" for line in self._backend.told()]
        return "\n".join(lines)
