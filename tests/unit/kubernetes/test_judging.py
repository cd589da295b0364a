"""What is said of a launch by its pod's status: each way to wait, to run, to end, to be taken away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.kubernetes.judging import Judgement, Kind, after_deletion, judge
from executors.kubernetes.options import FATAL_REASONS
from executors.kubernetes.statuses import LONGEST_REASON
from tests.unit.kubernetes.pod_documents import (
    CREATED,
    FINISHED,
    IMAGE,
    SCHEDULED,
    UNSCHEDULABLE,
    Pod,
    condition,
    deleted,
    ended,
    pod,
    runs,
    taken_away,
    waits,
    with_spec,
)

PENDING, RUNNING, SUCCEEDED, FAILED = Kind.PENDING, Kind.RUNNING, Kind.SUCCEEDED, Kind.FAILED
LOST, REFUSED, UNKNOWN = Kind.LOST, Kind.REFUSED, Kind.UNKNOWN
PULL = f'Back-off pulling image "{IMAGE}"'
PULL_FAILED = f"failed to pull and unpack image: {IMAGE}: not found"
LOW = (
    "The node was low on resource: memory. Threshold quantity: 100Mi, available: 84Mi. Container base was using 512Mi, "
    "request is 0, has larger consumption of memory. "
)
SHUTDOWN = "Pod was terminated in response to imminent node shutdown."
NODE_GONE = "PodGC: node no longer exists"
PREEMPTED = "default-scheduler: preempting to accommodate a higher priority pod"
TAINT = "Taint manager: deleting due to NoExecute taint"
DRAINED = "Eviction API: evicting"
NOT_FOUND = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    'unable to start container process: error during container init: exec: "hybrid": executable file not found in $PATH'
)

NOT_SCHEDULED = [condition("PodScheduled", "False", "Unschedulable", UNSCHEDULABLE)]
WAITING: dict[str, tuple[Pod, Judgement]] = {
    "just created": (pod(startTime=None), Judgement(PENDING)),
    "no status at all": ({"metadata": {"name": "x"}}, Judgement(PENDING)),
    "no phase yet": (pod(None), Judgement(PENDING)),
    "being created": (pod(containers=[waits("ContainerCreating")], conditions=[SCHEDULED]), Judgement(PENDING)),
    "init container runs": (
        pod(containers=[waits("PodInitializing")], initContainerStatuses=[runs("fetch")]),
        Judgement(PENDING),
    ),
    "unschedulable": (
        pod(startTime=None, conditions=NOT_SCHEDULED),
        Judgement(PENDING, f"Unschedulable: {UNSCHEDULABLE}"),
    ),
    "gated": (
        pod(conditions=[condition("PodScheduled", "False", "SchedulingGated", "Scheduling is blocked due to gates")]),
        Judgement(PENDING, "SchedulingGated: Scheduling is blocked due to gates"),
    ),
    "image back-off": (
        pod(containers=[waits("ImagePullBackOff", PULL)], conditions=[SCHEDULED]),
        Judgement(PENDING, f"ImagePullBackOff: {PULL}"),
    ),
    "of an init container": (
        pod(containers=[waits("PodInitializing")], initContainerStatuses=[waits("ImagePullBackOff", PULL, "fetch")]),
        Judgement(PENDING, f"ImagePullBackOff: {PULL}"),
    ),
    "of a second container": (
        pod(containers=[runs(), waits("ImagePullBackOff", PULL, "proxy")]),
        Judgement(RUNNING),
    ),
    "pull limit": (
        pod(containers=[waits("ErrImagePull", "pull QPS exceeded")]),
        Judgement(PENDING, "ErrImagePull: pull QPS exceeded"),
    ),
    "message in lines": (
        pod(containers=[waits("ImagePullBackOff", "two\n lines")]),
        Judgement(PENDING, "ImagePullBackOff: two lines"),
    ),
    "deleted before it ran": (
        deleted(pod(containers=[waits("ContainerCreating")])),
        Judgement(PENDING, "its pod is being deleted"),
    ),
    "preempted before it ran": (
        pod(conditions=taken_away("PreemptionByScheduler", PREEMPTED)),
        Judgement(PENDING, f"PreemptionByScheduler: {PREEMPTED}"),
    ),
}


@pytest.mark.parametrize(("document", "judgement"), WAITING.values(), ids=WAITING)
def test_pods_that_wait(document: Pod, judgement: Judgement) -> None:
    assert judge(document, FATAL_REASONS) == judgement


FATAL = {
    "no such image": waits("ErrImagePull", PULL_FAILED),
    "name of an image": waits("InvalidImageName", "couldn't parse image name"),
    "no such secret": waits("CreateContainerConfigError", 'secret "db" not found'),
    "root": waits("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
    "runtime": waits("CreateContainerError", "context deadline exceeded"),
    "inspection": waits("ImageInspectError", "rpc error"),
}


@pytest.mark.parametrize("status", FATAL.values(), ids=FATAL)
@pytest.mark.parametrize("where", ["containers", "initContainerStatuses"])
def test_reasons_that_are_fatal_refuse_the_launch(status: dict[str, Any], where: str) -> None:
    document = pod(conditions=[SCHEDULED], **{where: [status]})
    state = status["state"]["waiting"]
    assert judge(document, FATAL_REASONS) == Judgement(REFUSED, f"{state['reason']}: {state['message']}")
    assert judge(document).kind is PENDING, "which are fatal is an option"


RUNS = {
    "runs": (pod("Running", containers=[runs()], conditions=[SCHEDULED]), Judgement(RUNNING)),
    "no statuses yet": (pod("Running"), Judgement(RUNNING)),
    "a client's model": (
        pod("Running", containers=[{"name": "base", "state": {"running": {}, "waiting": None, "terminated": None}}]),
        Judgement(RUNNING),
    ),
    "an init container that stays": (
        pod("Running", containers=[runs()], initContainerStatuses=[runs("proxy")]),
        Judgement(RUNNING),
    ),
    "deleted by hand": (deleted(pod("Running", containers=[runs()])), Judgement(RUNNING, "its pod is being deleted")),
    "drained": (
        deleted(pod("Running", containers=[runs()], conditions=taken_away("EvictionByEvictionAPI", DRAINED))),
        Judgement(RUNNING, f"EvictionByEvictionAPI: {DRAINED}"),
    ),
    "disruption that is over": (
        pod("Running", containers=[runs()], conditions=[condition("DisruptionTarget", "False", "x")]),
        Judgement(RUNNING),
    ),
    "base ended, a proxy goes on": (
        pod("Running", containers=[ended(1), runs("proxy")]),
        Judgement(FAILED, "exit code 1", True),
    ),
    "base ended well, a proxy goes on": (
        pod("Running", containers=[ended(0), runs("proxy")]),
        Judgement(SUCCEEDED, "its pod succeeded", True),
    ),
    "base ended, its processes may be elsewhere": (
        with_spec(pod("Running", containers=[ended(1), runs("proxy")]), shareProcessNamespace=True),
        Judgement(FAILED, "exit code 1"),
    ),
    "base ended, its processes may be on the node": (
        with_spec(pod("Running", containers=[ended(1), runs("proxy")]), hostPID=True),
        Judgement(FAILED, "exit code 1"),
    ),
    "base ended, and may be started again": (
        with_spec(
            pod("Running", containers=[ended(1)]),
            containers=[{"name": "base", "restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]}],
        ),
        Judgement(FAILED, "exit code 1"),
    ),
    "node does not answer": (
        pod("Unknown", containers=[runs()]),
        Judgement(UNKNOWN, "its node does not answer"),
    ),
    "node is lost": (
        pod("Running", containers=[runs()], reason="NodeLost", message="Node worker-3 is unresponsive"),
        Judgement(LOST, "NodeLost: Node worker-3 is unresponsive"),
    ),
}


@pytest.mark.parametrize(("document", "judgement"), RUNS.values(), ids=RUNS)
def test_pods_that_run(document: Pod, judgement: Judgement) -> None:
    assert judge(document, FATAL_REASONS) == judgement


ENDS = {
    "well": (pod("Succeeded", containers=[ended(0)]), Judgement(SUCCEEDED, "its pod succeeded", True)),
    "well, by a client's model": (
        pod("Succeeded", containers=[{"name": "base", "state": {"running": None, "terminated": {"exitCode": 0}}}]),
        Judgement(SUCCEEDED, "its pod succeeded", True),
    ),
    "exit code": (pod("Failed", containers=[ended(1)]), Judgement(FAILED, "exit code 1", True)),
    "its own words": (
        pod("Failed", containers=[ended(2, message="no ticket\n")]),
        Judgement(FAILED, "exit code 2: no ticket", True),
    ),
    "out of memory": (
        pod("Failed", containers=[ended(137, "OOMKilled")]),
        Judgement(FAILED, "exit code 137 (SIGKILL): OOMKilled", True),
    ),
    "out of memory on a node that is left": (
        pod("Failed", containers=[ended(137, "OOMKilled")], conditions=taken_away("EvictionByEvictionAPI", DRAINED)),
        Judgement(FAILED, "exit code 137 (SIGKILL): OOMKilled", True),
    ),
    "killed": (pod("Failed", containers=[ended(137)]), Judgement(FAILED, "exit code 137 (SIGKILL)", True)),
    "crashed": (pod("Failed", containers=[ended(139)]), Judgement(FAILED, "exit code 139 (SIGSEGV)", True)),
    "too long": (
        pod("Failed", containers=[ended(137)], reason="DeadlineExceeded", message="Pod was active on the node longer"),
        Judgement(FAILED, "DeadlineExceeded: Pod was active on the node longer", True),
    ),
    "nothing to start": (
        pod("Failed", containers=[ended(128, "StartError", message=NOT_FOUND, startedAt="1970-01-01T00:00:00Z")]),
        Judgement(REFUSED, f"exit code 128: StartError: {NOT_FOUND}", True),
    ),
    "runtime in trouble": (
        pod("Failed", containers=[ended(128, "StartError", message="resource temporarily unavailable")]),
        Judgement(FAILED, "exit code 128: StartError: resource temporarily unavailable", True),
    ),
    "init container": (
        pod("Failed", containers=[waits("PodInitializing")], initContainerStatuses=[ended(7, name="fetch")]),
        Judgement(FAILED, "init container fetch: exit code 7", True),
    ),
    "processes that were shared": (
        with_spec(pod("Failed", containers=[ended(1), ended(143, name="proxy")]), shareProcessNamespace=True),
        Judgement(FAILED, "exit code 1", True),
    ),
    "second init container": (
        pod(
            "Failed",
            containers=[waits("PodInitializing")],
            initContainerStatuses=[ended(0, name="fetch"), ended(1, name="check", message="bad")],
        ),
        Judgement(FAILED, "init container check: exit code 1: bad", True),
    ),
    "another container": (
        pod("Failed", containers=[ended(0), ended(3, name="upload")]),
        Judgement(FAILED, "container upload: exit code 3", True),
    ),
    "with a proxy that was stopped": (
        pod("Failed", containers=[ended(1)], initContainerStatuses=[ended(143, name="proxy")]),
        Judgement(FAILED, "exit code 1", True),
    ),
    "no report taken": (
        pod("Failed", containers=[ended(4)]),
        Judgement(LOST, "exit code 4; its task has not been reported", True),
    ),
    "start refused": (
        pod("Failed", containers=[ended(3)]),
        Judgement(FAILED, "exit code 3; its start was refused"),
    ),
    "nothing known": (pod("Failed"), Judgement(FAILED, "its pod failed")),
}


@pytest.mark.parametrize(("document", "judgement"), ENDS.values(), ids=ENDS)
def test_pods_that_have_ended(document: Pod, judgement: Judgement) -> None:
    assert judge(document, FATAL_REASONS) == judgement
    assert after_deletion(document) == judgement, "what it ended with stays true when it is cleaned up"


def evicted(message: str, **more: Any) -> Pod:
    return pod("Failed", containers=[ended(137)], reason="Evicted", message=message, **more)


TAKEN = {
    "evicted": (
        evicted(LOW, conditions=taken_away("TerminationByKubelet", LOW)),
        Judgement(LOST, f"Evicted: {LOW.strip()}", True),
    ),
    "evicted for what it took itself": (
        evicted("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "),
        Judgement(
            FAILED, "Evicted: Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.", True
        ),
    ),
    "evicted for its container's limit": (
        evicted('Container base exceeded its local ephemeral storage limit "1Gi". '),
        Judgement(FAILED, 'Evicted: Container base exceeded its local ephemeral storage limit "1Gi".', True),
    ),
    "evicted for a volume's limit": (
        evicted('Usage of EmptyDir volume "tmp" exceeds the limit "10Mi". '),
        Judgement(FAILED, 'Evicted: Usage of EmptyDir volume "tmp" exceeds the limit "10Mi".', True),
    ),
    "preempted": (
        pod("Failed", containers=[ended(143)], conditions=taken_away("PreemptionByScheduler", PREEMPTED)),
        Judgement(LOST, f"PreemptionByScheduler: {PREEMPTED}", True),
    ),
    "preempted by the kubelet": (
        pod(
            "Failed",
            containers=[ended(137)],
            reason="Preempting",
            message="Preempted in order to admit critical pod",
            conditions=taken_away(
                "TerminationByKubelet", "Pod was preempted by Kubelet to accommodate a critical pod."
            ),
        ),
        Judgement(LOST, "Preempting: Preempted in order to admit critical pod", True),
    ),
    "taint": (
        deleted(pod("Failed", containers=[ended(143)], conditions=taken_away("DeletionByTaintManager", TAINT))),
        Judgement(LOST, f"DeletionByTaintManager: {TAINT}", True),
    ),
    "drained": (
        deleted(pod("Failed", containers=[ended(4)], conditions=taken_away("EvictionByEvictionAPI", DRAINED))),
        Judgement(LOST, f"EvictionByEvictionAPI: {DRAINED}", True),
    ),
    "node shut down": (
        pod(
            "Failed",
            containers=[ended(143)],
            reason="Terminated",
            message=SHUTDOWN,
            conditions=taken_away("TerminationByKubelet", SHUTDOWN),
        ),
        Judgement(LOST, f"Terminated: {SHUTDOWN}", True),
    ),
    "node gone, containers as they were": (
        pod("Failed", containers=[runs()], conditions=taken_away("DeletionByPodGC", NODE_GONE)),
        Judgement(LOST, f"DeletionByPodGC: {NODE_GONE}"),
    ),
    "node gone before it was seen to start": (
        pod("Failed", containers=[waits("ContainerCreating")], conditions=taken_away("DeletionByPodGC", NODE_GONE)),
        Judgement(LOST, f"DeletionByPodGC: {NODE_GONE}"),
    ),
    "no place": (
        pod("Failed", reason="OutOfcpu", message="Pod was rejected: Node didn't have enough resource: cpu"),
        Judgement(LOST, "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu"),
    ),
    "no device": (
        pod("Failed", reason="UnexpectedAdmissionError", message="Allocate failed due to no healthy devices"),
        Judgement(LOST, "UnexpectedAdmissionError: Allocate failed due to no healthy devices"),
    ),
    "labels of the node changed": (
        pod("Failed", reason="NodeAffinity", message="Pod was rejected: Predicate NodeAffinity failed"),
        Judgement(LOST, "NodeAffinity: Pod was rejected: Predicate NodeAffinity failed"),
    ),
    "container that nobody finds": (
        pod("Failed", containers=[ended(137, "ContainerStatusUnknown", message="The container could not be located")]),
        Judgement(LOST, "exit code 137 (SIGKILL): ContainerStatusUnknown: The container could not be located", True),
    ),
    "start refused, and then taken away": (
        pod("Failed", containers=[ended(3)], conditions=taken_away("EvictionByEvictionAPI", DRAINED)),
        Judgement(LOST, f"EvictionByEvictionAPI: {DRAINED}"),
    ),
}


@pytest.mark.parametrize(("document", "judgement"), TAKEN.values(), ids=TAKEN)
def test_pods_that_were_taken_away(document: Pod, judgement: Judgement) -> None:
    assert judge(document, FATAL_REASONS) == judgement
    assert after_deletion(document) == judgement


ASKED = "2026-11-22T10:04:50Z"
"""When its deletion was asked for: see the defaults of ``deleted``."""
DELETIONS = {
    "stopped by it": (
        deleted(pod("Failed", containers=[ended(143, finished=FINISHED)])),
        Judgement(LOST, "exit code 143 (SIGTERM); its pod was deleted", True),
    ),
    "killed by it": (
        deleted(pod("Failed", containers=[ended(137, finished="2026-11-22T10:05:20Z")])),
        Judgement(LOST, "exit code 137 (SIGKILL); its pod was deleted", True),
    ),
    "in the very second": (
        deleted(pod("Failed", containers=[ended(1, finished=ASKED)])),
        Judgement(LOST, "exit code 1; its pod was deleted", True),
    ),
    "it had failed before": (
        deleted(pod("Failed", containers=[ended(1, finished="2026-11-22T10:04:49Z")])),
        Judgement(FAILED, "exit code 1", True),
    ),
    "it had succeeded before": (
        deleted(pod("Succeeded", containers=[ended(0)])),
        Judgement(SUCCEEDED, "its pod succeeded", True),
    ),
    "the kubelet that keeps the phase": (
        deleted(pod("Running", containers=[ended(143)])),
        Judgement(LOST, "exit code 143 (SIGTERM); its pod was deleted", True),
    ),
    "a proxy lingers": (
        deleted(pod("Running", containers=[ended(143), runs("proxy")])),
        Judgement(LOST, "exit code 143 (SIGTERM); its pod was deleted", True),
    ),
    "by force, while it ran": (
        deleted(pod("Running", containers=[runs()]), grace=0),
        Judgement(LOST, "its pod was deleted"),
    ),
    "nobody saw it": (pod("Running", containers=[runs()]), Judgement(LOST, "its pod was deleted")),
    "before it ran": (
        deleted(pod(containers=[waits("ImagePullBackOff", PULL)]), grace=0),
        Judgement(LOST, "its pod was deleted"),
    ),
    "by a taint, while it ran": (
        deleted(pod("Running", containers=[runs()], conditions=taken_away("DeletionByTaintManager", TAINT))),
        Judgement(LOST, f"its pod was deleted: DeletionByTaintManager: {TAINT}"),
    ),
    "lost node": (pod("Unknown", containers=[runs()]), Judgement(LOST, "its pod was deleted")),
}


@pytest.mark.parametrize(("document", "judgement"), DELETIONS.values(), ids=DELETIONS)
def test_pods_that_are_gone(document: Pod, judgement: Judgement) -> None:
    assert after_deletion(document) == judgement


def test_reasons_are_short_lines() -> None:
    """They go into a database and a terminal."""
    waiting = judge(pod(containers=[waits("ImagePullBackOff", "x\n" * 10_000)]))
    failed = judge(pod("Failed", containers=[ended(1, message="x\n" * 10_000)]))
    for judgement in (waiting, failed):
        assert len(judgement.reason) == LONGEST_REASON
        assert "\n" not in judgement.reason


_states = st.fixed_dictionaries(
    {},
    optional={
        "waiting": st.fixed_dictionaries({}, optional={"reason": st.text(max_size=5), "message": st.text(max_size=5)}),
        "running": st.just({"startedAt": CREATED}),
        "terminated": st.fixed_dictionaries(
            {"exitCode": st.integers(0, 255)},
            optional={"reason": st.sampled_from(["Error", "OOMKilled"]), "finishedAt": st.just(FINISHED)},
        ),
    },
)
_containers = st.none() | st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["base", "proxy"])}, optional={"state": _states}), max_size=3
)


@given(
    phase=st.sampled_from([None, "Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    containers=_containers,
    initial=_containers,
    gone=st.booleans(),
)
def test_whatever_stands_in_a_status_it_is_judged(phase: str | None, containers: Any, initial: Any, gone: bool) -> None:
    """And proof that nothing runs is only given where its own container does not."""
    document = pod(phase, containers=containers, initContainerStatuses=initial)
    document = deleted(document) if gone else document
    for judgement in (judge(document, FATAL_REASONS), after_deletion(document)):
        first = next((one for one in containers or () if one["name"] == "base"), {})
        assert not judgement.ended or "terminated" in first.get("state", {}) or (phase == "Failed" and initial)
    assert judge(json.loads(json.dumps(document)), FATAL_REASONS) == judge(document, FATAL_REASONS)
