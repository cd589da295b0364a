"""What happens to pods is told, whatever happens to the watch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plain_pods import SELECTOR, eventually, make_client, manifest, threads

from executors.kubernetes.client import Cluster
from executors.kubernetes.viewing import Deleted, News, Seen
from executors.kubernetes.watching import Watcher
from tests.kubernetes_api import FakeCluster

MakeWatcher = Callable[..., Watcher]


@pytest.fixture
def make(client: Cluster) -> Iterator[MakeWatcher]:
    """Makes watchers that are closed in the end, and have left no thread then."""
    made: list[Watcher] = []

    def of(*namespaces: str, **options: Any) -> Watcher:
        made.append(Watcher(client, namespaces or ("default",), SELECTOR, **options))
        return made[-1]

    yield of
    for watcher in made:
        watcher.close()
    client.close()
    eventually(lambda: not threads("kube-watch-"), "the end of the threads")


def _told(news: News) -> tuple[str, str]:
    return type(news).__name__, news.pod["metadata"]["name"]


def _take(watcher: Watcher, *expected: tuple[str, str]) -> None:
    """Wait until exactly these have come, in this order for each pod."""
    found: list[tuple[str, str]] = []

    def enough() -> bool:
        found.extend(map(_told, watcher.take()))
        return len(found) >= len(expected)

    eventually(enough, f"{expected}")
    assert sorted(found) == sorted(expected)


def _watching(quiet: FakeCluster, watcher: Watcher, count: int = 1) -> None:
    eventually(lambda: watcher.synced and quiet.live_watches() == count, "the watches")


def test_what_is_there_and_what_happens(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    client.create_pod("default", manifest("a"))
    watcher = make()
    _take(watcher, ("Seen", "a"))
    _watching(quiet, watcher)
    client.create_pod("default", manifest("b"))
    _take(watcher, ("Seen", "b"))
    assert set(watcher.snapshot()) == {("default", "a"), ("default", "b")}
    quiet.delete("a", grace=0)
    eventually(lambda: set(watcher.snapshot()) == {("default", "b")}, "the deletion")
    assert _told(watcher.take()[-1]) == ("Deleted", "a")
    assert watcher.trouble is None


def test_a_pod_that_leaves_the_selector_is_gone(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    client.create_pod("default", manifest("a"))
    watcher = make()
    _take(watcher, ("Seen", "a"))
    _watching(quiet, watcher)
    client.patch_labels("default", "a", {"tests": "done"})
    _take(watcher, ("Deleted", "a"))


def test_a_thread_for_each_namespace(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    watcher = make("default", "other")
    assert threads("kube-watch-") == ["kube-watch-k8s-0", "kube-watch-k8s-1"]
    _watching(quiet, watcher, 2)
    client.create_pod("default", manifest("a"))
    client.create_pod("other", manifest("a", namespace="other"))
    _take(watcher, ("Seen", "a"), ("Seen", "a"))
    assert set(watcher.snapshot()) == {("default", "a"), ("other", "a")}


def test_all_namespaces_at_once(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    watcher = make("")
    _watching(quiet, watcher)
    client.create_pod("other", manifest("a", namespace="other"))
    _take(watcher, ("Seen", "a"))


def test_many_pages(make: MakeWatcher, client: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        client.create_pod("default", manifest(f"a{number}"))
    whole = client.list_pods
    monkeypatch.setattr(client, "list_pods", lambda *args, **options: whole(*args, **{**options, "limit": 2}))
    _take(make(), *(("Seen", f"a{number}") for number in range(5)))


def test_nothing_there_is_news_too(make: MakeWatcher, quiet: FakeCluster) -> None:
    watcher = make()
    eventually(lambda: watcher.synced, "the first list")
    assert watcher.take() == []
    assert watcher.snapshot() == {}


def test_wake_comes_once_until_the_news_are_taken(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    woken = threading.Semaphore(0)
    watcher = make(wake=woken.release)
    _watching(quiet, watcher)
    client.create_pod("default", manifest("a"))
    assert woken.acquire(timeout=10)
    client.create_pod("default", manifest("b"))
    eventually(lambda: len(watcher.snapshot()) == 2, "both")
    assert not woken.acquire(blocking=False)
    _take(watcher, ("Seen", "a"), ("Seen", "b"))
    client.create_pod("default", manifest("c"))
    assert woken.acquire(timeout=10)


@pytest.mark.parametrize(
    "harm",
    [
        lambda fake: fake.break_watches(),
        lambda fake: fake.break_connections(),
        lambda fake: fake.expire_watches(),
        lambda fake: (fake.compact(), fake.break_watches()),
        lambda fake: (fake.refuse_old_watches(), fake.compact(), fake.break_watches()),
        lambda fake: (fake.fail(500, "watch", times=2), fake.break_watches()),
        lambda fake: (fake.fail(429, "watch", times=1, retry_after=0), fake.break_watches()),
        lambda fake: (fake.fail(410, "list", times=1), fake.expire_watches()),
        lambda fake: (fake.refuse(), fake.listen()),
    ],
    ids=["broken", "cut off", "expired", "compacted", "gone", "failing", "throttled", "list gone", "restarted"],
)
def test_a_watch_that_ends_is_taken_up_again(
    make: MakeWatcher, quiet: FakeCluster, client: Cluster, harm: Callable[[FakeCluster], None]
) -> None:
    """Nothing that happened meanwhile is missed, or told twice."""
    client.create_pod("default", manifest("a"))
    client.create_pod("default", manifest("b"))
    watcher = make()
    _take(watcher, ("Seen", "a"), ("Seen", "b"))
    _watching(quiet, watcher)
    harm(quiet)
    quiet.delete("a", grace=0)
    client.create_pod("default", manifest("c"))
    seen: list[News] = []

    def settled() -> bool:
        seen.extend(watcher.take())
        return set(watcher.snapshot()) == {("default", "b"), ("default", "c")} and quiet.live_watches() == 1

    eventually(settled, "what had happened")
    told = [one for one in map(_told, seen) if one != ("Seen", "a")]  # it may have been seen with its deletion ahead
    assert sorted(told) == [("Deleted", "a"), ("Seen", "c")]
    eventually(lambda: watcher.trouble is None, "the end of the trouble")


def test_a_silent_connection_is_noticed(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    watcher = make(inactivity=0.2)
    _watching(quiet, watcher)
    quiet.mute_watches()
    client.create_pod("default", manifest("a"))
    quiet.heal()
    _take(watcher, ("Seen", "a"))


def test_a_server_that_stops(tmp_path: Path) -> None:
    """SIGSTOP: connections stay, and say nothing. It is trouble once no other watch can be opened."""
    with FakeCluster(in_process=True, kubelet="off") as fake:
        client = make_client(fake.kubeconfig(tmp_path / "kubeconfig"), request_timeout=0.3)
        watcher = Watcher(client, ["default"], SELECTOR, inactivity=0.1)
        _watching(fake, watcher)
        fake.freeze()
        try:
            eventually(lambda: watcher.trouble, "trouble")
            assert "did not answer in time" in (watcher.trouble or "")
        finally:
            fake.thaw()
        eventually(lambda: watcher.trouble is None, "the end of the trouble")
        client.create_pod("default", manifest("a"))
        _take(watcher, ("Seen", "a"))
        watcher.close()
        client.close()
        assert watcher.close(10.0)


def test_events_that_were_missed_come_with_the_next_list(
    make: MakeWatcher, quiet: FakeCluster, client: Cluster
) -> None:
    client.create_pod("default", manifest("a"))
    watcher = make(relist_interval=0.5)
    _take(watcher, ("Seen", "a"))
    _watching(quiet, watcher)
    quiet.withhold_events(3)
    quiet.delete("a", grace=0)
    client.create_pod("default", manifest("b"))
    found: list[tuple[str, str]] = []

    def enough() -> bool:
        found.extend(map(_told, watcher.take()))
        return {("Deleted", "a"), ("Seen", "b")} <= set(found)

    eventually(enough, "what was missed")
    assert set(watcher.snapshot()) == {("default", "b")}


def test_events_that_come_twice_are_told_once(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    watcher = make()
    _watching(quiet, watcher)
    quiet.duplicate_events()
    client.create_pod("default", manifest("a"))
    client.create_pod("default", manifest("b"))
    _take(watcher, ("Seen", "a"), ("Seen", "b"))


def test_what_may_not_be_listed_is_trouble(make: MakeWatcher, quiet: FakeCluster) -> None:
    quiet.forbid("list", "pods", "other")
    watcher = make("default", "other")
    eventually(lambda: watcher.trouble, "trouble")
    assert "cannot list resource" in (watcher.trouble or "")
    assert not watcher.synced
    assert watcher.listed == float("-inf")
    quiet.allow_all()
    eventually(lambda: watcher.synced and not watcher.trouble, "the list")
    assert watcher.listed > 0


def test_watches_that_always_break_are_trouble(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    """One that breaks is not: they all do one day."""
    client.create_pod("default", manifest("a"))
    watcher = make()
    _take(watcher, ("Seen", "a"))
    stop = threading.Event()

    def break_them() -> None:
        while not stop.wait(0.002):
            quiet.break_watches()

    breaker = threading.Thread(target=break_them)
    breaker.start()
    try:
        eventually(lambda: watcher.trouble, "trouble")
    finally:
        stop.set()
        breaker.join()
    client.create_pod("default", manifest("b"))
    _take(watcher, ("Seen", "b"))
    eventually(lambda: watcher.trouble is None, "the end of the trouble")


def test_unreachable_and_back(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    """What was known stays known: unreachable is not gone."""
    client.create_pod("default", manifest("a"))
    watcher = make()
    _take(watcher, ("Seen", "a"))
    quiet.refuse()
    eventually(lambda: watcher.trouble, "trouble")
    assert "Connection refused" in (watcher.trouble or "")
    assert set(watcher.snapshot()) == {("default", "a")}
    assert watcher.take() == []
    quiet.listen()
    eventually(lambda: watcher.trouble is None, "the end of the trouble")
    assert watcher.take() == []


def test_a_watch_that_nothing_happens_in_is_ended_by_close(make: MakeWatcher, quiet: FakeCluster) -> None:
    watcher = make(inactivity=3600.0, relist_interval=3600.0)
    _watching(quiet, watcher)
    assert watcher.close(timeout=10.0)
    assert threads("kube-watch-") == []
    eventually(lambda: quiet.live_watches() == 0, "the end of the stream")


def test_a_server_that_hangs_blocks_nobody(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    quiet.delay(3600)
    watcher = make()
    eventually(lambda: quiet.counters().get("list pods"), "the list")
    assert watcher.take() == []
    assert watcher.snapshot() == {}
    assert not watcher.close(timeout=0.0)
    client.close()
    assert watcher.close(timeout=10.0)


def test_news_carry_the_pod(make: MakeWatcher, quiet: FakeCluster, client: Cluster) -> None:
    made = client.create_pod("default", manifest("a"))
    watcher = make()
    news: list[News] = []
    eventually(lambda: news.extend(watcher.take()) or news, "the pod")
    assert isinstance(news[0], Seen)
    # Objects of a list do not say their kind.
    assert {**news[0].pod, "kind": "Pod", "apiVersion": "v1"} == made
    _watching(quiet, watcher)
    quiet.delete("a", grace=0)
    eventually(lambda: news.extend(watcher.take()) or isinstance(news[-1], Deleted), "the deletion")
    assert news[-1].pod["metadata"]["uid"] == made["metadata"]["uid"]
