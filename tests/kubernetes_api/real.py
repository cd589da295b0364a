"""A real kube-apiserver with its etcd, for the tests that verify the fake. There is no kubelet and no controller.

``HYBRID_TEST_KUBE_APISERVER`` and ``HYBRID_TEST_ETCD`` name the binaries; ``openssl`` makes the key of the service
accounts.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

PATIENCE = 90.0
"""Seconds for both servers to begin."""
_POLL = 0.1


class RealCluster:
    """Both servers on free ports of the loopback interface, with everything they write in one folder of their own.

    What it offers is named as on :class:`~tests.kubernetes_api.FakeCluster`.
    """

    def __init__(self, apiserver: str, etcd: str) -> None:
        self.token = secrets.token_urlsafe(24)
        self._folder = Path(tempfile.mkdtemp(prefix="hybrid-kube-"))
        self.port, self._etcd_port, peer_port = _free_ports(3)
        self._etcd_url = f"http://127.0.0.1:{self._etcd_port}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._certificate = self._folder / "certificates" / "apiserver.crt"
        self._powerless: dict[str, str] = {"powerless": secrets.token_urlsafe(24)}
        try:
            self._start("etcd", self._etcd_command(etcd, f"http://127.0.0.1:{peer_port}"))
            self._wait(f"{self._etcd_url}/health")
            self._age()
            self._start("kube-apiserver", self._apiserver_command(apiserver))
            self._wait(f"{self.url}/readyz")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def add_user(self, name: str) -> str:
        """Say the token of a user without any rights; ``powerless`` is the only one."""
        return self._powerless[name]

    def add_namespace(self, name: str) -> None:
        self._post("/api/v1/namespaces", {"metadata": {"name": name}})

    def set_quota(self, pods: int, namespace: str) -> None:
        """A ResourceQuota named ``pods-quota``, with the status that no controller is there to write."""
        hard = {"pods": str(pods)}
        quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
        made = self._post(quotas, {"metadata": {"name": "pods-quota"}, "spec": {"hard": hard}})
        made["status"] = {"hard": hard, "used": {"pods": "0"}}
        self._ask(f"{self.url}{quotas}/pods-quota/status", made, method="PUT")

    def compact(self) -> int:
        """Make etcd forget its history. Say the revision."""
        head = self._ask(f"{self._etcd_url}/v3/kv/range", {"key": "AA=="})["header"]
        self._ask(f"{self._etcd_url}/v3/kv/compaction", {"revision": head["revision"], "physical": True})
        return int(head["revision"])

    def kubeconfig(self, path: Path, token: str = "") -> Path:
        """Write one, of the administrator by default. Say the path."""
        cluster = {"server": self.url, "certificate-authority": str(self._certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "real", "user": {"token": token or self.token}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "real"}}],
            "current-context": "real",
        }
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    def close(self) -> None:
        """SIGTERM, SIGKILL, and remove the files. Idempotent."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _age(self) -> None:
        """Let revision 1 be older than anything that kube-apiserver knows."""
        for _ in range(10):
            self._ask(f"{self._etcd_url}/v3/kv/put", {"key": "YQ==", "value": "YQ=="})

    def _etcd_command(self, etcd: str, peer_url: str) -> list[str]:
        urls = ["--listen-client-urls", self._etcd_url, "--advertise-client-urls", self._etcd_url]
        urls += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        return [etcd, "--data-dir", str(self._folder / "etcd"), "--initial-cluster", f"default={peer_url}", *urls]

    def _apiserver_command(self, apiserver: str) -> list[str]:
        key = self._folder / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        tokens = self._folder / "tokens.csv"
        users = [f"{token},{name},{name}" for name, token in self._powerless.items()]
        tokens.write_text("\n".join([f"{self.token},admin,admin,system:masters", *users, ""]))
        tokens.chmod(0o600)
        options = {
            "etcd-servers": self._etcd_url,
            "bind-address": "127.0.0.1",
            "secure-port": str(self.port),
            "cert-dir": str(self._certificate.parent),
            "token-auth-file": str(tokens),
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(key),
            "service-account-signing-key-file": str(key),
            "service-cluster-ip-range": "10.0.0.0/24",
        }
        return [apiserver, *(f"--{name}={value}" for name, value in options.items())]

    def _start(self, name: str, command: Sequence[str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder)
        self._processes.append(process)

    def _wait(self, url: str) -> None:
        """Until it answers. Raises ``RuntimeError`` with the log of who does not."""
        process, deadline = self._processes[-1], time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                self._ask(url)
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
        logs = "\n".join(log.read_text()[-2000:] for log in self._folder.glob("*.log"))
        raise RuntimeError(f"{url} does not answer:\n{logs}")

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask(self.url + path, body)

    def _ask(self, url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if url.startswith(self.url):
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        trust = None if url.startswith("http:") else ssl.create_default_context(cafile=self._certificate)
        try:
            with urllib.request.urlopen(request, timeout=10.0, context=trust) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise
        return json.loads(text) if text.startswith(b"{") else text


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
