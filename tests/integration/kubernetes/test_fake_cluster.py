"""The fake's kubelet, and each of its switches: what tests of the executor build on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import urllib3
from kubernetes.client import CoreV1Api

from tests.integration.worker_http.faulty_api import eventually
from tests.kubernetes_api import FakeCluster
from tests.kubernetes_api.fixtures import client_of, make_cluster

__all__ = ["client_of", "make_cluster"]
PODS = "/api/v1/namespaces/default/pods"
UNTIL_TERMINATED = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"


class Bare:
    """HTTP with the cluster's token, and nothing that is clever."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.pool = urllib3.PoolManager(retries=False, timeout=5.0)

    def __call__(self, method: str, path: str = PODS, body: Any = None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.cluster.token}"}
        return self.pool.request(method, self.cluster.url + path, json=body, headers=headers, **options)

    def run(self, name: str, script: str = "sleep 60", **spec: Any) -> dict[str, Any]:
        """Create a pod with one container."""
        response = self("POST", body=make_pod(name, script, **spec))
        assert response.status == 201, response.data
        return dict(response.json())

    def stream(self, **query: Any) -> Any:
        """A watch of all pods from now on, with bookmarks."""
        words = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "20", **query}
        words.setdefault("resourceVersion", str(self.cluster.revision()))
        path = f"{PODS}?{'&'.join(f'{key}={value}' for key, value in words.items())}"
        return self("GET", path, preload_content=False)


def make_pod(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """``base``: further fields of the container."""
    command = {"command": ["sh", "-c", script]}
    container = {"name": "base", "image": "example/image:1", **command, **spec.pop("base", {})}
    fields = {"restartPolicy": "Never", "containers": [container], **spec}
    return {"metadata": {"name": name, "labels": {"name": name}}, "spec": fields}


@pytest.fixture(params=[False, True], ids=["thread", "process"])
def cluster(request: pytest.FixtureRequest, make_cluster: Callable[..., FakeCluster]) -> FakeCluster:
    return make_cluster(in_process=request.param, bookmark_interval=0.1)


@pytest.fixture
def threaded(make_cluster: Callable[..., FakeCluster]) -> FakeCluster:
    return make_cluster(bookmark_interval=0.1)


@pytest.fixture
def bare(cluster: FakeCluster) -> Iterator[Bare]:
    made = Bare(cluster)
    yield made
    made.pool.clear()


@pytest.fixture
def here(threaded: FakeCluster) -> Iterator[Bare]:
    """Of a cluster in a thread."""
    made = Bare(threaded)
    yield made
    made.pool.clear()


def phase(cluster: FakeCluster, name: str) -> str | None:
    pod = cluster.pod(name)
    return None if pod is None else pod["status"]["phase"]


def is_(cluster: FakeCluster, name: str, wanted: str | None) -> None:
    """Until the pod's phase is so; ``None``: until it is gone."""
    eventually(lambda: phase(cluster, name) == wanted)


def terminated(cluster: FakeCluster, name: str, container: int = 0) -> dict[str, Any]:
    pod = cluster.pod(name)
    assert pod is not None
    return dict(pod["status"]["containerStatuses"][container]["state"]["terminated"])


def runs(pid: int) -> bool:
    """It is there, and no zombie that its parent has yet to see."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def state_of_base(cluster: FakeCluster, name: str) -> dict[str, Any]:
    """Empty before the kubelet has said one."""
    statuses = (cluster.pod(name) or {"status": {}})["status"].get("containerStatuses") or [{"state": {}}]
    return dict(statuses[0]["state"])


def condition(pod: dict[str, Any], kind: str) -> tuple[str, str]:
    found = next(one for one in pod["status"]["conditions"] if one["type"] == kind)
    return found["status"], found.get("reason", "")


class TestTheKubelet:
    @pytest.mark.parametrize(
        ("script", "end"), [("exit 0", ("Succeeded", 0, "Completed")), ("exit 3", ("Failed", 3, "Error"))]
    )
    def test_a_pods_command_is_a_process_whose_end_is_the_pods(self, bare, cluster, script, end):
        bare.run(
            "pod", f'echo "$GREETING from $(pwd)"; {script}', base={"env": [{"name": "GREETING", "value": "hello"}]}
        )
        is_(cluster, "pod", end[0])
        state = terminated(cluster, "pod")
        assert (state["exitCode"], state["reason"]) == end[1:]
        assert state["startedAt"] <= state["finishedAt"]
        assert cluster.log("pod").startswith("hello from /")

    def test_it_is_seen_pending_then_running_then_ended(self, bare, cluster):
        stream = bare.stream(resourceVersion="0", timeoutSeconds="2")
        bare.run("pod", "exit 0")
        is_(cluster, "pod", "Succeeded")
        seen = [line["object"] for line in _events(stream)]
        phases = [pod["status"]["phase"] for pod in seen if pod["metadata"].get("name")]
        assert list(dict.fromkeys(phases)) == ["Pending", "Running", "Succeeded"]
        assert next(pod for pod in reversed(seen) if "phase" in pod["status"])["status"]["podIP"].startswith("10.244.")

    def test_deletion_is_sigterm_and_the_pod_is_gone_when_its_process_is(self, bare, cluster):
        bare.run("pod", UNTIL_TERMINATED)
        eventually(lambda: "up" in cluster.log("pod"))
        pid = next(iter(cluster.pids().values()))
        assert bare("DELETE", f"{PODS}/pod").status == 200
        is_(cluster, "pod", None)
        assert cluster.log("pod") == "up\nbye\n"
        assert not runs(pid)

    def test_who_does_not_listen_is_killed_after_the_grace_with_all_descendants(self, bare, cluster):
        bare.run("pod", "trap '' TERM; setsid sleep 61 & echo $! up; while :; do sleep 0.02; done")
        eventually(lambda: "up" in cluster.log("pod"))
        child = int(cluster.log("pod").split()[0])
        bare("DELETE", f"{PODS}/pod?gracePeriodSeconds=1")
        is_(cluster, "pod", None)
        eventually(lambda: not runs(child))

    def test_a_forced_deletion_waits_for_nobody(self, bare, cluster):
        bare.run("pod", "trap '' TERM; echo up; while :; do sleep 0.02; done")
        eventually(lambda: "up" in cluster.log("pod"))
        cluster.delete("pod", grace=0)
        assert cluster.pod("pod") is None
        eventually(lambda: not cluster.pids())

    def test_a_process_that_is_killed_by_a_signal(self, here, threaded):
        here.run("pod")
        is_(threaded, "pod", "Running")
        threaded.signal_pod("pod", signal.SIGSEGV)
        is_(threaded, "pod", "Failed")
        assert terminated(threaded, "pod")["exitCode"] == 128 + signal.SIGSEGV

    def test_a_command_that_is_not_there(self, here, threaded):
        here.run("pod", base={"command": ["no-such-command"]})
        is_(threaded, "pod", "Failed")
        state = terminated(threaded, "pod")
        assert (state["exitCode"], state["reason"]) == (128, "StartError")
        assert "no-such-command" in state["message"]

    def test_init_containers_come_first_and_one_that_fails_is_the_end(self, here, threaded):
        init = [
            {"name": name, "image": "i", "command": ["sh", "-c", script]}
            for name, script in (("good", "echo first"), ("bad", "exit 7"))
        ]
        here.run("fine", "echo second", initContainers=init[:1])
        is_(threaded, "fine", "Succeeded")
        assert (threaded.log("fine", "good"), threaded.log("fine")) == ("first\n", "second\n")
        here.run("pod", initContainers=init)
        is_(threaded, "pod", "Failed")
        status = threaded.pod("pod")["status"]
        assert [one["state"]["terminated"]["exitCode"] for one in status["initContainerStatuses"]] == [0, 7]
        assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"

    def test_a_pod_runs_until_its_last_container_has_ended(self, here, threaded):
        side = {"name": "side", "image": "i"}
        container = {"name": "base", "image": "i", "command": ["sh", "-c", "exit 0"]}
        here.run("pod", containers=[container, side])
        eventually(
            lambda: threaded.pod("pod")["status"].get("containerStatuses", [{}])[0].get("state", {}).get("terminated")
        )
        assert phase(threaded, "pod") == "Running"
        threaded.finish("pod", container="side")
        is_(threaded, "pod", "Succeeded")

    def test_variables_in_words_fields_and_secrets(self, here, threaded):
        threaded.set_secret("tokens", "key", "s3cret")
        env = [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "key"}}},
        ]
        here.run("pod", base={"command": ["echo"], "args": ["$(NAME) $(SECRET) $$(NAME) $(UNKNOWN)"], "env": env})
        is_(threaded, "pod", "Succeeded")
        assert threaded.log("pod") == "pod s3cret $(NAME) $(UNKNOWN)\n"

    def test_closing_leaves_no_process(self, make_cluster):
        cluster = make_cluster()
        bare = Bare(cluster)
        bare.run("pod", "sleep 62 & setsid sleep 63 & echo up; sleep 64")
        bare.run("daemon", "setsid sleep 65 & echo $!")
        eventually(lambda: "up" in cluster.log("pod") and cluster.log("daemon"))
        pid = next(pid for name, pid in cluster.pids().items() if "/pod/" in name)
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        family.append(int(cluster.log("daemon")))
        cluster.close()
        for one in family:
            eventually(lambda one=one: not runs(one))
        bare.pool.clear()


class TestLogs:
    def test_the_tail_and_what_is_new(self, bare, cluster):
        bare.run("pod", "seq 1 5")
        is_(cluster, "pod", "Succeeded")
        assert bare("GET", f"{PODS}/pod/log").data == b"1\n2\n3\n4\n5\n"
        assert bare("GET", f"{PODS}/pod/log?tailLines=2&container=base").data == b"4\n5\n"
        assert bare("GET", f"{PODS}/pod/log?sinceSeconds=60&limitBytes=3").data == b"1\n2"
        assert bare("GET", f"{PODS}/pod/log?timestamps=true&tailLines=1").data[4:5] == b"-"

    def test_following(self, bare, cluster):
        bare.run("pod", UNTIL_TERMINATED)
        eventually(lambda: "up" in cluster.log("pod"))
        stream = bare("GET", f"{PODS}/pod/log?follow=true", preload_content=False)
        cluster.delete("pod")
        assert b"".join(stream.stream()) == b"up\nbye\n"

    def test_a_container_that_waits_has_none(self, here, threaded):
        threaded.behave("never_start")
        here.run("pod")
        eventually(lambda: threaded.pod("pod")["status"].get("containerStatuses"))
        response = here("GET", f"{PODS}/pod/log")
        assert (response.status, response.json()["message"]) == (
            400,
            'container "base" in pod "pod" is waiting to start: ContainerCreating',
        )


class TestPodsThatDoNotStart:
    def test_unschedulable_until_released(self, bare, cluster):
        cluster.behave("unschedulable", name="big-.*")
        bare.run("big-pod", "exit 0")
        bare.run("small-pod", "exit 0")
        is_(cluster, "small-pod", "Succeeded")
        assert condition(cluster.pod("big-pod"), "PodScheduled") == ("False", "Unschedulable")
        cluster.release()
        is_(cluster, "big-pod", "Succeeded")

    @pytest.mark.parametrize(
        "reason", ["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError", "InvalidImageName"]
    )
    def test_containers_that_wait_for_a_reason(self, here, threaded, reason):
        threaded.behave(reason, selector="name=pod", times=1)
        here.run("pod", "exit 0")

        def waiting() -> dict[str, Any]:
            return dict(
                threaded.pod("pod")["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {})
            )

        eventually(lambda: waiting().get("reason") == reason)
        assert waiting()["message"]
        assert phase(threaded, "pod") == "Pending"
        assert threaded.delete("pod", grace=0) is None
        assert threaded.pod("pod") is None

    def test_a_missing_secret_is_waited_for(self, here, threaded):
        env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
        here.run("pod", "exit 0", base={"env": env})
        eventually(lambda: "CreateContainerConfigError" in str(threaded.pod("pod")))
        threaded.set_secret("late", "k", "v")
        is_(threaded, "pod", "Succeeded")

    def test_pods_that_pretend(self, here, threaded):
        threaded.behave("pretend")
        here.run("pod")
        is_(threaded, "pod", "Running")
        assert threaded.pids() == {}
        threaded.finish("pod", 4)
        is_(threaded, "pod", "Failed")
        assert terminated(threaded, "pod")["exitCode"] == 4

    def test_pods_that_pretend_are_deleted(self, here, threaded):
        threaded.behave("pretend")
        here.run("pod")
        is_(threaded, "pod", "Running")
        threaded.delete("pod")
        is_(threaded, "pod", None)


class TestPodsThatAreTakenAway:
    @pytest.fixture
    def running(self, here, threaded) -> int:
        """The pid of a pod that runs."""
        here.run("pod", UNTIL_TERMINATED)
        eventually(lambda: "up" in threaded.log("pod"))
        return next(iter(threaded.pids().values()))

    def test_evicted(self, running, threaded):
        threaded.evict("pod")
        is_(threaded, "pod", "Failed")
        pod = threaded.pod("pod")
        assert pod["status"]["reason"] == "Evicted"
        assert "low on resource: memory" in pod["status"]["message"]
        assert condition(pod, "DisruptionTarget") == ("True", "TerminationByKubelet")
        assert not runs(running)

    def test_evicted_before_it_has_begun(self, here, threaded):
        threaded.behave("never_start")
        here.run("pod")
        eventually(lambda: threaded.pod("pod")["status"].get("containerStatuses"))
        threaded.evict("pod")
        is_(threaded, "pod", "Failed")
        assert threaded.pod("pod")["status"]["reason"] == "Evicted"

    def test_the_node_is_shut_down(self, running, threaded):
        threaded.shut_down_node("pod", grace=5)
        is_(threaded, "pod", "Failed")
        assert threaded.pod("pod")["status"]["reason"] == "Terminated"
        assert threaded.log("pod").endswith("bye\n")

    @pytest.mark.parametrize(
        ("switch", "reason"), [("preempt", "PreemptionByScheduler"), ("evict_by_api", "EvictionByEvictionAPI")]
    )
    def test_disrupted_and_deleted(self, running, here, threaded, switch, reason):
        stream = here.stream(timeoutSeconds="2")
        getattr(threaded, switch)("pod")
        is_(threaded, "pod", None)
        events = _events(stream)
        assert events[-1]["type"] in {"DELETED", "BOOKMARK"}
        last = next(event["object"] for event in reversed(events) if event["type"] == "DELETED")
        assert condition(last, "DisruptionTarget") == ("True", reason)
        assert last["metadata"]["deletionTimestamp"]
        assert last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0

    @pytest.mark.parametrize("kill", [False, True])
    def test_the_node_is_lost_and_the_pod_collected(self, running, here, threaded, kill):
        threaded.lose_node("pod", kill=kill)
        assert threaded.pod("pod") is None
        if kill:
            eventually(lambda: not runs(running))
        else:
            assert runs(running)

    def test_the_node_is_lost_and_the_pod_hangs_until_it_is_collected(self, running, here, threaded):
        threaded.lose_node("pod", stuck=True)
        pod = threaded.pod("pod")
        assert pod["metadata"]["deletionTimestamp"]
        assert condition(pod, "DisruptionTarget") == ("True", "DeletionByTaintManager")
        assert here("GET", f"{PODS}/pod/log").status == 500
        threaded.collect("pod")
        assert threaded.pod("pod") is None
        assert runs(running)

    def test_out_of_memory(self, running, threaded):
        threaded.oom_kill("pod")
        is_(threaded, "pod", "Failed")
        state = terminated(threaded, "pod")
        assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)
        assert threaded.pod("pod")["status"].get("reason") is None

    def test_deleted_by_hand(self, running, threaded):
        threaded.delete("pod")
        assert threaded.pod("pod")["metadata"]["deletionTimestamp"]
        is_(threaded, "pod", None)


class TestRequestsThatMeetFaults:
    def test_refusals_by_verb_and_number(self, bare, cluster):
        cluster.fail(503, "list", times=1)
        cluster.throttle(7, times=1)
        assert [bare("GET").status for _ in range(2)] == [503, 200]
        throttled = bare("POST", body={})
        assert (throttled.status, throttled.headers["Retry-After"]) == (429, "7")
        assert throttled.json()["details"] == {"retryAfterSeconds": 7}
        cluster.quota_conflict()
        conflict = bare("POST", body={}).json()
        assert (conflict["reason"], conflict["details"]["kind"]) == ("Conflict", "resourcequotas")
        cluster.fail(500)
        assert bare("GET").status == 500
        cluster.heal()
        assert bare("GET").status == 200

    def test_an_answer_that_is_lost(self, bare, cluster):
        cluster.drop("create", times=1, after=True)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            bare.run("pod")
        assert cluster.pod("pod") is not None
        cluster.drop("get", times=1)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            bare("GET", f"{PODS}/pod")

    def test_a_server_that_hangs(self, bare, cluster):
        cluster.delay(30, "list")
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            bare("GET", timeout=0.1)
        assert bare("GET", "/version").status == 200

    def test_a_port_that_is_closed_and_opened_again(self, bare, cluster):
        bare.run("pod", UNTIL_TERMINATED)
        eventually(lambda: "up" in cluster.log("pod"))
        cluster.refuse()
        with pytest.raises(urllib3.exceptions.NewConnectionError):
            bare("GET", "/version")
        cluster.listen()
        assert bare("GET", f"{PODS}/pod").json()["status"]["phase"] == "Running"

    def test_access_that_is_taken_away(self, bare, cluster):
        cluster.forbid("create")
        response = bare("POST", body={})
        assert (response.status, response.json()["reason"]) == (403, "Forbidden")
        cluster.allow_all()
        cluster.set_token("another")
        assert bare("GET").status == 401

    @pytest.mark.parametrize("in_process", [False, True])
    def test_https(self, make_cluster, client_of, in_process):
        cluster = make_cluster(tls=True, in_process=in_process)
        assert cluster.url.startswith("https://")
        CoreV1Api(client_of(cluster)).create_namespaced_pod("default", make_pod("pod", "exit 0"))
        is_(cluster, "pod", "Succeeded")
        with urllib3.PoolManager(retries=False) as stranger, pytest.raises(urllib3.exceptions.SSLError):
            stranger.request("GET", cluster.url)

    def test_the_journal(self, bare, cluster):
        bare.run("pod", "exit 0")
        bare("GET", f"{PODS}/pod")
        assert [(one["verb"], one["name"], one["status"]) for one in cluster.requests] == [
            ("create", "", 201),
            ("get", "pod", 200),
        ]
        assert [one["path"] for one in cluster.journal("get", "pods")] == [f"{PODS}/pod"]
        assert cluster.counters() == {"create pods": 1, "get pods": 1}
        cluster.clear_journal()
        assert cluster.requests == []

    def test_two_clusters_know_nothing_of_each_other(self, make_cluster):
        east, west = Bare(make_cluster()), Bare(make_cluster())
        east.run("pod", "exit 0")
        assert west.cluster.pods() == []
        assert (
            east.pool.request(
                "GET", west.cluster.url + PODS, headers={"Authorization": f"Bearer {east.cluster.token}"}
            ).status
            == 401
        )
        for one in (east, west):
            one.pool.clear()


class TestWatchesThatMeetFaults:
    def test_half_open_streams_say_nothing_and_new_ones_do_once_healed(self, here, threaded):
        stream = here.stream(timeoutSeconds="1")
        eventually(lambda: threaded.live_watches() == 1)
        threaded.mute_watches()
        here.run("pod", "exit 0")
        is_(threaded, "pod", "Succeeded")
        assert _events(stream) == []
        threaded.heal()
        assert _events(here.stream(resourceVersion="0", timeoutSeconds="1"))

    def test_events_that_are_missed_and_events_that_come_twice(self, here, threaded):
        threaded.behave("unschedulable")
        stream = here.stream(timeoutSeconds="1", allowWatchBookmarks="false")
        eventually(lambda: threaded.live_watches() == 1)
        threaded.withhold_events(2)
        here.run("pod")
        eventually(lambda: "Unschedulable" in str(threaded.pod("pod")))
        assert _events(stream) == []
        threaded.duplicate_events()
        stream = here.stream(timeoutSeconds="1", allowWatchBookmarks="false")
        eventually(lambda: threaded.live_watches() == 1)
        threaded.delete("pod", grace=0)
        assert [event["type"] for event in _events(stream)] == ["MODIFIED"] * 2 + ["DELETED"] * 2

    def test_history_that_is_forgotten(self, here, threaded):
        old = threaded.revision()
        here.run("pod", "exit 0")
        is_(threaded, "pod", "Succeeded")
        threaded.compact()
        [gone] = _events(here.stream(resourceVersion=str(old)))
        assert (gone["type"], gone["object"]["code"]) == ("ERROR", 410)
        threaded.refuse_old_watches()
        assert here.stream(resourceVersion=str(old)).status == 410

    def test_streams_that_expire_and_streams_that_break(self, here, threaded):
        stream = here.stream()
        eventually(lambda: threaded.live_watches() == 1)
        threaded.expire_watches()
        assert [event["type"] for event in _events(stream)] == ["ERROR"]
        stream = here.stream()
        eventually(lambda: threaded.live_watches() == 1)
        threaded.break_watches()
        with pytest.raises(urllib3.exceptions.ProtocolError):
            _events(stream)


class TestItsOwnProcess:
    def test_frozen_it_answers_nobody(self, make_cluster):
        bare = Bare(make_cluster(in_process=True))
        bare.cluster.freeze()
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            bare("GET", timeout=0.2)
        bare.cluster.thaw()
        assert bare("GET").status == 200
        bare.pool.clear()

    def test_killed_and_begun_anew_it_is_empty_on_the_same_port(self, make_cluster):
        bare = Bare(make_cluster(in_process=True))
        bare.run("pod")
        is_(bare.cluster, "pod", "Running")
        [pid] = bare.cluster.pids().values()
        bare.cluster.kill()
        eventually(lambda: not runs(pid))
        with pytest.raises(urllib3.exceptions.HTTPError):
            bare("GET")
        bare.cluster.restart()
        assert bare("GET").json()["items"] == []
        assert bare.cluster.pids() == {}
        assert os.getpid() != bare.cluster._host.pid
        bare.pool.clear()


def _events(stream: Any) -> list[dict[str, Any]]:
    """All lines of a watch until it ends."""
    try:
        data = b"".join(stream.stream())
    finally:
        stream.close()
    return [json.loads(line) for line in data.splitlines()]
