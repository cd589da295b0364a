"""A cluster behind HTTPS: whom we trust, who we are, and that what hangs can be ended there too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config
from plain_pods import SELECTOR, eventually, make_client, manifest

from executors.kubernetes import errors
from executors.kubernetes.client import Cluster
from executors.kubernetes.options import KubernetesOptions
from tests.kubernetes_api import FakeCluster


@pytest.fixture
def quiet() -> Iterator[FakeCluster]:
    """It speaks HTTPS, with a certificate that nobody has heard of."""
    with FakeCluster(kubelet="off", tls=True) as made:
        yield made


def _untrusting(quiet: FakeCluster, folder: Path, **options: Any) -> Cluster:
    """By a kubeconfig that names no authority."""
    path = quiet.kubeconfig(folder / "kubeconfig")
    config = json.loads(path.read_text())
    del config["clusters"][0]["cluster"]["certificate-authority"]
    path.write_text(json.dumps(config))
    return make_client(path, **options)


def test_an_authority_of_the_kubeconfig(quiet: FakeCluster, client: Cluster) -> None:
    client.create_pod("default", manifest("a"))
    assert [pod["metadata"]["name"] for pod in client.list_pods("default", SELECTOR).items] == ["a"]
    client.close()


def test_an_authority_of_the_options(quiet: FakeCluster, tmp_path: Path) -> None:
    """``ssl_ca_cert``"""
    client = _untrusting(quiet, tmp_path, ssl_ca_cert=str(quiet.certificate))
    assert client.version()
    client.close()


def test_an_unknown_authority(quiet: FakeCluster, tmp_path: Path) -> None:
    client = _untrusting(quiet, tmp_path)
    with pytest.raises(errors.ClusterUnreachableError, match="certificate verify failed"):
        client.version()
    client.close()


def test_nobody_is_asked(quiet: FakeCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``verify_ssl = False``; we warn of it once, and urllib3 not with each call."""
    client = _untrusting(quiet, tmp_path, verify_ssl=False)
    assert client.version()
    client.close()
    assert [record.message for record in caplog.records if "verify_ssl = False" in record.message]


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
    watch.release()
    client.close()


def test_close_ends_the_calls_of_other_threads(quiet: FakeCluster, client: Cluster) -> None:
    quiet.delay(3600)
    told: list[errors.KubernetesError] = []

    def call() -> None:
        try:
            client.version()
        except errors.KubernetesError as error:
            told.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    eventually(lambda: quiet.counters().get("get version"), "the call")
    client.close()
    caller.join(10)
    assert not caller.is_alive()
    assert isinstance(told[0], errors.ClusterUnreachableError)


def test_a_service_account_whose_token_rotates(
    quiet: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old token is refused before the client's own minute is over: the file is read again, and the call made again.

    A token file may end with a newline, which no header may hold.
    """
    token = tmp_path / "token"
    token.write_text("one\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(quiet.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(quiet.certificate))
    client = Cluster(KubernetesOptions(name="k8s", in_cluster=True))
    quiet.set_token("one")
    assert client.list_pods("default", SELECTOR).items == []
    token.write_text("two\n")
    quiet.set_token("two")
    with pytest.raises(errors.ForbiddenError):
        client.list_pods("default", SELECTOR)  # its credentials are too young to be doubted
    monkeypatch.setattr("executors.kubernetes.client._RENEWAL", 0.0)
    assert client.list_pods("default", SELECTOR).items == []
    client.close()
