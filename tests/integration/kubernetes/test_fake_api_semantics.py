"""The fake API server verified: what is said here of pods holds for it and for a real kube-apiserver.

``HYBRID_TEST_KUBE_APISERVER=… HYBRID_TEST_ETCD=… pytest -n 0 -m kube_apiserver`` runs the same on the real one.
Everything is asked through the official client. Nothing here needs a node: there is no kubelet on either side.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from kubernetes.client import ApiClient, Configuration, CoreV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.config import load_kube_config
from kubernetes.watch import Watch

from tests.integration.worker_http.faulty_api import eventually
from tests.kubernetes_api import FakeCluster
from tests.kubernetes_api.real import RealCluster

MERGE, STRATEGIC, JSON_PATCH = (
    f"application/{kind}+json" for kind in ("merge-patch", "strategic-merge-patch", "json-patch")
)
_numbers = itertools.count()


def fake() -> FakeCluster:
    return FakeCluster(kubelet="off", bookmark_interval=0.5)


def real() -> RealCluster:
    return RealCluster(os.environ["HYBRID_TEST_KUBE_APISERVER"], os.environ["HYBRID_TEST_ETCD"])


_binaries = {name: os.environ.get(name, "") for name in ("HYBRID_TEST_KUBE_APISERVER", "HYBRID_TEST_ETCD")}


class Asked:
    """One user's client, and a namespace of the test's own."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        configuration = Configuration()
        load_kube_config(str(kubeconfig), client_configuration=configuration)
        configuration.retries = False
        self.client = ApiClient(configuration)
        self.core = CoreV1Api(self.client)
        self.namespace = namespace
        self.path = f"/api/v1/namespaces/{namespace}/pods"
        self.authorization = next(str(way["value"]) for way in configuration.auth_settings().values())

    def __call__(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: Any
    ) -> tuple[int, Any]:
        """Status and JSON of an answer, whatever it is."""
        url = f"{self.client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": content_type, "Authorization": self.authorization}
        response = self.client.rest_client.request(method, url, headers=headers, body=body)
        text = response.read()
        return response.status, json.loads(text) if text.startswith(b"{") else text.decode()

    def create(self, name: str, **fields: Any) -> dict[str, Any]:
        """A pod that there must be."""
        status, pod = self("POST", self.path, make_pod(name, **fields))
        assert status == 201, pod
        return dict(pod)

    def pod(self, name: str) -> dict[str, Any]:
        status, pod = self("GET", f"{self.path}/{name}")
        assert status == 200, pod
        return dict(pod)

    def bind(self, name: str) -> None:
        """Give it a node, as the scheduler does."""
        body = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "node-1"}}
        assert self("POST", f"{self.path}/{name}/binding", body)[0] == 201
        self._settle(name)

    def set_phase(self, name: str, phase: str) -> dict[str, Any]:
        """As the kubelet does."""
        pod = self.pod(name)
        pod["status"]["phase"] = phase
        status, changed = self("PUT", f"{self.path}/{name}/status", pod)
        assert status == 200, changed
        self._settle(name)
        return dict(changed)

    def _settle(self, name: str) -> None:
        """Until the server's cache knows it: a real one may take a pod that was bound just now for one without a node,
        and delete it at once.
        """
        newest = revision(self.pod(name))
        path = f"{self.path}/{name}"
        eventually(lambda: revision(self("GET", path, resourceVersion=0)[1]) >= newest)

    def watch(
        self, count: int, path: str = "", then: Callable[[], Any] | None = None, **query: Any
    ) -> list[tuple[str, dict[str, Any]]]:
        """The next ``count`` events, or fewer when the server ends the stream; ``then`` happens once it has begun."""
        url = f"{self.client.configuration.host}{path or self.path}?{urlencode({'watch': 'true', **query})}"
        response = self.client.rest_client.pool_manager.request(
            "GET", url, headers={"Authorization": self.authorization}, preload_content=False, timeout=30.0
        )
        try:
            assert response.status == 200, response.read()
            if then is not None:
                then()
            events = [json.loads(line) for line in itertools.islice(_lines(response), count)]
        finally:
            response.close()
        return [(event["type"], event["object"]) for event in events]


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(4096):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def make_pod(name: str, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "base", "image": "example/image:1"}]
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


@pytest.fixture(scope="module", params=[fake, pytest.param(real, marks=pytest.mark.kube_apiserver)])
def server(request: pytest.FixtureRequest) -> Iterator[FakeCluster | RealCluster]:
    missing = [name for name, value in _binaries.items() if not value]
    if request.param is real and missing:
        pytest.fail(f"set {' and '.join(missing)} to the binary", pytrace=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _binaries.items():
            patch.setenv(name, value)
        made = request.param()
    with made:
        yield made


@pytest.fixture
def asker(server: FakeCluster | RealCluster, tmp_path: Path) -> Iterator[Callable[..., Asked]]:
    """Makes clients, by default of the administrator, by default in a new namespace."""
    made: list[Asked] = []

    def make(token: str = "", namespace: str = "") -> Asked:
        if not namespace:
            namespace = f"test-{next(_numbers)}"
            server.add_namespace(namespace)
        path = server.kubeconfig(tmp_path / f"kubeconfig-{len(made)}", token)
        made.append(Asked(path, namespace))
        return made[-1]

    yield make
    for one in made:
        one.client.rest_client.pool_manager.clear()


@pytest.fixture
def ask(asker: Callable[..., Asked]) -> Asked:
    return asker()


def causes(status: dict[str, Any]) -> set[tuple[str, str]]:
    """Which fields, and why."""
    return {(cause["field"], cause["reason"]) for cause in status["details"]["causes"]}


def names(pods: dict[str, Any]) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods["items"]]


def revision(obj: dict[str, Any]) -> int:
    return int(obj["metadata"]["resourceVersion"])


class TestCreating:
    def test_a_new_pod_is_pending_and_has_an_identity_a_version_and_defaults(self, ask):
        pod = ask.create("pod", restartPolicy="Never")
        assert pod["kind"] == "Pod"
        assert pod["status"]["phase"] == "Pending"
        assert len(pod["metadata"]["uid"]) == 36
        assert revision(pod) > 0
        assert pod["metadata"]["creationTimestamp"].endswith("Z")
        assert pod["spec"]["restartPolicy"] == "Never"
        assert pod["spec"]["terminationGracePeriodSeconds"] == 30
        assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "File"
        assert pod["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
        assert [one["tolerationSeconds"] for one in pod["spec"]["tolerations"]] == [300, 300]
        assert "nodeName" not in pod["spec"]

    def test_the_client_reads_it_as_a_v1pod(self, ask):
        made = ask.core.create_namespaced_pod(ask.namespace, make_pod("pod", {"a": "b"}))
        read = ask.core.read_namespaced_pod("pod", ask.namespace)
        assert (read.metadata.uid, read.metadata.labels) == (made.metadata.uid, {"a": "b"})

    def test_generate_name_is_completed_by_five_characters(self, ask):
        pod = make_pod("pod")
        pod["metadata"] = {"generateName": "some-"}
        created = [ask("POST", ask.path, pod)[1]["metadata"]["name"] for _ in range(2)]
        assert len(set(created)) == 2
        assert {(name[:5], len(name)) for name in created} == {("some-", 10)}

    def test_what_the_creator_says_of_status_and_uid_is_ignored(self, ask):
        pod = make_pod("pod")
        pod["status"] = {"phase": "Running"}
        pod["metadata"]["uid"] = "mine"
        status, made = ask("POST", ask.path, pod)
        assert (status, made["status"]["phase"]) == (201, "Pending")
        assert made["metadata"]["uid"] != "mine"

    def test_a_name_that_is_taken_is_a_conflict_that_already_exists(self, ask):
        ask.create("pod")
        assert ask("POST", ask.path, make_pod("pod")) == (
            409,
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": 'pods "pod" already exists',
                "reason": "AlreadyExists",
                "details": {"name": "pod", "kind": "pods"},
                "code": 409,
            },
        )

    def test_there_is_no_pod_in_a_namespace_that_is_not_there(self, ask):
        status, body = ask("POST", "/api/v1/namespaces/nowhere/pods", make_pod("pod"))
        assert (status, body["reason"], body["message"]) == (404, "NotFound", 'namespaces "nowhere" not found')

    def test_another_namespace_in_the_pod_than_in_the_path_is_a_bad_request(self, ask):
        pod = make_pod("pod")
        pod["metadata"]["namespace"] = "other"
        status, body = ask("POST", ask.path, pod)
        assert (status, body["reason"]) == (400, "BadRequest")
        assert "the namespace of the provided object does not match" in body["message"]

    def test_a_new_pod_has_no_resource_version_of_its_own(self, ask):
        pod = make_pod("pod")
        pod["metadata"]["resourceVersion"] = "1"
        status, body = ask("POST", ask.path, pod)
        assert (status, body["message"]) == (500, "resourceVersion should not be set on objects to be created")

    @pytest.mark.parametrize(
        ("change", "wrong"),
        [
            ({"metadata": {"name": "Upper"}}, ("metadata.name", "FieldValueInvalid")),
            ({"metadata": {"name": "under_score"}}, ("metadata.name", "FieldValueInvalid")),
            ({"metadata": {"name": "a" * 254}}, ("metadata.name", "FieldValueInvalid")),
            ({"metadata": {}}, ("metadata.name", "FieldValueRequired")),
            ({"metadata": {"name": "a", "labels": {"a": "x" * 64}}}, ("metadata.labels", "FieldValueInvalid")),
            ({"metadata": {"name": "a", "labels": {"a": "b c"}}}, ("metadata.labels", "FieldValueInvalid")),
            ({"metadata": {"name": "a", "labels": {"a": "-b"}}}, ("metadata.labels", "FieldValueInvalid")),
            ({"metadata": {"name": "a", "labels": {"a/b/c": "b"}}}, ("metadata.labels", "FieldValueInvalid")),
            ({"metadata": {"name": "a", "annotations": {"": "b"}}}, ("metadata.annotations", "FieldValueInvalid")),
            (
                {"metadata": {"name": "a", "annotations": {"a": "x" * 300_000}}},
                ("metadata.annotations", "FieldValueTooLong"),
            ),
            ({"spec": {"containers": []}}, ("spec.containers", "FieldValueRequired")),
            ({"spec": {}}, ("spec.containers", "FieldValueRequired")),
            ({"spec": {"containers": [{"name": "base"}]}}, ("spec.containers[0].image", "FieldValueRequired")),
            ({"spec": {"containers": [{"image": "i"}]}}, ("spec.containers[0].name", "FieldValueRequired")),
            (
                {"spec": {"containers": [{"name": "Base", "image": "i"}]}},
                ("spec.containers[0].name", "FieldValueInvalid"),
            ),
            (
                {"spec": {"containers": [{"name": "base", "image": "i"}] * 2}},
                ("spec.containers[1].name", "FieldValueDuplicate"),
            ),
            (
                {"spec": {"containers": [{"name": "base", "image": "i"}], "restartPolicy": "Sometimes"}},
                ("spec.restartPolicy", "FieldValueNotSupported"),
            ),
            (
                {
                    "spec": {
                        "containers": [
                            {"name": "base", "image": "i", "volumeMounts": [{"name": "gone", "mountPath": "/x"}]}
                        ]
                    }
                },
                ("spec.containers[0].volumeMounts[0].name", "FieldValueNotFound"),
            ),
        ],
    )
    def test_what_is_wrong_with_a_pod_is_named_field_by_field(self, ask, change, wrong):
        status, body = ask("POST", ask.path, {**make_pod("a"), **change})
        assert (status, body["reason"], body["details"]["kind"]) == (422, "Invalid", "Pod")
        assert wrong in causes(body)
        assert body["message"].startswith(f'Pod "{change.get("metadata", {"name": "a"}).get("name", "")}" is invalid: ')
        assert wrong[0] in body["message"]

    @pytest.mark.parametrize(
        "change",
        [
            {"metadata": {"name": "a", "labels": {"a": 1}}},
            {"spec": {"containers": [{"name": "base", "image": "i", "env": [{"name": "A", "value": 1}]}]}},
            {"spec": {"containers": [{"name": "base", "image": "i", "args": "a b"}]}},
            {"spec": {"containers": [{"name": "base", "image": "i", "command": ["sleep", 1]}]}},
        ],
        ids=["label", "env", "args", "command"],
    )
    def test_a_value_of_another_type_is_a_bad_request(self, ask, change):
        status, body = ask("POST", ask.path, {**make_pod("a"), **change})
        assert (status, body["reason"]) == (400, "BadRequest")
        assert "cannot be handled as a Pod" in body["message"]

    def test_a_quota_refuses_the_pod_that_is_too_many(self, ask, server):
        server.set_quota(1, ask.namespace)
        ask.create("first")
        status, body = ask("POST", ask.path, make_pod("second"))
        assert (status, body["reason"], body["details"]) == (403, "Forbidden", {"name": "second", "kind": "pods"})
        assert body["message"] == (
            'pods "second" is forbidden: exceeded quota: pods-quota, requested: pods=1, used: pods=1, limited: pods=1'
        )


class TestReading:
    def test_a_pod_that_is_not_there(self, ask):
        status, body = ask("GET", f"{ask.path}/pod")
        assert (status, body["message"], body["reason"]) == (404, 'pods "pod" not found', "NotFound")
        assert body["details"] == {"name": "pod", "kind": "pods"}
        with pytest.raises(ApiException) as raised:
            ask.core.read_namespaced_pod("pod", ask.namespace)
        assert raised.value.status == 404

    @pytest.mark.parametrize(
        ("selector", "found"),
        [
            ("", ["one", "three", "two"]),
            ("app=a", ["one", "two"]),
            ("app==a", ["one", "two"]),
            ("app!=a", ["three"]),
            ("app in (a, b)", ["one", "two"]),
            ("tier in (x,y)", ["one", "two"]),
            ("tier notin (x)", ["three", "two"]),
            ("tier", ["one", "two"]),
            ("!tier", ["three"]),
            ("app=a,tier=x", ["one"]),
            ("app=a,tier!=x", ["two"]),
            ("done!=True,app in (a),tier", ["one"]),
            ("example.com/key=v", ["two"]),
            ("done=", ["one"]),
        ],
    )
    def test_label_selectors(self, ask, selector, found):
        ask.create("one", labels={"app": "a", "tier": "x", "done": ""})
        ask.create("two", labels={"app": "a", "tier": "y", "example.com/key": "v", "done": "True"})
        ask.create("three")
        status, pods = ask("GET", ask.path, labelSelector=selector)
        assert status == 200
        assert names(pods) == found

    @pytest.mark.parametrize("selector", ["a=b=c", "a in b", "in (a)", "a,,b!", "a=b c"])
    def test_a_selector_that_is_none(self, ask, selector):
        status, body = ask("GET", ask.path, labelSelector=selector)
        assert (status, body["reason"]) == (400, "BadRequest")

    def test_field_selectors(self, ask):
        for name in ("one", "two"):
            ask.create(name)
        ask.set_phase("two", "Running")
        assert names(ask("GET", ask.path, fieldSelector="metadata.name=one")[1]) == ["one"]
        assert names(ask("GET", ask.path, fieldSelector="status.phase=Running")[1]) == ["two"]
        assert names(ask("GET", ask.path, fieldSelector="status.phase!=Running,metadata.name!=two")[1]) == ["one"]
        status, body = ask("GET", ask.path, fieldSelector="spec.replicas=1")
        assert (status, body["reason"]) == (400, "BadRequest")
        assert "field label not supported: spec.replicas" in body["message"]

    def test_a_list_has_a_version_and_its_items_name_no_kind(self, ask):
        pod = ask.create("pod")
        _, pods = ask("GET", ask.path)
        assert (pods["kind"], pods["apiVersion"]) == ("PodList", "v1")
        assert revision(pods) >= revision(pod)
        assert "kind" not in pods["items"][0]

    def test_a_namespace_that_is_not_there_has_no_pods(self, ask):
        status, pods = ask("GET", "/api/v1/namespaces/nowhere/pods")
        assert (status, pods["items"]) == (200, [])

    def test_pods_of_all_namespaces(self, ask, asker):
        other = asker()
        for one in (ask, other):
            one.create("pod", labels={"both": ask.namespace})
        _, pods = ask("GET", "/api/v1/pods", labelSelector=f"both={ask.namespace}")
        assert {pod["metadata"]["namespace"] for pod in pods["items"]} == {ask.namespace, other.namespace}

    def test_pages_show_one_moment(self, ask):
        for name in ("a", "b", "c", "d", "e"):
            ask.create(name)
        _, first = ask("GET", ask.path, limit=2)
        ask("DELETE", f"{ask.path}/d")
        ask.create("bb")
        _, second = ask("GET", ask.path, limit=2, **{"continue": first["metadata"]["continue"]})
        _, third = ask("GET", ask.path, limit=2, **{"continue": second["metadata"]["continue"]})
        assert [names(page) for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
        assert [page["metadata"].get("remainingItemCount") for page in (first, second, third)] == [3, 1, None]
        assert revision(first) == revision(second) == revision(third)
        assert "continue" not in third["metadata"]

    def test_pages_of_a_selection(self, ask):
        for name in ("a", "b", "c", "d"):
            ask.create(name, labels={"odd": str(name in "ac")})
        _, first = ask("GET", ask.path, limit=1, labelSelector="odd=True")
        assert "remainingItemCount" not in first["metadata"]
        query = {"continue": first["metadata"]["continue"], "labelSelector": "odd=True"}
        _, second = ask("GET", ask.path, limit=5, **query)
        assert names(first) + names(second) == ["a", "c"]

    def test_a_page_of_a_moment_that_is_forgotten_is_gone_and_offers_the_rest(self, ask, server):
        for name in ("a", "b", "c"):
            ask.create(name)
        _, first = ask("GET", ask.path, limit=1)
        ask.create("d")
        server.compact()
        status, gone = ask("GET", ask.path, limit=1, **{"continue": first["metadata"]["continue"]})
        assert (status, gone["reason"], gone["code"]) == (410, "Expired", 410)
        assert gone["message"].startswith("The provided continue parameter is too old")
        _, rest = ask("GET", ask.path, **{"continue": gone["metadata"]["continue"]})
        assert names(rest) == ["b", "c", "d"]

    def test_a_continue_token_of_our_own(self, ask):
        status, body = ask("GET", ask.path, limit=1, **{"continue": "nonsense"})
        assert (status, body["reason"]) == (400, "BadRequest")
        assert "continue key is not valid" in body["message"]

    def test_a_continued_list_has_its_version_already(self, ask):
        for name in ("a", "b"):
            ask.create(name)
        _, first = ask("GET", ask.path, limit=1)
        query = {"continue": first["metadata"]["continue"], "resourceVersion": first["metadata"]["resourceVersion"]}
        status, body = ask("GET", ask.path, **query)
        assert (status, body["reason"]) == (400, "BadRequest")
        assert "specifying resource version is not allowed when using continue" in body["message"]

    def test_a_list_is_not_older_than_the_version_that_was_asked_for(self, ask):
        ask.create("a")
        second = ask.create("b")
        _, pods = ask("GET", ask.path, resourceVersion=revision(second))
        assert sorted(names(pods)) == ["a", "b"]

    def test_a_list_of_the_future_times_out(self, ask):
        status, body = ask("GET", ask.path, resourceVersion=revision(ask.create("pod")) + 100_000)
        assert (status, body["reason"]) == (504, "Timeout")
        assert "Too large resource version" in body["message"]

    def test_logs_of_a_pod_that_has_no_node_are_empty(self, ask):
        ask.create("pod")
        assert ask("GET", f"{ask.path}/pod/log") == (204, "")

    def test_logs_name_a_container_of_a_pod(self, ask):
        ask.create("pod")
        image = {"image": "i"}
        ask.create("pair", containers=[{"name": "base", **image}, {"name": "side", **image}])
        assert ask("GET", f"{ask.path}/none/log")[1]["message"] == 'pods "none" not found'
        status, body = ask("GET", f"{ask.path}/pod/log", container="other")
        assert (status, body["message"]) == (400, "container other is not valid for pod pod")
        status, body = ask("GET", f"{ask.path}/pair/log")
        assert (status, body["message"]) == (
            400,
            "a container name must be specified for pod pair, choose one of: [base side]",
        )


class TestWatching:
    def test_changes_after_a_list(self, ask):
        ask.create("before")
        _, pods = ask("GET", ask.path)
        ask.create("pod")
        ask.set_phase("pod", "Running")
        ask("DELETE", f"{ask.path}/pod")
        events = ask.watch(3, resourceVersion=pods["metadata"]["resourceVersion"], timeoutSeconds=20)
        seen = [(kind, pod["metadata"]["name"], pod["status"]["phase"]) for kind, pod in events]
        assert seen[:2] == [("ADDED", "pod", "Pending"), ("MODIFIED", "pod", "Running")]
        revisions = [revision(pod) for _, pod in events]
        assert revisions == sorted(revisions)
        assert revisions[0] > revision(pods)

    def test_a_deletion_carries_the_last_state_and_a_version_of_its_own(self, ask):
        created = ask.create("pod", labels={"a": "b"})
        ask("DELETE", f"{ask.path}/pod")
        events = ask.watch(9, resourceVersion=revision(created), timeoutSeconds=1)
        assert [kind for kind, _ in events][-1] == "DELETED"
        last = events[-1][1]
        assert (last["metadata"]["uid"], last["metadata"]["labels"]) == (created["metadata"]["uid"], {"a": "b"})
        assert revision(last) > revision(created)

    @pytest.mark.parametrize("version", [{}, {"resourceVersion": "0"}])
    def test_a_watch_from_nowhere_begins_with_all_that_is_there(self, ask, version):
        created = ask.create("pod")
        assert [(kind, pod["metadata"]["uid"]) for kind, pod in ask.watch(9, timeoutSeconds=2, **version)] == [
            ("ADDED", created["metadata"]["uid"])
        ]

    def test_the_clients_own_watch(self, ask):
        ask.create("pod")
        stream = Watch(return_type="V1Pod")
        stream._api_client = ask.client
        events = list(stream.stream(ask.core.list_namespaced_pod, ask.namespace, timeout_seconds=1))
        assert [(event["type"], event["object"].metadata.name) for event in events] == [("ADDED", "pod")]

    def test_who_no_longer_meets_the_selector_is_deleted_for_it(self, ask):
        created = ask.create("pod", labels={"done": "no"})
        for done in ("yes", "no"):
            ask("PATCH", f"{ask.path}/pod", {"metadata": {"labels": {"done": done}}}, MERGE)
        query = {"resourceVersion": revision(created), "timeoutSeconds": 20, "labelSelector": "done!=yes"}
        events = ask.watch(2, **query)
        assert [(kind, pod["metadata"]["labels"]) for kind, pod in events] == [
            ("DELETED", {"done": "no"}),
            ("ADDED", {"done": "no"}),
        ]
        assert revision(created) < revision(events[0][1]) < revision(events[1][1])

    def test_a_watch_by_field(self, ask):
        created = ask.create("pod")
        ask.set_phase("pod", "Running")
        query = {"resourceVersion": revision(created), "timeoutSeconds": 20, "fieldSelector": "status.phase=Running"}
        assert [kind for kind, _ in ask.watch(1, **query)] == ["ADDED"]

    def test_other_namespaces_are_not_seen_but_by_who_watches_all(self, ask, asker):
        other = asker()
        _, pods = ask("GET", ask.path)
        for one in (other, ask):
            one.create("pod")
        query = {"resourceVersion": revision(pods), "timeoutSeconds": 1}
        assert [pod["metadata"]["namespace"] for _, pod in ask.watch(9, **query)] == [ask.namespace]
        everywhere = ask.watch(9, "/api/v1/pods", **query)
        assert [pod["metadata"]["namespace"] for _, pod in everywhere] == [other.namespace, ask.namespace]

    def test_a_watch_ends_by_its_timeout(self, ask):
        assert ask.watch(9, timeoutSeconds=1) == []

    def test_bookmarks_bring_the_version_forward_when_others_pods_change(self, ask, asker):
        other = asker()
        _, pods = ask("GET", ask.path)
        query = {"resourceVersion": revision(pods), "allowWatchBookmarks": "true", "timeoutSeconds": 4}
        made: list[dict[str, Any]] = []
        events = ask.watch(9, then=lambda: made.append(other.create("pod")), **query)
        assert {kind for kind, _ in events} == {"BOOKMARK"}
        assert events[-1][1]["kind"] == "Pod"
        assert revision(events[-1][1]) >= revision(made[0])

    def test_where_nothing_changes_no_bookmark_comes(self, ask):
        newest = revision(ask.create("pod"))
        assert ask.watch(9, resourceVersion=newest, allowWatchBookmarks="true", timeoutSeconds=4) == []

    def test_a_version_that_is_too_old_ends_the_stream_with_gone(self, ask):
        events = ask.watch(9, resourceVersion="1", timeoutSeconds=5)
        assert [kind for kind, _ in events] == ["ERROR"]
        status = events[0][1]
        assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
        assert "too old resource version: 1 (" in status["message"]

    def test_a_watch_from_the_future_waits_for_it(self, ask):
        """So it is when an API server has lost its data, and counts anew."""
        future = revision(ask.create("before")) + 100_000
        assert ask.watch(9, then=lambda: ask.create("pod"), resourceVersion=future, timeoutSeconds=1) == []

    def test_the_client_raises_gone(self, ask):
        stream = Watch(return_type="V1Pod")
        stream._api_client = ask.client
        with pytest.raises(ApiException) as raised:
            list(stream.stream(ask.core.list_namespaced_pod, ask.namespace, resource_version="1", timeout_seconds=5))
        assert raised.value.status == 410

    def test_a_version_that_is_no_number(self, ask):
        status, body = ask("GET", ask.path, watch="true", resourceVersion="latest", timeoutSeconds=1)
        assert (status, body["kind"], body["status"]) == (500, "Status", "Failure")
        assert body["message"].startswith('resourceVersion: Invalid value: "latest"')


class TestPatching:
    @pytest.mark.parametrize("kind", [MERGE, STRATEGIC])
    def test_a_patch_adds_changes_and_removes_labels(self, ask, kind):
        ask.create("pod", labels={"keep": "1", "change": "1", "remove": "1"})
        patch = {"metadata": {"labels": {"change": "2", "remove": None, "new": "3"}, "annotations": {"x/y": "ü"}}}
        status, pod = ask("PATCH", f"{ask.path}/pod", patch, kind)
        assert status == 200
        assert pod["metadata"]["labels"] == {"keep": "1", "change": "2", "new": "3"}
        assert pod["metadata"]["annotations"] == {"x/y": "ü"}
        assert ask.pod("pod")["metadata"]["resourceVersion"] == pod["metadata"]["resourceVersion"]

    def test_a_json_patch(self, ask):
        ask.create("pod", labels={"a/b": "1", "c": "2"})
        patch = [
            {"op": "test", "path": "/metadata/labels/c", "value": "2"},
            {"op": "replace", "path": "/metadata/labels/a~1b", "value": "3"},
            {"op": "remove", "path": "/metadata/labels/c"},
            {"op": "add", "path": "/metadata/labels/d", "value": "4"},
        ]
        status, pod = ask("PATCH", f"{ask.path}/pod", patch, JSON_PATCH)
        assert (status, pod["metadata"]["labels"]) == (200, {"a/b": "3", "d": "4"})

    @pytest.mark.parametrize(
        "step",
        [
            {"op": "test", "path": "/metadata/labels/c", "value": "other"},
            {"op": "remove", "path": "/metadata/labels/none"},
            {"op": "replace", "path": "/metadata/none/none", "value": "1"},
        ],
    )
    def test_a_json_patch_that_cannot_be_applied_changes_nothing(self, ask, step):
        created = ask.create("pod", labels={"c": "2"})
        status, body = ask("PATCH", f"{ask.path}/pod", [step], JSON_PATCH)
        assert (status, body["status"]) == (422, "Failure")
        assert ask.pod("pod")["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]

    def test_the_clients_patch(self, ask):
        ask.create("pod")
        body = {"metadata": {"labels": {"a": "b"}}}
        pod = ask.core.patch_namespaced_pod("pod", ask.namespace, body, _content_type=MERGE)
        assert pod.metadata.labels == {"a": "b"}

    def test_a_patch_that_changes_nothing_makes_no_version(self, ask):
        created = ask.create("pod", labels={"a": "b"})
        _, pod = ask("PATCH", f"{ask.path}/pod", {"metadata": {"labels": {"a": "b"}}}, MERGE)
        assert revision(pod) == revision(created)

    def test_a_patch_of_an_older_version_is_a_conflict(self, ask):
        created = ask.create("pod")
        ask.set_phase("pod", "Running")
        patch = {"metadata": {"resourceVersion": str(revision(created)), "labels": {"a": "b"}}}
        status, body = ask("PATCH", f"{ask.path}/pod", patch, MERGE)
        assert (status, body["reason"]) == (409, "Conflict")
        assert "the object has been modified" in body["message"]

    def test_a_patch_of_a_pod_of_another_uid_is_refused(self, ask):
        ask.create("pod")
        patch = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000", "labels": {"a": "b"}}}
        status, body = ask("PATCH", f"{ask.path}/pod", patch, MERGE)
        assert (status, causes(body)) == (422, {("metadata.uid", "FieldValueInvalid")})

    def test_a_patch_of_nothing_and_of_another_kind(self, ask):
        assert ask("PATCH", f"{ask.path}/pod", {"metadata": {}}, MERGE)[0] == 404
        ask.create("pod")
        status, body = ask("PATCH", f"{ask.path}/pod", {"metadata": {}}, "application/json")
        assert (status, body["reason"]) == (415, "UnsupportedMediaType")

    def test_a_specification_is_fixed(self, ask):
        ask.create("pod")
        status, body = ask("PATCH", f"{ask.path}/pod", {"spec": {"restartPolicy": "Never"}}, MERGE)
        assert (status, body["reason"]) == (422, "Invalid")
        assert causes(body) == {("spec", "FieldValueForbidden")}

    def test_labels_are_checked(self, ask):
        ask.create("pod")
        status, body = ask("PATCH", f"{ask.path}/pod", {"metadata": {"labels": {"a": "b c"}}}, MERGE)
        assert (status, causes(body)) == (422, {("metadata.labels", "FieldValueInvalid")})

    def test_a_patch_of_the_pod_leaves_its_status(self, ask):
        ask.create("pod")
        _, pod = ask("PATCH", f"{ask.path}/pod", {"status": {"phase": "Failed"}}, MERGE)
        assert pod["status"]["phase"] == "Pending"
        _, pod = ask("PATCH", f"{ask.path}/pod/status", {"status": {"phase": "Failed"}}, MERGE)
        assert pod["status"]["phase"] == "Failed"


class TestReplacing:
    def test_who_writes_what_somebody_else_has_changed_must_read_again(self, ask):
        mine = ask.create("pod")
        ask("PATCH", f"{ask.path}/pod", {"metadata": {"labels": {"theirs": "1"}}}, MERGE)
        mine["metadata"]["labels"] = {"mine": "1"}
        status, body = ask("PUT", f"{ask.path}/pod", mine)
        assert (status, body["reason"], body["details"]) == (409, "Conflict", {"name": "pod", "kind": "pods"})
        assert body["message"] == (
            'Operation cannot be fulfilled on pods "pod": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
        again = ask.pod("pod")
        again["metadata"]["labels"] = {"mine": "1"}
        assert ask("PUT", f"{ask.path}/pod", again)[1]["metadata"]["labels"] == {"mine": "1"}

    def test_a_status_of_an_older_version_is_a_conflict(self, ask):
        old = ask.create("pod")
        ask.set_phase("pod", "Running")
        old["status"]["phase"] = "Failed"
        assert ask("PUT", f"{ask.path}/pod/status", old)[0] == 409

    def test_the_status_changes_alone(self, ask):
        pod = ask.create("pod")
        pod["status"]["phase"] = "Running"
        pod["spec"]["restartPolicy"] = "Never"
        status, changed = ask("PUT", f"{ask.path}/pod/status", pod)
        assert (status, changed["status"]["phase"], changed["spec"]["restartPolicy"]) == (200, "Running", "Always")

    def test_without_a_version_it_is_written_all_the_same(self, ask):
        pod = ask.create("pod")
        del pod["metadata"]["resourceVersion"]
        pod["metadata"]["labels"] = {"a": "b"}
        assert ask("PUT", f"{ask.path}/pod", pod)[0] == 200

    def test_names_and_uids_fit(self, ask):
        pod = ask.create("pod")
        assert ask("PUT", f"{ask.path}/other", pod)[0] == 400
        pod["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
        status, body = ask("PUT", f"{ask.path}/pod", pod)
        assert (status, body["reason"]) == (409, "Conflict")
        assert "Precondition failed: UID in precondition" in body["message"]


class TestDeleting:
    def test_a_pod_without_a_node_is_gone_at_once(self, ask):
        created = ask.create("pod")
        status, deleted = ask("DELETE", f"{ask.path}/pod")
        assert (status, deleted["metadata"]["uid"]) == (200, created["metadata"]["uid"])
        assert ask("GET", f"{ask.path}/pod")[0] == 404
        assert ask("DELETE", f"{ask.path}/pod")[0] == 404

    @pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
    def test_so_is_one_that_has_ended(self, ask, phase):
        ask.create("pod")
        ask.bind("pod")
        ask.set_phase("pod", phase)
        assert ask("DELETE", f"{ask.path}/pod")[0] == 200
        assert ask("GET", f"{ask.path}/pod")[0] == 404

    def test_a_pod_on_a_node_waits_for_its_kubelet(self, ask):
        ask.create("pod")
        ask.bind("pod")
        status, deleted = ask("DELETE", f"{ask.path}/pod")
        assert (status, deleted["metadata"]["deletionGracePeriodSeconds"]) == (200, 30)
        pod = ask.pod("pod")
        assert pod["metadata"]["deletionTimestamp"] == deleted["metadata"]["deletionTimestamp"]
        assert pod["metadata"]["deletionTimestamp"] > pod["metadata"]["creationTimestamp"]
        assert ask("POST", ask.path, make_pod("pod"))[0] == 409

    def test_its_grace_can_be_shortened_but_not_extended(self, ask):
        ask.create("pod")
        ask.bind("pod")
        graces = [
            ask("DELETE", f"{ask.path}/pod", {"gracePeriodSeconds": grace})[1]["metadata"]["deletionGracePeriodSeconds"]
            for grace in (20, 25, 10)
        ]
        assert graces == [20, 20, 10]

    def test_without_grace_it_is_gone_at_once(self, ask):
        ask.create("pod")
        ask.bind("pod")
        ask("DELETE", f"{ask.path}/pod")
        status, body = ask("DELETE", f"{ask.path}/pod", gracePeriodSeconds=0)
        assert status == 200, body
        assert ask("GET", f"{ask.path}/pod")[0] == 404

    def test_the_clients_delete(self, ask):
        ask.create("pod")
        deleted = ask.core.delete_namespaced_pod("pod", ask.namespace, grace_period_seconds=0)
        assert deleted.metadata.name == "pod"

    def test_a_watch_sees_the_mark_and_the_end(self, ask):
        created = ask.create("pod")
        ask.bind("pod")
        ask("DELETE", f"{ask.path}/pod", {"gracePeriodSeconds": 7})
        ask("DELETE", f"{ask.path}/pod", {"gracePeriodSeconds": 0})
        events = ask.watch(9, resourceVersion=revision(created), timeoutSeconds=1)
        marks = [(kind, pod["metadata"].get("deletionGracePeriodSeconds")) for kind, pod in events]
        assert marks == [("MODIFIED", None), ("MODIFIED", 7), ("MODIFIED", 0), ("DELETED", 0)]

    def test_a_pod_of_another_uid_is_left_alone(self, ask):
        created = ask.create("pod")
        for uid, expected in (("other", 409), (created["metadata"]["uid"], 200)):
            status, body = ask("DELETE", f"{ask.path}/pod", {"preconditions": {"uid": uid}})
            assert status == expected, body
            if status == 409:
                assert body["reason"] == "Conflict"
                assert "the UID in the precondition (other) does not match the UID in record" in body["message"]

    def test_a_pod_of_another_version_is_left_alone(self, ask):
        created = ask.create("pod")
        ask.set_phase("pod", "Running")
        options = {"preconditions": {"resourceVersion": str(revision(created))}}
        assert ask("DELETE", f"{ask.path}/pod", options)[0] == 409

    def test_all_of_a_selection(self, ask):
        for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
            ask.create(name, labels={"l": label})
        assert ask("DELETE", ask.path, labelSelector="l=x")[0] == 200
        assert names(ask("GET", ask.path)[1]) == ["c"]

    def test_a_pod_that_goes_takes_no_label_off_who_reads_it(self, ask):
        ask.create("pod", labels={"a": "b"})
        ask.bind("pod")
        ask("DELETE", f"{ask.path}/pod")
        status, pod = ask("PATCH", f"{ask.path}/pod", {"metadata": {"labels": {"c": "d"}}}, MERGE)
        assert (status, pod["metadata"]["labels"]) == (200, {"a": "b", "c": "d"})
        assert pod["metadata"]["deletionTimestamp"]


class TestAccess:
    def test_who_is_nobody_is_unauthorized(self, asker):
        status, body = asker("wrong-token")("GET", "/api/v1/pods")
        assert (status, body) == (
            401,
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": "Unauthorized",
                "reason": "Unauthorized",
                "code": 401,
            },
        )

    def test_who_has_no_right_is_told_which(self, asker, server):
        powerless = asker(server.add_user("powerless"))
        where = f'in API group "" in the namespace "{powerless.namespace}"'
        status, body = powerless("GET", powerless.path)
        assert (status, body["reason"], body["details"]) == (403, "Forbidden", {"kind": "pods"})
        assert body["message"] == f'pods is forbidden: User "powerless" cannot list resource "pods" {where}'
        status, body = powerless("GET", f"{powerless.path}/pod/log")
        assert (status, body["details"]) == (403, {"name": "pod", "kind": "pods"})
        assert body["message"] == f'pods "pod" is forbidden: User "powerless" cannot get resource "pods/log" {where}'
        status, body = powerless("GET", "/api/v1/pods", watch="true")
        assert body["message"] == (
            'pods is forbidden: User "powerless" cannot watch resource "pods" in API group "" at the cluster scope'
        )

    @pytest.mark.parametrize(("powerless", "allowed"), [(False, True), (True, False)])
    def test_everybody_may_ask_what_they_may(self, asker, server, powerless, allowed):
        ask = asker(server.add_user("powerless") if powerless else "")
        attributes = {"verb": "create", "resource": "pods", "namespace": ask.namespace}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        status, review = ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        assert (status, review["status"]["allowed"]) == (201, allowed)
        assert review["spec"]["resourceAttributes"] == attributes


class TestTheRest:
    def test_the_version(self, ask):
        status, version = ask("GET", "/version")
        assert (status, version["major"]) == (200, "1")
        assert version["gitVersion"].startswith("v1.")

    def test_namespaces(self, ask):
        _, namespace = ask("GET", f"/api/v1/namespaces/{ask.namespace}")
        assert (namespace["kind"], namespace["status"]["phase"]) == ("Namespace", "Active")
        assert ask("POST", "/api/v1/namespaces", {"metadata": {"name": ask.namespace}})[1]["reason"] == "AlreadyExists"
        assert ask("GET", "/api/v1/namespaces/nowhere")[0] == 404
        assert ask.namespace in names(ask("GET", "/api/v1/namespaces")[1])

    def test_a_path_that_leads_nowhere(self, ask):
        status, _ = ask("GET", "/apis/nothing.example/v1/things")
        assert status == 404

    def test_a_pod_is_bound_once(self, ask):
        ask.create("pod")
        ask.bind("pod")
        assert ask.pod("pod")["spec"]["nodeName"] == "node-1"
        body = {"metadata": {"name": "pod"}, "target": {"kind": "Node", "name": "node-2"}}
        assert ask("POST", f"{ask.path}/pod/binding", body)[0] == 409
