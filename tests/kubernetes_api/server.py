"""One cluster in one event loop: the API server on its port, the kubelet, and the switches' own port."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from tests.kubernetes_api import certificates
from tests.kubernetes_api.api import Api
from tests.kubernetes_api.http import Connection, Listener, Request, Response
from tests.kubernetes_api.kubelet import RUN, Kubelet
from tests.kubernetes_api.logs import LogReader
from tests.kubernetes_api.statuses import ApiError
from tests.kubernetes_api.store import Key
from tests.kubernetes_api.switches import Switches

CONTROL = "/_fake/"


@dataclass(frozen=True, slots=True)
class Setup:
    """How a cluster is made; it survives JSON.

    ``kubelet``: ``run``, ``pretend`` or ``off``; ``env``: environment of every container, beneath its own;
    ``entrypoint``: command of containers without one; ``start_delay``, ``bookmark_interval``: seconds;
    ``port`` 0: any free one; ``folder``: of whoever made the cluster, for its containers, and
    for the certificate with ``tls``.
    """

    token: str
    kubelet: str = RUN
    env: dict[str, str] = field(default_factory=dict)
    namespaces: tuple[str, ...] = ("default",)
    entrypoint: tuple[str, ...] = ()
    start_delay: float = 0.0
    bookmark_interval: float = 1.0
    port: int = 0
    folder: str = ""
    tls: bool = False


class Server:
    """Lives in the loop that runs :meth:`open`."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.api = Api(setup.token, tuple(setup.namespaces), setup.bookmark_interval)
        self.kubelet = Kubelet(
            self.api.registry,
            setup.kubelet,
            setup.env,
            list(setup.entrypoint),
            setup.start_delay,
            Path(setup.folder),
        )
        self.logs = self.api.logs = LogReader(self.kubelet.logs)
        tls = certificates.server_context(Path(setup.folder)) if setup.tls else None
        self.listener = Listener(self.api.handle, tls)
        self.listener.port = setup.port
        self.control = Listener(self._control)
        self.switches = Switches()
        self.switches.server = self

    async def open(self) -> None:
        await self.listener.open()

    async def close(self) -> None:
        """Every process of a pod is dead then. Idempotent."""
        await self.listener.close()
        await self.control.close()
        await self.kubelet.close()

    def log(self, name: str, container: str) -> str:
        """See :meth:`Switches.log`."""
        found = [log for (uid, of), log in self.kubelet.logs.items() if of == container and self._name(uid) == name]
        return b"".join(log.text() for log in found).decode(errors="replace")

    def signal(self, key: Key, signum: int) -> None:
        for container in self.kubelet.run_of(key).started():
            if container.running and container.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(container.pid, signum)

    def _name(self, uid: str) -> str:
        return self.kubelet.names.get(uid, "")

    async def _control(self, request: Request, connection: Connection) -> Response:
        """POST ``/_fake/METHOD`` with ``[args, kwargs]``; ``/_fake/listen`` and ``/_fake/refuse`` besides."""
        name = request.path.removeprefix(CONTROL)
        try:
            if name in {"listen", "refuse"}:
                await (self.listener.open() if name == "listen" else self.listener.close())
                return Response(200, None)
            args, kwargs = msgspec.json.decode(request.body)
            return Response(200, getattr(self.switches, name)(*args, **kwargs))
        except ApiError as error:
            return error.response()
        except Exception as error:
            return Response(500, {"message": f"{type(error).__name__}: {error}"})


def setup_from(data: bytes) -> Setup:
    return msgspec.json.decode(data, type=Setup)


def setup_json(setup: Setup) -> bytes:
    return msgspec.json.encode(asdict(setup))
