"""The Role of ``deploy/kind`` allows what the client asks for, verb by verb, and nothing that it never asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from executors.kubernetes.client import Cluster
from executors.kubernetes.health import NEEDED
from executors.kubernetes.options import KubernetesOptions

ACCESS = Path(__file__).resolve().parents[3] / "deploy/kind/manifests/access.yaml"
PODS = re.compile(r"/api/v1/namespaces/one/(?P<resource>pods)(/(?P<name>two)(/(?P<sub>log))?)?")
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ANYBODY = {("POST", REVIEWS), ("GET", "/version")}
"""What Kubernetes allows whoever it knows: the role system:basic-user."""
CALLS: dict[str, Callable[[Cluster], Any]] = {
    "create_pod": lambda cluster: cluster.create_pod("one", {"metadata": {"name": "two"}}),
    "read_pod": lambda cluster: cluster.read_pod("one", "two"),
    "delete_pod": lambda cluster: cluster.delete_pod("one", "two", uid="1", grace=0),
    "patch_labels": lambda cluster: cluster.patch_labels("one", "two", {"a": "b"}),
    "list_pods": lambda cluster: cluster.list_pods("one", "a=b"),
    "watch_pods": lambda cluster: list(cluster.watch_pods("one", "a=b", "1", timeout=5)),
    "read_log": lambda cluster: cluster.read_log("one", "two", tail_lines=1),
    "may_i": lambda cluster: cluster.may_i("get", "pods", "one"),
    "version": lambda cluster: cluster.version(),
}


class Recorder(BaseHTTPRequestHandler):
    """Answers everything with an empty object, and remembers what was asked."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def answer(self) -> None:
        self.asked.append((self.command, self.path))
        self.rfile.read(int(self.headers.get("content-length", 0)))
        is_watch = "watch=true" in self.path
        body = b"" if is_watch else json.dumps({}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = answer  # noqa: N815  http.server finds them by these names

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    Recorder.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(configuration(f"http://127.0.0.1:{server.server_port}"))
        made = Cluster(KubernetesOptions(in_cluster=False, config_file=str(kubeconfig), namespace="one"))
        yield made
        made.close()
        server.shutdown()
        thread.join()


def configuration(url: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )


def right(method: str, path: str) -> tuple[str, str]:
    """Verb and resource of the request, as Kubernetes' authorizers derive them."""
    parts = urlsplit(path)
    found = PODS.fullmatch(parts.path)
    assert found, f"{method} {path}: neither a pod's path nor one that is open to everybody"
    resource = "/".join(part for part in (found["resource"], found["sub"]) if part)
    if method == "GET" and not found["name"]:
        return ("watch" if "true" in parse_qs(parts.query).get("watch", ()) else "list"), resource
    return {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}[method], resource


def allowed() -> set[tuple[str, str]]:
    (role,) = (document for document in yaml.safe_load_all(ACCESS.read_text()) if document["kind"] == "Role")
    return {
        (verb, resource)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if rule["apiGroups"] == [""]
    }


def test_every_call_of_the_client_is_made_below() -> None:
    others = {"close", "url"}
    assert {name for name in vars(Cluster) if not name.startswith("_")} == set(CALLS) | others


def test_the_role_allows_what_is_asked_for_and_no_more(cluster: Cluster) -> None:
    for call in CALLS.values():
        call(cluster)
    asked = {(method, path) for method, path in Recorder.asked if (method, urlsplit(path).path) not in ANYBODY}
    assert {right(method, path) for method, path in asked} == allowed()


def test_the_health_check_looks_for_exactly_that() -> None:
    named = {(verb, f"{resource}/{sub}" if sub else resource) for verb, resource, sub in NEEDED}
    assert named == allowed()
