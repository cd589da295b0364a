"""``FakeCluster``: a cluster for tests, in a thread of this process or in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.kubernetes_api import certificates
from tests.kubernetes_api.containers import kill_marked, kill_tree
from tests.kubernetes_api.kubelet import RUN
from tests.kubernetes_api.server import CONTROL, Server, Setup, setup_json
from tests.kubernetes_api.switches import Switches

PATIENCE = 15.0
"""Seconds for the server to begin, to end, or to turn a switch."""
_ROOT = Path(__file__).parents[2]


class FakeCluster(Switches):
    """One cluster; several are independent of one another. Use it as a context manager, or :meth:`close` it.

    :param in_process: run in a process of its own, which is quicker and can be killed.
    :param kubelet: ``run`` the pods' commands; ``pretend`` to; ``off``: pods stay as the API server made them.
    :param env: environment of all containers beneath their own, e.g. PYTHONPATH. ``PATH`` leads to this Python.
    :param entrypoint: command of containers that name none; without it they only pretend to run.
    :param start_delay: seconds that a pod takes to start.
    :param bookmark_interval: seconds between two bookmarks.
    :param tls: speak HTTPS; :attr:`certificate` is its own authority.
    """

    def __init__(
        self,
        *,
        in_process: bool = False,
        kubelet: str = RUN,
        env: Mapping[str, str] | None = None,
        namespaces: Iterable[str] = ("default",),
        entrypoint: Iterable[str] = (),
        start_delay: float = 0.0,
        bookmark_interval: float = 1.0,
        tls: bool = False,
    ) -> None:
        self.token = f"fake-{secrets.token_urlsafe(24)}"
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
        self._setup: dict[str, Any] = {
            "token": self.token,
            "kubelet": kubelet,
            "env": {"PATH": path, **(env or {})},
            "namespaces": tuple(namespaces),
            "entrypoint": tuple(entrypoint),
            "start_delay": start_delay,
            "bookmark_interval": bookmark_interval,
            "folder": tempfile.mkdtemp(prefix="hybrid-kubelet-"),
            "tls": tls,
        }
        if tls:
            certificates.make(Path(self._setup["folder"]))
        self._host: _Thread | _Process = (_Process if in_process else _Thread)(Setup(**self._setup))
        self.port = self._host.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"{'https' if self._setup['tls'] else 'http'}://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        """The file, with ``tls``."""
        return certificates.certificate(Path(self._setup["folder"]))

    @property
    def pid(self) -> int:
        """Of the process that the server is in."""
        return self._host.pid

    def kubeconfig(self, path: Path, token: str = "") -> Path:
        """Write one with the token, or another, and one context ``fake``. Say the path."""
        trust = {"certificate-authority": str(self.certificate)} if self._setup["tls"] else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url, **trust}}],
            "users": [{"name": "fake", "user": {"token": token or self.token}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "default"}}],
            "current-context": "fake",
        }
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The journal, whole; see :meth:`journal`."""
        return self.journal()

    def refuse(self) -> None:
        """Nothing listens on the port: connection refused. Open connections break. Pods run on."""
        self._host.ask("refuse")

    def listen(self) -> None:
        """Undo :meth:`refuse`."""
        self._host.ask("listen")

    def freeze(self) -> None:
        """SIGSTOP the server's process: it takes connections, and answers nobody. Only with ``in_process``."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL the server's process, and all pods: what it held is gone. Only with ``in_process``. Idempotent."""
        self._host.kill()

    def restart(self) -> None:
        """Begin anew: empty, on the same port, with the same token."""
        self._host.kill()
        kill_marked(self._setup["folder"])
        self._host = type(self._host)(Setup(**{**self._setup, "port": self.port}))

    def close(self) -> None:
        """Kill all pods and end the server. Idempotent."""
        self._host.close()
        kill_marked(self._setup["folder"])
        shutil.rmtree(self._setup["folder"], ignore_errors=True)

    def _dispatch(self, method: Callable[..., Any], args: Iterable[Any], kwargs: dict[str, Any]) -> Any:
        return self._host.call(method.__name__, list(args), kwargs)


class _Thread:
    """The server in a thread of this process."""

    pid = os.getpid()

    def __init__(self, setup: Setup) -> None:
        self._loop = asyncio.new_event_loop()
        self._errors: list[str] = []
        self._loop.set_exception_handler(lambda _, context: self._errors.append(repr(context)))
        self._server = Server(setup)
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-kubernetes", daemon=True)
        self._thread.start()
        self._run(self._server.open())
        self.port = self._server.listener.port

    def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        async def act() -> Any:
            return getattr(self._server.switches, name)(*args, **kwargs)

        return self._run(act())

    def ask(self, what: str) -> None:
        self._run(self._server.listener.open() if what == "listen" else self._server.listener.close())

    def kill(self) -> None:
        self.close()

    def close(self) -> None:
        if self._loop.is_closed():
            return
        try:
            self._run(self._server.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()
        if self._errors:
            raise AssertionError(f"the fake cluster failed: {self._errors}")

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)


class _Process:
    """The server in a process of its own, which ends when this one does."""

    def __init__(self, setup: Setup) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kubernetes_api"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(setup_json(setup) + b"\n")
        self._process.stdin.flush()
        ports = self._first_line()
        self.port, self._control = ports["port"], ports["control"]
        self.pid = self._process.pid

    def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        url = f"http://127.0.0.1:{self._control}{CONTROL}{name}"
        request = urllib.request.Request(url, json.dumps([args, kwargs]).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                message = json.load(error)["message"]
            raise RuntimeError(message) from None

    def ask(self, what: str) -> None:
        self.call(what, [], {})

    def kill(self) -> None:
        """And the pods: their processes are the server's children."""
        if self._process.poll() is None:
            kill_tree(self._process.pid)
        self.close()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            kill_tree(self._process.pid)
            self._process.wait(PATIENCE)
        self._process.stdout.close()

    def _first_line(self) -> dict[str, int]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            kill_tree(self._process.pid)
            self.close()
            raise RuntimeError("the fake cluster's process did not begin; see its stderr")
        found: dict[str, int] = json.loads(line)
        return found
