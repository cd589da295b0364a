"""What a test can turn on the nodes: what becomes of pods."""

from __future__ import annotations

import signal

from tests.kubernetes_api import podstatus
from tests.kubernetes_api.kubelet import Behaviour
from tests.kubernetes_api.switching import DEFAULT, Turned, switch

_DELETED_BY_GC = "PodGC: node no longer exists"


class PodSwitches(Turned):
    """``name`` is a pod's."""

    # ---- what new pods meet

    @switch
    def behave(
        self, kind: str, *, selector: str = "", name: str = "", message: str = "", times: int | None = None
    ) -> None:
        """Of new pods, those with the labels ``selector`` and a ``name`` (regular expression):

        ``unschedulable``; ``never_start`` (ContainerCreating for ever); ``run``; ``pretend`` (runs without a process);
        or the reason for which their containers wait: ``ErrImagePull``, ``ImagePullBackOff``,
        ``CreateContainerConfigError``, ``InvalidImageName`` …, with ``message`` instead of the usual one.
        The latest that meets a pod counts.
        """
        self.server.kubelet.behaviours.append(Behaviour(kind, selector, name, message, times))

    @switch
    def release(self) -> None:
        """Undo :meth:`behave`; pods that were held go on."""
        self.server.kubelet.release()

    @switch
    def set_secret(self, name: str, key: str, value: str) -> None:
        """Of a secret or config map, for ``valueFrom``; a pod that misses one waits: CreateContainerConfigError."""
        self.server.kubelet.secrets[f"{name}/{key}"] = value

    # ---- what is done to a pod

    @switch
    def finish(self, name: str, exit_code: int = 0, namespace: str = DEFAULT, container: str | None = None) -> None:
        """End the containers of a pod that pretends, or one of them."""
        for one in self.server.kubelet.run_of((namespace, name)).started():
            if one.running and container in (None, one.name):
                one.finish(exit_code)

    @switch
    def evict(self, name: str, namespace: str = DEFAULT, message: str = "", grace: float = 0.0) -> None:
        """By the kubelet, whose node runs out of memory. The pod stays, Failed."""
        text = message or "The node was low on resource: memory. Threshold quantity: 100Mi, available: 42Mi."
        run = self.server.kubelet.run_of((namespace, name))
        run.verdict = lambda status: podstatus.failed(
            podstatus.disrupted(status, "TerminationByKubelet", text), "Evicted", text
        )
        run.stop(grace)

    @switch
    def shut_down_node(self, name: str, namespace: str = DEFAULT, grace: float = 0.0) -> None:
        """The node of this pod is shut down in good order. The pod stays, Failed."""
        text = "Pod was terminated in response to imminent node shutdown."
        run = self.server.kubelet.run_of((namespace, name))
        run.verdict = lambda status: podstatus.failed(
            podstatus.disrupted(status, "TerminationByKubelet", text), "Terminated", text
        )
        run.stop(grace)

    @switch
    def preempt(self, name: str, namespace: str = DEFAULT) -> None:
        """By the scheduler, for a pod of higher priority: condition, then graceful deletion."""
        text = "default-scheduler: preempting to accommodate a higher priority pod"
        self._disrupt(name, namespace, "PreemptionByScheduler", text)
        self.server.api.registry.delete((namespace, name), {})

    @switch
    def evict_by_api(self, name: str, namespace: str = DEFAULT) -> None:
        """``kubectl drain``: condition, then graceful deletion."""
        self._disrupt(name, namespace, "EvictionByEvictionAPI", "Eviction API: evicting")
        self.server.api.registry.delete((namespace, name), {})

    @switch
    def lose_node(self, name: str, namespace: str = DEFAULT, *, kill: bool = False, stuck: bool = False) -> None:
        """The node of this pod is no more, or cut off; without ``kill`` its processes run on, heard by nobody.

        Garbage collection removes the pod at once; ``stuck``: it stays Terminating until :meth:`collect`.
        """
        run = self.server.kubelet.run_of((namespace, name))
        self.server.logs.unreachable.add(run.uid)
        if stuck:
            text = "Taint manager: deleting due to NoExecute taint"
            self._disrupt(name, namespace, "DeletionByTaintManager", text)
        run.lose()
        if kill:
            run.kill()
        if stuck:
            self.server.api.registry.delete((namespace, name), {})
        else:
            self._collect(name, namespace)

    @switch
    def collect(self, name: str, namespace: str = DEFAULT) -> None:
        """The garbage collector removes a pod of a lost node."""
        self._collect(name, namespace)

    def _collect(self, name: str, namespace: str) -> None:
        registry = self.server.api.registry
        registry.change_status(
            (namespace, name),
            lambda status: {**podstatus.disrupted(status, "DeletionByPodGC", _DELETED_BY_GC), "phase": "Failed"},
        )
        registry.delete((namespace, name), {"gracePeriodSeconds": 0})

    @switch
    def oom_kill(self, name: str, namespace: str = DEFAULT, container: str | None = None) -> None:
        """SIGKILL, exit code 137, reason OOMKilled."""
        for one in self.server.kubelet.run_of((namespace, name)).started():
            if one.running and container in (None, one.name):
                one.reason = "OOMKilled"
                one.kill()

    @switch
    def signal_pod(self, name: str, signum: int = signal.SIGKILL, namespace: str = DEFAULT) -> None:
        """To the first process of each container, unknown to the kubelet."""
        self.server.signal((namespace, name), signum)

    @switch
    def delete(self, name: str, namespace: str = DEFAULT, grace: int | None = None) -> None:
        """By hand: ``kubectl delete pod``; ``grace=0``: ``--force``."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        self.server.api.registry.delete((namespace, name), options)

    def _disrupt(self, name: str, namespace: str, reason: str, message: str) -> None:
        self.server.api.registry.get((namespace, name))
        self.server.api.registry.change_status(
            (namespace, name), lambda status: podstatus.disrupted(status, reason, message)
        )
