"""All that a test can see and turn in a cluster. It works alike on one in a thread and on one in another process."""

from __future__ import annotations

from typing import Any

from tests.kubernetes_api.api_switches import ApiSwitches
from tests.kubernetes_api.pod_switches import PodSwitches
from tests.kubernetes_api.store import Object
from tests.kubernetes_api.switching import DEFAULT, switch


class Switches(ApiSwitches, PodSwitches):
    """The faults of its bases, and what is there."""

    @switch
    def pods(self, namespace: str | None = None, selector: str = "") -> list[Object]:
        """All pods, as the API would list them."""
        query = {"labelSelector": selector}
        return list(self.server.api.registry.page(namespace, query)["items"])

    @switch
    def pod(self, name: str, namespace: str = DEFAULT) -> Object | None:
        """``None``: not there."""
        return self.server.api.registry.store.get((namespace, name))

    @switch
    def pids(self) -> dict[str, int]:
        """Of the containers that run as processes: ``namespace/pod/container`` to the first process."""
        return {
            "/".join((*run.key, container.name)): container.pid
            for run in self.server.kubelet.runs.values()
            for container in run.started()
            if container.running and container.pid is not None
        }

    @switch
    def log(self, name: str, container: str = "base") -> str:
        """What containers of this name have written in pods of this name, deleted ones too; the last pod's last."""
        return self.server.log(name, container)

    @switch
    def journal(self, verb: str | None = None, resource: str | None = None) -> list[dict[str, Any]]:
        """Requests in their order: ``verb resource namespace name path time status query``."""
        return self.server.api.journal.found(verb, resource)

    @switch
    def counters(self) -> dict[str, int]:
        """How many requests there were, e.g. of ``"create pods"``."""
        return dict(self.server.api.journal.counters)

    @switch
    def clear_journal(self) -> None:
        self.server.api.journal.clear()

    @switch
    def live_watches(self) -> int:
        """Streams that are open now."""
        return len(self.server.api.watches.live)

    @switch
    def revision(self) -> int:
        """The newest ``resourceVersion``."""
        return self.server.api.registry.store.revision
