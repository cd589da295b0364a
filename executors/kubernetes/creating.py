"""Creates pods, in threads of its own and at a rate that the API server is well with."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from executors.context import NoStats, Stats
from executors.kubernetes.backlog import Backlog, Job
from executors.kubernetes.building.naming import ATTEMPT_ID
from executors.kubernetes.client import Cluster, Pod
from executors.kubernetes.crew import Crew
from executors.kubernetes.errors import ConflictError, KubernetesError, NotFoundError
from executors.kubernetes.pacing import LONGEST_RETRY_AFTER, Fate, Pace, chance, is_uncertain, pause
from executors.kubernetes.quota import QuotaWaiters
from executors.workload import TaskInstanceKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Created:
    """The API server has made the pod."""

    key: TaskInstanceKey
    pod: Pod = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exists:
    """The attempt's pod was there: an earlier call had made it."""

    key: TaskInstanceKey
    pod: Pod = field(repr=False)


@dataclass(frozen=True, slots=True)
class Requeued:
    """It did not work yet, for a ``reason`` that is new, and is tried again after ``wait`` seconds."""

    key: TaskInstanceKey
    reason: str
    wait: float


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no pod from here, and will be none."""

    key: TaskInstanceKey
    reason: str
    uncertain: bool = False
    """Unless a call that got no answer has made it."""


Result: TypeAlias = Created | Exists | Requeued | Refused


@dataclass(frozen=True, slots=True)
class _Order:
    namespace: str
    manifest: Mapping[str, Any] = field(repr=False)
    """With the start ticket in it, as all pods have it: none is shown by a ``repr``."""


class Creator:
    """Takes manifests and tells what became of them. No method waits for the API server.

    :param concurrency: calls at once, at most; each complaint of the server halves it.
    :param retries: times that a creation is tried again where that may help; -1: for ever.
    :param wake: called from the creating threads when :meth:`take` has something, once until it is taken.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        concurrency: int,
        retries: int = -1,
        wake: Callable[[], None] = lambda: None,
        stats: Stats | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._retries = retries
        self._wake = wake
        self._stats = stats or NoStats()
        self._clock = clock
        self._backlog: Backlog[TaskInstanceKey, _Order] = Backlog(Pace(concurrency))
        self._results: list[Result] = []
        self._trouble: str | None = None
        self._quota: QuotaWaiters[TaskInstanceKey] = QuotaWaiters()
        short = cluster.name.rpartition(".")[2]
        self._crew = Crew(f"kube-create-{short}", concurrency, self._backlog, self._work, clock)

    def submit(self, key: TaskInstanceKey, namespace: str, manifest: Mapping[str, Any]) -> None:
        """Have the pod made. ``manifest`` must not be changed any more. Idempotent per key."""
        with self._crew.changed:
            self._backlog.add(key, _Order(namespace, manifest))
            self._crew.awaken()

    def cancel(self, key: TaskInstanceKey) -> bool:
        """Forget the attempt. True: it has no pod from here, and will have none.

        False: delete it by its name; and where :meth:`take` tells of it later, once more.
        """
        with self._crew.changed:
            if (job := self._backlog.find(key)) is not None:
                self._quota.remove(job.work.namespace, key)
            return self._backlog.drop(key)

    def take(self) -> list[Result]:
        """What has happened since the last time."""
        with self._crew.changed:
            results, self._results = self._results, []
        return results

    @property
    def pending(self) -> int:
        """Pods that are yet to be made."""
        return len(self._backlog)

    @property
    def limit(self) -> int:
        """Calls that may be made at once now."""
        return self._backlog.pace.limit

    @property
    def trouble(self) -> str | None:
        """Why the API server cannot be reached, as far as is known; None where there is nothing to ask it for."""
        return self._trouble if self.pending else None

    def close(self, timeout: float = 0.2) -> bool:
        """Make no more pods. True: no call is left; else :meth:`Cluster.close` ends them. Idempotent."""
        return self._crew.close(timeout)

    # -- in the creating threads -----------------------------------------------------------------------------------

    def _work(self, job: Job[TaskInstanceKey, _Order]) -> None:
        began = self._clock()
        try:
            outcome: Result | KubernetesError = self._create(job)
        except KubernetesError as error:
            outcome = error
        except Exception as error:
            log.exception("creating the pod of %s", job.key)
            outcome = Refused(job.key, f"{type(error).__name__}: {error}")
        self._stats.timing("kubernetes_executor.pod_creation", self._clock() - began)
        with self._crew.changed:
            is_news = not self._results
            self._settle(job, outcome)
            is_news = is_news and bool(self._results)
            self._crew.changed.notify()
        if is_news:
            self._wake()

    def _create(self, job: Job[TaskInstanceKey, _Order]) -> Result:
        namespace, manifest = job.work.namespace, job.work.manifest
        try:
            return Created(job.key, self._cluster.create_pod(namespace, manifest))
        except ConflictError as error:
            if not error.already_exists:
                raise
            return self._existing(job.key, namespace, manifest, error)

    def _existing(
        self, key: TaskInstanceKey, namespace: str, manifest: Mapping[str, Any], error: ConflictError
    ) -> Result:
        name = manifest["metadata"]["name"]
        try:
            pod = self._cluster.read_pod(namespace, name)
        except NotFoundError:
            gone = f"the pod {namespace}/{name} has just been deleted"
            raise ConflictError("create a pod", error.status, "Conflict", gone) from error
        if _attempt(pod) == _attempt(manifest):
            return Exists(key, pod)
        return Refused(key, f"a pod {namespace}/{name} is there, and is not this attempt's")

    # -- holding the lock ------------------------------------------------------------------------------------------

    def _settle(self, job: Job[TaskInstanceKey, _Order], outcome: Result | KubernetesError) -> None:
        now = self._clock()
        error = outcome if isinstance(outcome, KubernetesError) else None
        verdict = self._backlog.pace.learn(error, job.began, now, chance())
        self._trouble = str(error) if verdict is Fate.SILENT else None
        if not isinstance(outcome, KubernetesError):
            self._end(job, outcome)
        elif verdict is Fate.REFUSED:
            self._end(job, Refused(job.key, str(outcome), job.uncertain))
        elif 0 <= self._retries < job.tries:
            uncertain = job.uncertain or is_uncertain(outcome)
            self._end(job, Refused(job.key, f"{outcome} (tried {job.tries} times)", uncertain))
        else:
            self._requeue(job, outcome, self._wait(job, outcome, verdict), now)

    def _wait(self, job: Job[TaskInstanceKey, _Order], error: KubernetesError, verdict: Fate | None) -> float:
        """Seconds that this one waits, besides what all wait."""
        if verdict in (Fate.SILENT, Fate.THROTTLED):
            return 0.0
        if verdict is Fate.QUOTA:
            return self._quota.add(job.work.namespace, job.key, job.tries, chance())
        told = min(getattr(error, "retry_after", None) or 0.0, LONGEST_RETRY_AFTER)
        return max(told, pause(job.tries, chance()))

    def _requeue(self, job: Job[TaskInstanceKey, _Order], error: KubernetesError, wait: float, now: float) -> None:
        reason, before = str(error), job.reason
        due = max(now + wait, self._backlog.pace.open_at)
        if not self._backlog.again(job, now + wait, reason, is_uncertain(error)):
            self._quota.remove(job.work.namespace, job.key)
        elif reason != before:
            self._results.append(Requeued(job.key, reason, due - now))

    def _end(self, job: Job[TaskInstanceKey, _Order], result: Result) -> None:
        self._backlog.done(job)
        self._quota.remove(job.work.namespace, job.key)
        if isinstance(result, Created):
            for key in self._quota.followers(job.work.namespace):
                self._backlog.hasten(key, self._clock())
        if not (job.dropped and isinstance(result, Refused)):
            self._results.append(result)


def _attempt(pod: Mapping[str, Any]) -> Any:
    return ((pod.get("metadata") or {}).get("annotations") or {}).get(ATTEMPT_ID)
