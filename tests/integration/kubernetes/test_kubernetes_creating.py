"""Pods are made at once, however many there are; and whatever the API server answers, each attempt hears of its own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plain_pods import eventually, key_of, make_client, manifest, threads

from executors.kubernetes.client import Cluster
from executors.kubernetes.creating import Created, Creator, Exists, Refused, Requeued, Result
from tests.kubernetes_api import FakeCluster

MakeCreator = Callable[..., Creator]


@pytest.fixture
def make(client: Cluster) -> Iterator[MakeCreator]:
    """Makes creators that are closed in the end, and have left no thread then."""
    made: list[Creator] = []

    def of(**options: Any) -> Creator:
        made.append(Creator(client, **{"concurrency": 4, **options}))
        return made[-1]

    yield of
    client.close()
    for creator in made:
        creator.close()
    eventually(lambda: not threads("kube-create-"), "the end of the threads")


def _submit(creator: Creator, *names: str, attempt: str | None = None) -> None:
    for name in names:
        creator.submit(key_of(name), "default", manifest(name, attempt))


def _take(creator: Creator, count: int = 1, kind: type[Any] | tuple[type[Any], ...] = object) -> list[Any]:
    """Wait for so many results of a kind; all others are forgotten."""
    found: list[Result] = []

    def enough() -> bool:
        found.extend(one for one in creator.take() if isinstance(one, kind))
        return len(found) >= count

    eventually(enough, f"{count} results")
    return found


def test_each_pod_is_made_once(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.delay(0.2, "create", times=4)
    creator = make(concurrency=4)
    names = [f"pod-{number}" for number in range(50)]
    _submit(creator, *names, *names)
    results = _take(creator, 50)
    assert {type(one) for one in results} == {Created}
    assert sorted(one.key.task_id for one in results) == sorted(names)
    assert all(one.pod["metadata"]["uid"] for one in results)
    assert quiet.counters()["create pods"] == 50
    assert creator.pending == 0


def test_threads_are_named_and_begin_with_the_work(make: MakeCreator) -> None:
    creator = make(concurrency=2)
    assert threads("kube-create-") == []
    _submit(creator, *"abcdef")
    _take(creator, 6)
    assert threads("kube-create-") == ["kube-create-k8s-0", "kube-create-k8s-1"]
    assert creator.close()
    assert threads("kube-create-") == []


def test_wake_comes_once_until_the_results_are_taken(make: MakeCreator) -> None:
    woken = threading.Semaphore(0)
    creator = make(wake=woken.release)
    _submit(creator, *"abcdef")
    assert woken.acquire(timeout=10)
    eventually(lambda: creator.pending == 0, "all pods")
    assert not woken.acquire(blocking=False)
    assert len(creator.take()) == 6
    _submit(creator, "g")
    assert woken.acquire(timeout=10)


def test_a_pod_that_was_there(make: MakeCreator, client: Cluster) -> None:
    """A scheduler that died had made it."""
    before = client.create_pod("default", manifest("a"))
    creator = make()
    _submit(creator, "a")
    assert _take(creator) == [Exists(key_of("a"), before)]


def test_a_pod_of_somebody_else(make: MakeCreator, client: Cluster) -> None:
    client.create_pod("default", manifest("a", attempt="another"))
    creator = make()
    _submit(creator, "a")
    assert _take(creator) == [Refused(key_of("a"), "a pod default/a is there, and is not this attempt's")]


@pytest.mark.parametrize("lost", ["answer", "connection", "time"])
def test_a_lost_answer(make: MakeCreator, quiet: FakeCluster, client: Cluster, lost: str) -> None:
    """The call is repeated with the same name, and finds what it has made."""
    if lost == "answer":
        quiet.fail(504, "create", times=2, after=True)
    elif lost == "connection":
        quiet.drop("create", times=2, after=True)
    else:
        quiet.drop("create", times=2)
    creator = make()
    _submit(creator, "a")
    results = _take(creator, kind=(Created, Exists))
    assert [one.key for one in results] == [key_of("a")]
    assert [pod["metadata"]["name"] for pod in quiet.pods()] == ["a"]


@pytest.mark.parametrize(
    ("switch", "reason"),
    [
        (lambda fake: fake.fail(500, "create", times=1), "500"),
        (lambda fake: fake.fail(503, "create", times=1, retry_after=0), "503"),
        (lambda fake: fake.fail(410, "create", times=1), "410"),
        (lambda fake: fake.throttle(0, times=1), "429"),
        (lambda fake: fake.throttle(None, times=1), "429"),
        (lambda fake: fake.quota_conflict(1), "409 Conflict"),
        (lambda fake: fake.fail(401, "create", times=2), "401"),
    ],
)
def test_what_may_pass_is_tried_again(
    make: MakeCreator, quiet: FakeCluster, switch: Callable[[FakeCluster], None], reason: str
) -> None:
    switch(quiet)
    creator = make()
    _submit(creator, "a")
    requeued, created = _take(creator, 2)
    assert isinstance(requeued, Requeued)
    assert f"the API server answers {reason}" in requeued.reason
    assert isinstance(created, Created)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_what_cannot_pass_is_refused_with_the_servers_words(make: MakeCreator, quiet: FakeCluster, status: int) -> None:
    quiet.fail(status, "create", message="admission webhook says no")
    creator = make()
    _submit(creator, "a")
    (refused,) = _take(creator)
    assert isinstance(refused, Refused)
    assert "admission webhook says no" in refused.reason
    assert quiet.counters()["create pods"] == 1


def test_a_manifest_that_is_no_json_harms_no_other(make: MakeCreator) -> None:
    creator = make(concurrency=1)
    broken = manifest("a")
    broken["spec"]["containers"][0]["image"] = object()
    creator.submit(key_of("a"), "default", broken)
    _submit(creator, "b")
    refused, created = _take(creator, 2)
    assert isinstance(refused, Refused)
    assert "TypeError" in refused.reason
    assert isinstance(created, Created)


def test_quota_is_waited_for(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.set_quota(0)
    creator = make()
    _submit(creator, "a")
    (requeued,) = _take(creator)
    assert isinstance(requeued, Requeued)
    assert "exceeded quota" in requeued.reason
    assert requeued.wait >= 0.5
    assert creator.trouble is None
    quiet.set_quota(None)
    (created,) = _take(creator)
    assert isinstance(created, Created)


def test_a_quota_with_room_again_is_filled_at_once(make: MakeCreator, quiet: FakeCluster) -> None:
    """However many wait, and their turns to try come seldom."""
    quiet.set_quota(0)
    creator = make()
    names = [f"a{number}" for number in range(100)]
    _submit(creator, *names)
    _take(creator, 100, Requeued)
    quiet.set_quota(50)
    assert len(_take(creator, 50, Created)) == 50
    assert len(quiet.pods()) == 50
    assert creator.pending == 50


def test_who_is_cancelled_waits_for_no_quota(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.set_quota(0)
    creator = make()
    _submit(creator, *"abcd")
    _take(creator, 4, Requeued)
    for name in "abc":
        assert creator.cancel(key_of(name))
    quiet.set_quota(None)
    assert [one.key for one in _take(creator, kind=Created)] == [key_of("d")]
    assert creator.pending == 0


def test_a_quota_of_one_namespace_holds_up_no_other(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.set_quota(0)
    creator = make(concurrency=1)
    _submit(creator, *"abc")
    creator.submit(key_of("d"), "other", manifest("d", namespace="other"))
    assert [one.key for one in _take(creator, kind=Created)] == [key_of("d")]


def test_retries_have_an_end(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.fail(500, "create")
    creator = make(retries=2)
    _submit(creator, "a")
    (refused,) = _take(creator, kind=Refused)
    assert refused.reason.endswith("(tried 3 times)")
    assert quiet.counters()["create pods"] == 3
    assert creator.pending == 0


def test_no_retries(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.throttle(times=1)
    creator = make(retries=0)
    _submit(creator, "a")
    assert isinstance(_take(creator)[0], Refused)


def test_retry_after_stops_all_and_slows_down(make: MakeCreator, quiet: FakeCluster) -> None:
    """The rate recovers with the successes afterwards."""
    quiet.throttle(retry_after=1, times=1)
    creator = make(concurrency=8)
    _submit(creator, "a")
    _take(creator, kind=Requeued)
    assert creator.limit == 4
    _submit(creator, *[f"b{number}" for number in range(60)])
    assert len(_take(creator, 61, Created)) == 61
    times = [request["time"] for request in quiet.journal("create", "pods")]
    assert times[1] - times[0] >= 1.0
    assert creator.limit == 8


def test_unreachable_and_back(make: MakeCreator, quiet: FakeCluster) -> None:
    """Trouble is told as long as there is something to ask for; one call at a time looks whether it is over."""
    quiet.refuse()
    creator = make(concurrency=8)
    _submit(creator, *"abcdef")
    eventually(lambda: creator.trouble, "trouble")
    assert creator.limit == 1
    assert "cannot be reached: Connection refused" in (creator.trouble or "")
    quiet.listen()
    assert len(_take(creator, 6, Created)) == 6
    assert creator.trouble is None


def test_a_server_that_hangs_blocks_nobody(make: MakeCreator, quiet: FakeCluster, client: Cluster) -> None:
    """Nothing that the executor calls waits for it. (It would fail here by the time limit of a test.)"""
    quiet.delay(3600, "create")
    creator = make(concurrency=2)
    _submit(creator, *[f"a{number}" for number in range(200)])
    eventually(lambda: quiet.counters().get("create pods") == 2, "two calls")
    assert creator.take() == []
    assert not creator.cancel(key_of("a0"))
    assert creator.cancel(key_of("a199"))
    assert not creator.close(timeout=0.0)
    client.close()
    assert creator.close(timeout=10.0)
    assert quiet.pods() == []


def test_cancelled_before_it_was_made(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.delay(0.2, "create", times=1)
    creator = make(concurrency=1)
    _submit(creator, *"abc")
    eventually(lambda: quiet.counters().get("create pods") == 1, "the first call")
    assert creator.cancel(key_of("b"))
    assert [one.key.task_id for one in _take(creator, 2)] == ["a", "c"]
    assert not creator.cancel(key_of("c"))
    assert Counter(pod["metadata"]["name"] for pod in quiet.pods()) == Counter("ac")


def test_cancelled_while_it_is_made_is_told_all_the_same(make: MakeCreator, quiet: FakeCluster) -> None:
    """The executor then knows what to delete."""
    quiet.delay(0.2, "create", times=1)
    creator = make()
    _submit(creator, "a")
    eventually(lambda: quiet.counters().get("create pods") == 1, "the call")
    assert not creator.cancel(key_of("a"))
    assert isinstance(_take(creator)[0], Created)


def test_cancelled_while_it_fails_is_not_tried_again(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.delay(0.2, "create", times=1)
    quiet.fail(500, "create", times=1)
    creator = make()
    _submit(creator, "a")
    eventually(lambda: quiet.counters().get("create pods") == 1, "the call")
    assert not creator.cancel(key_of("a"))
    eventually(lambda: creator.pending == 0, "the end")
    assert creator.take() == []
    assert quiet.pods() == []


def test_given_up_without_an_answer_is_uncertain(make: MakeCreator, quiet: FakeCluster) -> None:
    """There may be a pod all the same, and here there is."""
    quiet.fail(504, "create", times=1, after=True)
    creator = make(retries=0)
    _submit(creator, "a")
    (refused,) = _take(creator, kind=Refused)
    assert refused.uncertain
    assert [pod["metadata"]["name"] for pod in quiet.pods()] == ["a"]
    quiet.fail(429, "create", times=1, retry_after=0)
    _submit(creator, "b")
    (refused,) = _take(creator, kind=Refused)
    assert not refused.uncertain


def test_orders_and_results_show_no_secret(make: MakeCreator, client: Cluster) -> None:
    """A pod has the start ticket in its environment."""
    secret = manifest("a")
    secret["spec"]["containers"][0]["env"] = [{"name": "HYBRID_START_TICKET", "value": "s3cret"}]
    creator = make()
    creator.submit(key_of("a"), "default", secret)
    assert "s3cret" not in repr(creator._backlog.find(key_of("a")))
    (created,) = _take(creator)
    assert "s3cret" in str(created.pod)
    assert "s3cret" not in repr(created)
    assert "s3cret" not in repr(client.list_pods("default", ""))


def test_closing_forgets_what_waits(make: MakeCreator, quiet: FakeCluster) -> None:
    quiet.throttle(retry_after=3600)
    creator = make()
    _submit(creator, *"abc")
    eventually(lambda: quiet.counters().get("create pods"), "a call")
    assert creator.close(timeout=10.0)
    _submit(creator, "d")
    assert threads("kube-create-") == []


def test_a_server_that_stops(tmp_path: Path) -> None:
    """SIGSTOP: the kernel goes on taking connections for it. When it goes on, so do we."""
    with FakeCluster(in_process=True, kubelet="off") as fake:
        client = make_client(fake.kubeconfig(tmp_path / "kubeconfig"), request_timeout=0.3)
        creator = Creator(client, concurrency=4)
        fake.freeze()
        try:
            _submit(creator, *"abcdef")
            eventually(lambda: creator.trouble, "trouble")
            assert "did not answer in time" in (creator.trouble or "")
        finally:
            fake.thaw()
        assert len(_take(creator, 6, (Created, Exists))) == 6
        assert len(fake.pods()) == 6
        client.close()
        assert creator.close(10.0)
