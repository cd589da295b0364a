"""Deletes and labels pods, in threads of its own, until it is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from executors.context import NoStats, Stats
from executors.kubernetes.backlog import Backlog, Job
from executors.kubernetes.building.naming import DONE
from executors.kubernetes.client import Cluster
from executors.kubernetes.crew import Crew
from executors.kubernetes.errors import ConflictError, KubernetesError, NotFoundError
from executors.kubernetes.pacing import Fate, Pace, chance, fate, pause

CONCURRENCY = 4
_PREPARATIONS = 3
_ENDING = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Target:
    """One thing that is to happen to one pod; a ``uid`` of "" means whichever pod has the name."""

    verb: str
    namespace: str
    name: str
    uid: str


_Before: TypeAlias = Callable[[], None] | None


class Deleter:
    """No method but :meth:`close` waits for the API server. What is asked for twice is done once.

    A pod that is gone, or whose name another one has by now, is done. What the server refuses for good is logged and
    given up; everything else is tried again for as long as it takes.

    :param grace: ``grace_period_seconds`` of each deletion; by default the pod's own.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        grace: int | None = None,
        concurrency: int = CONCURRENCY,
        stats: Stats | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._grace = grace
        self._stats = stats or NoStats()
        self._clock = clock
        self._trouble: str | None = None
        self._backlog: Backlog[_Target, _Before] = Backlog(Pace(concurrency))
        short = cluster.name.rpartition(".")[2]
        self._crew = Crew(f"kube-delete-{short}", concurrency, self._backlog, self._work, clock)

    def delete(self, namespace: str, name: str, uid: str | None = None, *, before: _Before = None) -> None:
        """Delete the pod. ``before`` is called first, in the deleting thread: again, a few times, where it raises a
        :class:`KubernetesError` that may pass. In the end the pod is deleted all the same.
        """
        self._add(_Target("delete", namespace, name, uid or ""), before)

    def label_done(self, namespace: str, name: str, uid: str | None = None, *, before: _Before = None) -> None:
        """Label the pod as one that has ended and is kept, so that nobody watches it any more. ``before``: as above."""
        self._add(_Target("label", namespace, name, uid or ""), before)

    @property
    def pending(self) -> int:
        """What is yet to be done."""
        return len(self._backlog)

    @property
    def trouble(self) -> str | None:
        """Why the API server cannot be reached, as far as is known; None where there is nothing to ask it for."""
        return self._trouble if self.pending else None

    def close(self, timeout: float = 0.0) -> bool:
        """Go on for up to ``timeout`` seconds, or until nothing is left, then stop. True: no call is left. Idempotent.

        Blocks for that long at most, and a fifth of a second more for the threads.
        """
        deadline = time.monotonic() + timeout
        with self._crew.changed:
            while len(self._backlog) and not self._crew.closed and (left := deadline - time.monotonic()) > 0:
                self._crew.settled.wait(left)
        return self._crew.close(_ENDING)

    def _add(self, target: _Target, before: _Before) -> None:
        with self._crew.changed:
            if not self._crew.closed and self._backlog.add(target, before):
                self._crew.awaken()

    # -- in the deleting threads -----------------------------------------------------------------------------------

    def _work(self, job: Job[_Target, _Before]) -> None:
        began = self._clock()
        try:
            self._prepare(job)
            self._act(job.key)
            failure = None
        except KubernetesError as error:
            failure = error
        except Exception as error:
            log.exception("pod %s/%s", job.key.namespace, job.key.name)
            failure = KubernetesError(f"{type(error).__name__}: {error}")
        with self._crew.changed:
            status = self._settle(job, failure)
            self._crew.changed.notify()
            self._crew.settled.notify_all()
        metric = f"kubernetes_executor.{'pod_deletion' if job.key.verb == 'delete' else 'pod_patching'}"
        self._stats.timing(metric, self._clock() - began)
        self._stats.incr(f"{metric}_status.{status}")

    def _prepare(self, job: Job[_Target, _Before]) -> None:
        """Once, and a few times more where that may help."""
        if job.work is None:
            return
        try:
            job.work()
        except KubernetesError as error:
            if job.tries < _PREPARATIONS and fate(error) is not Fate.REFUSED:
                raise
            log.info("before the deletion of pod %s/%s: %s", job.key.namespace, job.key.name, error)
        except Exception:
            log.exception("before the deletion of pod %s/%s", job.key.namespace, job.key.name)
        job.work = None

    def _act(self, target: _Target) -> None:
        uid = target.uid or None
        try:
            if target.verb == "delete":
                self._cluster.delete_pod(target.namespace, target.name, uid=uid, grace=self._grace)
            else:
                self._cluster.patch_labels(target.namespace, target.name, {DONE: "True"}, uid=uid)
        except NotFoundError:
            pass
        except ConflictError:
            if not uid:
                raise

    def _settle(self, job: Job[_Target, _Before], failure: KubernetesError | None) -> str:
        """What is counted."""
        now = self._clock()
        verdict = self._backlog.pace.learn(failure, job.began, now, chance())
        self._trouble = str(failure) if verdict is Fate.SILENT else None
        if failure is not None and verdict is not Fate.REFUSED:
            self._backlog.again(job, now + pause(job.tries, chance()), str(failure), uncertain=True)
            return "retried"
        if failure is not None:
            log.warning("pod %s/%s stays as it is: %s", job.key.namespace, job.key.name, failure)
        self._backlog.done(job)
        return "failed" if failure is not None else "success"
