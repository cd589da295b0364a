"""Pods are deleted and labelled in the end, whatever the API server says first; and never the wrong ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plain_pods import eventually, manifest, threads

from executors.kubernetes.client import Cluster
from executors.kubernetes.deleting import Deleter
from executors.kubernetes.errors import ClusterTimeoutError, status_error
from tests.kubernetes_api import FakeCluster

MakeDeleter = Callable[..., Deleter]


@pytest.fixture
def make(client: Cluster) -> Iterator[MakeDeleter]:
    """Makes deleters that are closed in the end, and have left no thread then. They force deletions."""
    made: list[Deleter] = []

    def of(**options: Any) -> Deleter:
        made.append(Deleter(client, **{"grace": 0, **options}))
        return made[-1]

    yield of
    client.close()
    for deleter in made:
        deleter.close()
    eventually(lambda: not threads("kube-delete-"), "the end of the threads")


def _done(deleter: Deleter) -> None:
    eventually(lambda: deleter.pending == 0, "all deletions")


def test_many_at_once(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    deleter = make()
    for number in range(20):
        made = client.create_pod("default", manifest(f"a{number}"))
        deleter.delete("default", f"a{number}", made["metadata"]["uid"])
    _done(deleter)
    assert quiet.pods() == []
    assert set(threads("kube-delete-")) <= {f"kube-delete-k8s-{number}" for number in range(4)}


def test_asked_twice_done_once(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    client.create_pod("default", manifest("a"))
    quiet.delay(0.2, "delete")
    deleter = make()
    for _ in range(3):
        deleter.delete("default", "a")
    _done(deleter)
    assert quiet.counters()["delete pods"] == 1


def test_what_is_gone_is_done(make: MakeDeleter, quiet: FakeCluster) -> None:
    deleter = make()
    deleter.delete("default", "a", "uid")
    deleter.label_done("default", "a", "uid")
    _done(deleter)
    assert quiet.counters()["delete pods"] == 1
    assert quiet.counters()["patch pods"] == 1


def test_another_pod_of_the_name_stays_as_it_is(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    made = client.create_pod("default", manifest("a"))
    deleter = make()
    deleter.delete("default", "a", "another")
    deleter.label_done("default", "a", "another")
    _done(deleter)
    assert quiet.pod("a") == made


def test_without_a_uid_the_name_counts(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    client.create_pod("default", manifest("a"))
    deleter = make()
    deleter.delete("default", "a")
    _done(deleter)
    assert quiet.pods() == []


def test_kept_pods_are_labelled(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    made = client.create_pod("default", manifest("a"))
    deleter = make()
    deleter.label_done("default", "a", made["metadata"]["uid"])
    _done(deleter)
    assert quiet.pods()[0]["metadata"]["labels"] == {"tests": "plain", "kubernetes_executor_done": "True"}


def test_the_pods_own_grace(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    client.create_pod("default", manifest("a"))
    client.create_pod("default", manifest("b"))
    own, seven = make(grace=None), make(grace=7)
    own.delete("default", "a")
    seven.delete("default", "b")
    _done(own)
    _done(seven)
    sent = {request["name"]: request for request in quiet.journal("delete", "pods")}
    assert set(sent) == {"a", "b"}
    left = {pod["metadata"]["name"]: pod["metadata"].get("deletionGracePeriodSeconds") for pod in quiet.pods()}
    assert left.get("b", 7) == 7


@pytest.mark.parametrize(
    "switch",
    [
        lambda fake: fake.fail(500, "delete", times=2),
        lambda fake: fake.throttle(0, "delete", times=2),
        lambda fake: fake.drop("delete", times=4),
        lambda fake: fake.drop("delete", times=2, after=True),
        lambda fake: fake.fail(401, "delete", times=1),
    ],
    ids=["failing", "throttled", "cut off", "answer lost", "unknown"],
)
def test_what_may_pass_is_tried_again(
    make: MakeDeleter, quiet: FakeCluster, client: Cluster, switch: Callable[[FakeCluster], None]
) -> None:
    made = client.create_pod("default", manifest("a"))
    switch(quiet)
    deleter = make()
    deleter.delete("default", "a", made["metadata"]["uid"])
    _done(deleter)
    assert quiet.pods() == []


def test_what_is_refused_is_said_and_given_up(
    make: MakeDeleter, quiet: FakeCluster, client: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    made = client.create_pod("default", manifest("a"))
    quiet.forbid("delete")
    deleter = make()
    deleter.delete("default", "a", made["metadata"]["uid"])
    _done(deleter)
    assert "pod default/a stays as it is" in caplog.text
    assert "cannot delete resource" in caplog.text
    quiet.allow_all()
    deleter.delete("default", "a", made["metadata"]["uid"])
    _done(deleter)
    assert quiet.pods() == []


def test_unreachable_and_back(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    client.create_pod("default", manifest("a"))
    deleter = make()
    quiet.refuse()
    deleter.delete("default", "a")
    eventually(lambda: deleter.trouble, "trouble")
    quiet.listen()
    _done(deleter)
    assert deleter.trouble is None
    assert quiet.pods() == []


# -- what is done before


def test_before_comes_before(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    made = client.create_pod("default", manifest("a"))
    deleter, seen = make(), list[Any]()
    deleter.delete("default", "a", before=lambda: seen.append(client.read_pod("default", "a")))
    _done(deleter)
    assert seen == [made]
    assert quiet.pods() == []


def test_before_is_done_once_however_often_the_deletion_is_tried(
    make: MakeDeleter, quiet: FakeCluster, client: Cluster
) -> None:
    client.create_pod("default", manifest("a"))
    quiet.fail(500, "delete", times=3)
    deleter, calls = make(), list[int]()
    deleter.delete("default", "a", before=lambda: calls.append(1))
    _done(deleter)
    assert calls == [1]


@pytest.mark.parametrize(
    ("raised", "times"),
    [
        (ClusterTimeoutError("read a log: slow"), 3),
        (status_error("read a log", {"message": "no kubelet"}, 500), 3),
        (status_error("read a log", {"message": "no container"}, 400), 1),
        (ValueError("a mistake"), 1),
    ],
)
def test_a_before_that_fails_stops_no_deletion(
    make: MakeDeleter, quiet: FakeCluster, client: Cluster, raised: Exception, times: int, caplog: Any
) -> None:
    """It is tried a few times where that may help."""
    caplog.set_level(logging.INFO)
    client.create_pod("default", manifest("a"))
    deleter, calls = make(), list[int]()

    def fails() -> None:
        calls.append(1)
        raise raised

    deleter.delete("default", "a", before=fails)
    _done(deleter)
    assert len(calls) == times
    assert quiet.pods() == []
    assert "before the deletion of pod default/a" in caplog.text


# -- the end


def test_close_waits_for_what_is_left(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    quiet.delay(0.05, "delete")
    deleter = make()
    for number in range(8):
        client.create_pod("default", manifest(f"a{number}"))
        deleter.delete("default", f"a{number}")
    assert deleter.close(timeout=10.0)
    assert quiet.pods() == []
    deleter.delete("default", "b")
    assert deleter.pending == 0


def test_a_server_that_hangs_does_not_hold_up_the_end(make: MakeDeleter, quiet: FakeCluster, client: Cluster) -> None:
    quiet.delay(3600, "delete")
    deleter = make()
    deleter.delete("default", "a")
    eventually(lambda: quiet.counters().get("delete pods"), "the call")
    assert not deleter.close(timeout=0.05)
    client.close()
    eventually(deleter.close, "the end of the call")
