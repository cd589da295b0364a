"""The life of one pod on its node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.kubernetes_api import podstatus
from tests.kubernetes_api.containers import Container, environment, expanded
from tests.kubernetes_api.podstatus import timestamp
from tests.kubernetes_api.statuses import ApiError
from tests.kubernetes_api.store import Object

if TYPE_CHECKING:
    from tests.kubernetes_api.kubelet import Behaviour, Kubelet

NODE, HOST_IP = "node-1", "10.0.0.1"
_NO_NODES = (
    "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found."
)
_IMAGE_MESSAGES = {
    "ErrImagePull": 'failed to pull and unpack image "{image}": failed to resolve reference "{image}": not found',
    "ImagePullBackOff": 'Back-off pulling image "{image}"',
    "CreateContainerConfigError": 'secret "missing" not found',
    "InvalidImageName": 'Failed to apply default image tag "{image}": couldn\'t parse image name',
}


class PodRun:
    """What the kubelet knows of one pod. A pod that is deleted before it runs is removed at once, or by the API."""

    def __init__(self, kubelet: Kubelet, pod: Object, behaviour: Behaviour) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self.containers = [Container(spec) for spec in pod["spec"]["containers"]]
        self.inits = [Container(spec) for spec in pod["spec"].get("initContainers") or []]
        self.lost = False
        """The node is gone: nobody hears of what goes on there."""
        self.verdict: Callable[[Object], Object] | None = None
        """Makes the last status another one than the containers' exit codes would."""
        self._kubelet = kubelet
        self._behaviour = behaviour
        self._leaving = asyncio.Event()
        """It is not to go on, wherever it is."""
        self._deleting = False
        self._timer: asyncio.TimerHandle | None = None

    def started(self) -> list[Container]:
        """Containers that run, or did."""
        return [one for one in [*self.inits, *self.containers] if one.started_at is not None]

    # its life

    async def live(self) -> None:
        """From the scheduler's queue to the last status, and to its removal if that was asked for."""
        try:
            if await self._scheduled() and await self._images_pulled():
                await self._run()
        except ApiError as error:
            if error.code != 404:
                raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
        if self.verdict is not None:
            self._say(self.verdict)
        if self._deleting and not self.lost:
            self._remove()
        self._kubelet.runs.pop(self.uid, None)

    async def _scheduled(self) -> bool:
        if self._behaviour.kind == "unschedulable":
            message = self._behaviour.message or _NO_NODES
            self._say(lambda status: podstatus.unschedulable(status, message))
            await self._held()
        if self._leaving.is_set():
            return False
        self._kubelet.registry.bind(self.key, NODE)
        return True

    async def _images_pulled(self) -> bool:
        """Or whatever else keeps containers from being started."""
        begun = {"hostIP": HOST_IP, "hostIPs": [{"ip": HOST_IP}], "startTime": timestamp()}
        self._say(lambda status: podstatus.with_containers({**status, **begun}, self.containers, self.inits))
        kind = self._behaviour.kind
        if kind == "never_start":
            await self._held()
        elif kind not in {"unschedulable", "run", "pretend"}:
            self._wait_for(kind, self._behaviour.message)
            await self._held()
        elif self._kubelet.start_delay:
            await self._left_within(self._kubelet.start_delay)
        return not self._leaving.is_set()

    async def _run(self) -> None:
        address = self._kubelet.next_address()
        self._say(lambda status: {**status, "podIP": address, "podIPs": [{"ip": address}]})
        for container in self.inits:
            if not await self._start(container):
                return
            self._say_containers()
            await container.ended.wait()
            if container.exit_code or self._leaving.is_set():
                self._say_containers()
                return
        for container in self.containers:
            if not await self._start(container):
                return
        await self._until_ended()

    async def _start(self, container: Container) -> bool:
        """False when the pod was deleted before it could."""
        while True:
            command = [
                *(container.spec.get("command") or self._kubelet.entrypoint),
                *(container.spec.get("args") or []),
            ]
            try:
                variables = environment(container.spec, self._pod_now(), self._kubelet.secrets)
                break
            except KeyError as error:
                what, _, key = error.args[0].partition("/")
                self._wait_for("CreateContainerConfigError", f"couldn't find key {key} in {what}")
                await self._left_within(0.5)
                if self._leaving.is_set():
                    return False
        self._kubelet.add_log(self.uid, container)
        no_command = not (container.spec.get("command") or self._kubelet.entrypoint)
        if self._behaviour.kind == "pretend" or self._kubelet.kind == "pretend" or no_command:
            container.pretend()
        else:
            container.start(expanded(command, variables), {**self._kubelet.env, **variables}, self._kubelet.folder)
        return True

    async def _until_ended(self) -> None:
        self._say_containers()
        for container in self.containers:
            self._kubelet.spawn(self._when_ended(container))
        await asyncio.gather(*(container.ended.wait() for container in self.containers))
        self._say_containers()

    async def _when_ended(self, container: Container) -> None:
        await container.ended.wait()
        self._say_containers()

    # what is done to it

    def terminate(self, grace: float) -> None:
        """SIGTERM, and SIGKILL ``grace`` seconds later."""
        self._deleting = True
        self.stop(grace)

    def stop(self, grace: float) -> None:
        """The same, of a pod that stays to be seen."""
        if self.lost:
            return
        self._leaving.set()
        for container in self.started():
            container.terminate()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(grace, self.kill)

    def kill(self) -> None:
        self._leaving.set()
        for container in self.started():
            container.kill()

    def vanished(self) -> None:
        """The API server knows it no more: a kubelet kills what is not to be."""
        if not self.lost:
            self.kill()

    def lose(self) -> None:
        """Its node is cut off; the containers run on."""
        self.lost = True

    # what is said of it

    def _pod_now(self) -> Object:
        return self._kubelet.registry.get(self.key)

    def _say(self, change: Callable[[Object], Object]) -> None:
        """As long as the API server knows this very pod."""
        pod = self._kubelet.registry.store.get(self.key)
        if not self.lost and pod is not None and pod["metadata"]["uid"] == self.uid:
            self._kubelet.registry.change_status(self.key, change)

    def _say_containers(self) -> None:
        def change(status: Object) -> Object:
            made = podstatus.with_containers(status, self.containers, self.inits)
            over = self.verdict is not None and made["phase"] in {"Succeeded", "Failed"}
            return self.verdict(made) if over and self.verdict is not None else made

        self._say(change)

    def _wait_for(self, reason: str, message: str) -> None:
        for container in self.containers:
            text = message or _IMAGE_MESSAGES.get(reason, "").format(image=container.spec.get("image", ""))
            container.waiting = (reason, text)
        self._say_containers()

    def _remove(self) -> None:
        pod = self._kubelet.registry.store.get(self.key)
        if pod is not None and pod["metadata"]["uid"] == self.uid:
            self._kubelet.registry.remove(self.key)

    async def _held(self) -> None:
        """Until it is released, or deleted."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._behaviour.released, self._leaving)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        for container in [*self.inits, *self.containers]:
            container.waiting = ("ContainerCreating", "")

    async def _left_within(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._leaving.wait(), seconds)
        except TimeoutError:
            return
