"""One API server, spoken to with the official client: what it answers, and what becomes of calls that go wrong."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plain_pods import SELECTOR, eventually, make_client, manifest

from executors.kubernetes import errors
from executors.kubernetes.client import Cluster
from executors.kubernetes.options import KubernetesOptions
from executors.kubernetes.pacing import is_uncertain
from tests.kubernetes_api import FakeCluster


def test_life_of_a_pod(client: Cluster) -> None:
    made = client.create_pod("default", manifest("a"))
    assert made["metadata"]["uid"]
    assert client.read_pod("default", "a") == made
    client.delete_pod("default", "a", uid=made["metadata"]["uid"], grace=0)
    with pytest.raises(errors.NotFoundError):
        client.read_pod("default", "a")
    client.delete_pod("default", "a")


def test_a_pod_of_that_name_is_there(client: Cluster) -> None:
    client.create_pod("default", manifest("a"))
    with pytest.raises(errors.ConflictError) as caught:
        client.create_pod("default", manifest("a"))
    assert caught.value.already_exists


def test_what_is_invalid_is_told_by_the_server(client: Cluster) -> None:
    with pytest.raises(errors.ApiError) as caught:
        client.create_pod("default", manifest("Not_A_Name"))
    assert caught.value.status == 422
    assert "Not_A_Name" in caught.value.message


def test_what_is_no_json_is_told_without_a_call(client: Cluster) -> None:
    with pytest.raises(errors.KubernetesError, match="create a pod: TypeError"):
        client.create_pod("default", {"metadata": {"name": object()}})


def test_another_pod_of_the_name_is_not_deleted(client: Cluster) -> None:
    made = client.create_pod("default", manifest("a"))
    with pytest.raises(errors.ConflictError):
        client.delete_pod("default", "a", uid="another")
    assert client.read_pod("default", "a") == made


def test_labels_come_and_go(client: Cluster) -> None:
    made = client.create_pod("default", manifest("a"))
    client.patch_labels("default", "a", {"done": "True", "tests": None}, uid=made["metadata"]["uid"])
    assert client.read_pod("default", "a")["metadata"]["labels"] == {"done": "True"}
    with pytest.raises(errors.ConflictError):
        client.patch_labels("default", "a", {"done": None}, uid="another")
    with pytest.raises(errors.NotFoundError):
        client.patch_labels("default", "b", {"done": None})


def test_lists_come_in_pages(client: Cluster) -> None:
    for number in range(5):
        client.create_pod("default", manifest(f"a{number}"))
    client.create_pod("other", manifest("b", namespace="other"))
    names, more = [], None
    for _ in range(3):
        page = client.list_pods("default", SELECTOR, limit=2, continue_=more)
        names += [pod["metadata"]["name"] for pod in page.items]
        more = page.continue_
        assert page.resource_version
    assert names == [f"a{number}" for number in range(5)]
    assert not more
    assert len(client.list_pods("", SELECTOR).items) == 6
    assert client.list_pods("", "tests=none").items == []


def test_a_page_that_is_too_old(quiet: FakeCluster, client: Cluster) -> None:
    for name in "abc":
        client.create_pod("default", manifest(name))
    page = client.list_pods("default", SELECTOR, limit=2)
    quiet.compact()
    with pytest.raises(errors.GoneError):
        client.list_pods("default", SELECTOR, limit=2, continue_=page.continue_)


def test_access_reviews_and_version(quiet: FakeCluster, client: Cluster) -> None:
    quiet.forbid("create", "pods", "other")
    quiet.forbid("get", "pods/log")
    assert client.may_i("create", "pods", "default")
    assert not client.may_i("create", "pods", "other")
    assert not client.may_i("get", "pods", "default", "log")
    assert client.version().startswith("v1.")
    with pytest.raises(errors.ForbiddenError, match="cannot create resource"):
        client.create_pod("other", manifest("a", namespace="other"))


def test_logs(cluster: FakeCluster, tmp_path: Path) -> None:
    client = make_client(cluster.kubeconfig(tmp_path / "kubeconfig"))
    talker = manifest("a")
    talker["spec"]["containers"][0]["command"] = ["sh", "-c", "echo one; echo two; echo drei ü"]
    client.create_pod("default", talker)
    eventually(lambda: client.read_pod("default", "a")["status"]["phase"] == "Succeeded", "success")
    assert client.read_log("default", "a").splitlines() == ["one", "two", "drei ü"]
    assert client.read_log("default", "a", tail_lines=1).strip() == "drei ü"
    assert client.read_log("default", "a", since="2020-01-01T00:00:00Z").startswith("one")
    assert cluster.journal("get", "pods/log")[-1]["query"]["sinceTime"] == "2020-01-01T00:00:00Z"
    with pytest.raises(errors.NotFoundError):
        client.read_log("default", "b")
    client.close()


# -- watches


def _names(events: Iterator[tuple[str, Any]], count: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for kind, pod in events:
        if kind != "BOOKMARK":
            found.append((kind, pod["metadata"]["name"]))
        if len(found) == count:
            break
    return found


def test_a_watch_tells_what_happens(quiet: FakeCluster, client: Cluster) -> None:
    version = client.list_pods("default", SELECTOR).resource_version
    watch = client.watch_pods("default", SELECTOR, version, timeout=10)
    client.create_pod("default", manifest("a"))
    client.create_pod("other", manifest("b", namespace="other"))
    client.patch_labels("default", "a", {"more": "yes"})
    events = iter(watch)
    assert _names(events, 2) == [("ADDED", "a"), ("MODIFIED", "a")]
    client.delete_pod("default", "a", grace=0)
    assert ("DELETED", "a") in _names(events, 2)
    watch.release()


def test_a_watch_has_bookmarks(quiet: FakeCluster, client: Cluster) -> None:
    """They tell of versions in which nothing has happened to the pods that are watched."""
    watch = client.watch_pods("default", SELECTOR, str(quiet.revision()), timeout=10)
    client.create_pod("other", manifest("a", namespace="other"))
    kind, about = next(iter(watch))
    assert kind == "BOOKMARK"
    assert about["metadata"]["resourceVersion"] == str(quiet.revision())
    watch.release()


@pytest.mark.parametrize("as_http", [False, True])
def test_a_watch_from_too_long_ago(quiet: FakeCluster, client: Cluster, as_http: bool) -> None:
    if as_http:
        quiet.refuse_old_watches()
    client.create_pod("default", manifest("a"))
    old = quiet.revision() - 1
    quiet.compact()
    with pytest.raises(errors.GoneError):
        next(iter(client.watch_pods("default", SELECTOR, str(old), timeout=10)))


def test_a_watch_that_is_cut_off(quiet: FakeCluster, client: Cluster) -> None:
    watch = client.watch_pods("default", SELECTOR, str(quiet.revision()), timeout=10)
    eventually(quiet.live_watches, "the watch")
    quiet.break_watches()
    with pytest.raises(errors.ClusterUnreachableError):
        list(watch)


def test_a_watch_that_is_silent(silent: socket.socket, tmp_path: Path) -> None:
    """A half-open connection is noticed a little after the time at which the server should have ended it."""
    client = make_client(_kubeconfig(tmp_path / "raw", f"http://127.0.0.1:{silent.getsockname()[1]}"))
    held: list[socket.socket] = []

    def begin() -> None:
        held.append(silent.accept()[0])
        held[0].recv(65536)
        held[0].sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    server = threading.Thread(target=begin)
    server.start()
    with pytest.raises(errors.ClusterTimeoutError):
        list(client.watch_pods("", "", "1", timeout=0.1))
    server.join()
    held[0].close()
    client.close()


def test_the_server_ends_a_watch(quiet: FakeCluster, client: Cluster) -> None:
    watch = client.watch_pods("default", SELECTOR, str(quiet.revision()), timeout=1)
    assert {kind for kind, _ in watch} <= {"BOOKMARK"}


def test_a_watch_is_closed_by_another_thread(quiet: FakeCluster, client: Cluster) -> None:
    quiet.mute_watches()
    watch = client.watch_pods("default", SELECTOR, str(quiet.revision()), timeout=600)
    told: list[Any] = []
    reader = threading.Thread(target=lambda: told.append(list(watch)))
    reader.start()
    watch.close()
    reader.join(10)
    assert not reader.is_alive()
    assert told == [[]]


def test_events_that_are_cut_in_pieces(silent: socket.socket, tmp_path: Path) -> None:
    """Chunks of HTTP end where they like, also within a character."""
    client = make_client(_kubeconfig(tmp_path / "raw", f"http://127.0.0.1:{silent.getsockname()[1]}"))
    lines = b"".join(
        json.dumps({"type": "ADDED", "object": {"metadata": {"name": name}}}, ensure_ascii=False).encode() + b"\n"
        for name in ("ä", "b" * 70_000, "c")
    )

    def serve() -> None:
        connection = silent.accept()[0]
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            pieces = [lines[:41], lines[41:42], lines[42:]]
            connection.sendall(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""]))

    server = threading.Thread(target=serve)
    server.start()
    names = [pod["metadata"]["name"] for _, pod in client.watch_pods("", "", "1", timeout=5)]
    assert [len(name) for name in names] == [1, 70_000, 1]
    server.join()
    client.close()


# -- what goes wrong


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def _kubeconfig(path: Path, url: str, **user: Any) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {"token": "hidden-token"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    return path


def test_nobody_listens(quiet: FakeCluster, client: Cluster) -> None:
    quiet.refuse()
    with pytest.raises(errors.ClusterUnreachableError, match=r"http://127.0.0.1:\d+ cannot be reached") as caught:
        client.version()
    assert not isinstance(caught.value, errors.ClusterTimeoutError)
    quiet.listen()
    assert client.version()


def test_a_server_that_hangs(silent: socket.socket, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    client = make_client(_kubeconfig(tmp_path / "raw", url), request_timeout=0.1)
    with pytest.raises(errors.ClusterTimeoutError, match="did not answer in time"):
        client.version()
    client.close()


def test_close_ends_the_calls_of_other_threads(silent: socket.socket, tmp_path: Path) -> None:
    client = make_client(_kubeconfig(tmp_path / "raw", f"http://127.0.0.1:{silent.getsockname()[1]}"))
    told: list[errors.KubernetesError] = []

    def call() -> None:
        try:
            client.create_pod("default", manifest("a"))
        except errors.KubernetesError as error:
            told.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    with silent.accept()[0] as connection:
        assert connection.recv(10)
        client.close()
        caller.join(10)
    assert not caller.is_alive()
    assert isinstance(told[0], errors.ClusterUnreachableError)
    with pytest.raises(errors.ClusterUnreachableError, match="is closed"):
        client.version()


def test_a_kept_connection_that_breaks_is_made_anew(quiet: FakeCluster, client: Cluster) -> None:
    client.version()
    quiet.drop(times=1)
    assert client.version()


def test_an_answer_that_was_lost_twice(quiet: FakeCluster, client: Cluster) -> None:
    """The pod is there all the same, and the next call finds it."""
    quiet.drop("create", resource="pods", times=1, after=True)
    with pytest.raises(errors.ConflictError) as caught:
        client.create_pod("default", manifest("a"))
    assert caught.value.already_exists


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b'{"kind": "Po', b"\xff"])
def test_an_answer_that_is_none_of_kubernetes(silent: socket.socket, tmp_path: Path, body: bytes) -> None:
    """A proxy's. What was asked may have happened: it is no refusal."""
    client = make_client(_kubeconfig(tmp_path / "raw", f"http://127.0.0.1:{silent.getsockname()[1]}"))

    def serve() -> None:
        connection = silent.accept()[0]
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    server = threading.Thread(target=serve)
    server.start()
    with pytest.raises(errors.ServerError) as caught:
        client.create_pod("default", manifest("a"))
    assert is_uncertain(caught.value)
    server.join()
    client.close()


def test_what_nobody_has_thought_of_is_no_refusal(client: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an error from within TLS that is no error of TLS."""

    def fail(*_: object, **__: object) -> None:
        raise ValueError("handshake not done yet")

    monkeypatch.setattr("urllib3.PoolManager.urlopen", fail)
    with pytest.raises(errors.ClusterUnreachableError, match="ValueError: handshake not done yet"):
        client.version()


def test_retry_after_is_told_and_not_slept(quiet: FakeCluster, client: Cluster) -> None:
    quiet.throttle(retry_after=600)
    with pytest.raises(errors.ThrottledError) as caught:
        client.create_pod("default", manifest("a"))
    assert caught.value.retry_after == 600
    assert quiet.counters()["create pods"] == 1


def test_the_clients_own_retries_can_be_had(quiet: FakeCluster, tmp_path: Path) -> None:
    """``api_client_retry_configuration``"""
    retries = {"total": 3, "status_forcelist": [503], "backoff_factor": 0}
    client = make_client(quiet.kubeconfig(tmp_path / "own"), client_retries=retries)
    quiet.fail(503, "get", times=2)
    assert client.version()
    client.close()
    with pytest.raises(errors.ClusterConfigError, match="api_client_retry_configuration"):
        make_client(quiet.kubeconfig(tmp_path / "own"), client_retries={"totally": 3})


def test_quota(quiet: FakeCluster, client: Cluster) -> None:
    quiet.set_quota(0)
    with pytest.raises(errors.ApiError) as caught:
        client.create_pod("default", manifest("a"))
    assert caught.value.is_quota


# -- who we are


def test_two_clusters_in_one_process(client: Cluster, quiet: FakeCluster, tmp_path: Path) -> None:
    with FakeCluster(kubelet="off") as second:
        other = make_client(second.kubeconfig(tmp_path / "second"))
        client.create_pod("default", manifest("a"))
        assert other.list_pods("default", SELECTOR).items == []
        assert other.url != client.url
        other.close()


def test_a_context_of_the_kubeconfig(quiet: FakeCluster, tmp_path: Path) -> None:
    config = json.loads(quiet.kubeconfig(tmp_path / "kubeconfig").read_text())
    config["contexts"].append({"name": "bad", "context": {"cluster": "fake", "user": "nobody"}})
    (tmp_path / "two").write_text(json.dumps(config | {"current-context": "bad"}))
    client = make_client(tmp_path / "two", cluster_context="fake")
    assert client.list_pods("default", SELECTOR).items == []
    client.close()
    stranger = make_client(tmp_path / "two")
    with pytest.raises(errors.ForbiddenError):
        stranger.list_pods("default", SELECTOR)
    stranger.close()
    with pytest.raises(errors.ClusterConfigError, match="none"):
        make_client(tmp_path / "two", cluster_context="none")


@pytest.mark.parametrize("text", [None, "", "[]", "just words", "{not: [yaml", "clusters: []"])
def test_a_broken_kubeconfig(text: str | None, tmp_path: Path) -> None:
    """One line that names who wants it; also where there is none."""
    if text is not None:
        (tmp_path / "bad").write_text(text)
    with pytest.raises(errors.ClusterConfigError, match="^k8s: ") as caught:
        make_client(tmp_path / "bad")
    assert "\n" not in str(caught.value)


def test_not_in_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(errors.ClusterConfigError, match="Service host/port is not set.*in_cluster = False"):
        Cluster(KubernetesOptions(name="k8s", in_cluster=True))


def test_no_password_of_the_address_is_told(tmp_path: Path) -> None:
    client = make_client(_kubeconfig(tmp_path / "kubeconfig", "https://me:s3cret@127.0.0.1:1"))
    told = [client.url]
    for prepare in (lambda: None, client.close):
        prepare()
        with pytest.raises(errors.ClusterUnreachableError) as caught:
            client.version()
        told.append(f"{caught.value} {caught.value.__cause__}")
    assert "cannot be reached" in told[1]
    assert "is closed" in told[2]
    assert "s3cret" not in "".join(told)


def test_a_credential_plugin(quiet: FakeCluster, tmp_path: Path) -> None:
    """It is run again when the server no longer knows its token."""
    tokens = tmp_path / "tokens"
    tokens.write_text("first")
    answer = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%s"}}'
    script = f"printf '{answer}' \"$(cat {tokens})\""
    plugin = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", script],
            "interactiveMode": "Never",
        }
    }
    quiet.set_token("first")
    client = make_client(_kubeconfig(tmp_path / "plugin", quiet.url, **plugin))
    assert client.list_pods("default", SELECTOR).items == []
    tokens.write_text("second")
    quiet.set_token("second")
    with pytest.raises(errors.ForbiddenError):
        client.list_pods("default", SELECTOR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("executors.kubernetes.client._RENEWAL", 0.0)
        assert client.list_pods("default", SELECTOR).items == []
    client.close()


def test_no_token_in_errors_logs_or_reprs(
    quiet: FakeCluster, client: Cluster, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    quiet.fail(500, times=1, message=f"denied: Bearer {quiet.token}")
    told = []
    for call in (client.version, client.version):
        try:
            call()
        except errors.KubernetesError as error:
            told.append(repr(error) + str(error.__cause__))
    assert len(told) == 1
    text = caplog.text + repr(client) + repr(vars(client)) + "".join(told)
    assert quiet.token not in text
    assert base64.b64encode(quiet.token.encode()).decode() not in text
