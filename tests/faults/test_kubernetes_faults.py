"""Attempts in pods: pods, nodes, API server, schedulers and the task API are hurt, in turn and at random.

After each: every attempt has ended, none ran twice at once, no slot is held and no pod is left; the checker reads
database and journal. Faults that do not disturb one another share a deployment.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from checker import Story
from deployment import wait_until, wait_until_moment
from faulty import FAST
from over_kubernetes import (
    LEFTOVER_AFTER,
    SLOTS,
    KubernetesDeployment,
    begin_kubernetes,
    freeze,
    request_timeout,
    thaw,
)

from runtime.scheduler.containment import MOST_SLOTS

AFTER_TIMEOUT = 60.0
"""Above ``task_instance_heartbeat_timeout`` (10 s), also where something must first have been back for as long."""
FINE, LOST, FAILED = ["success"], ["lost", "success"], ["failed", "success"]
"""States of a task's attempts."""
LOCALLY = {"executor": "LocalExecutor"}
SILENT = "no heartbeat for 10 s"


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[KubernetesDeployment]:
    made = begin_kubernetes(tmp_path / "home")
    yield made
    made.close()


def expect(kubernetes, run, task_id, states, *, reason="", losses=0, tries=1, dag_id="held"):
    """``reason``: words of that of its first attempt."""
    attempts = kubernetes.attempts(run, task_id)
    record = kubernetes.states(dag_id, run)[task_id]
    found = [attempt["state"] for attempt in attempts], record["infra_losses"], record["try_number"]
    assert found == (states, losses, tries), f"{task_id}: {[attempt['reason'] for attempt in attempts]}"
    assert not reason or reason in (attempts[0]["reason"] or ""), f"{task_id}: {attempts[0]['reason']}"


# -- pods and nodes

DELETED = "its pod was deleted"
TAKEN_AWAY = {
    "evicted": "Evicted: The node was low on resource: memory",
    "node_shut_down": "Terminated: Pod was terminated in response to imminent node shutdown",
    "preempted": "PreemptionByScheduler",
    "drained": "EvictionByEvictionAPI",
    "deleted": DELETED,
}
"""Why the kubelet, or its API server, has ended a pod: nothing of it runs, so the next attempt begins at once."""
BESIDE = {"name": "sidecar", "image": "any", "command": ["sleep", "600"]}
SIDECAR = {"executor_config": {"pod_override": {"spec": {"containers": [{"name": "base"}, BESIDE]}}}}
"""It runs on when the task has ended, whichever way; so its pod is deleted."""
UNHEARD = ("node_gone", "node_stuck", "deleted_by_force")
"""Nobody says that these run no more: the next attempt waits for the heartbeat's timeout."""


def test_what_befalls_running_pods(kubernetes):
    """Infrastructure pays with ``infra_retries``, a task that took too much memory with its own retries."""
    tasks = (*TAKEN_AWAY, *UNHEARD, "node_cut_off")
    kubernetes.held(*tasks, out_of_memory={"retries": 1}, base_alone={"retries": 1, **SIDECAR})
    kubernetes.api()
    scheduler = kubernetes.scheduler()
    run = kubernetes.trigger("held")
    kubernetes.wait_for_user_code(run, *tasks, "out_of_memory", "base_alone")
    cluster = kubernetes.cluster
    pod = {task: kubernetes.pod_of(task) for task in (*tasks, "out_of_memory", "base_alone")}
    cluster.evict(pod["evicted"])
    cluster.shut_down_node(pod["node_shut_down"])
    cluster.preempt(pod["preempted"])
    cluster.evict_by_api(pod["drained"])
    cluster.delete(pod["deleted"])
    cluster.delete(pod["deleted_by_force"], grace=0)
    cluster.oom_kill(pod["out_of_memory"])
    cluster.oom_kill(pod["base_alone"], container="base")
    cluster.lose_node(pod["node_gone"], kill=True)
    cluster.lose_node(pod["node_stuck"], kill=True, stuck=True)
    cluster.lose_node(pod["node_cut_off"])
    for task in (*TAKEN_AWAY, "out_of_memory", "base_alone"):
        kubernetes.wait_for_attempt(run, task, 2)
    kubernetes.open_gate()
    assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "success"
    for task, reason in TAKEN_AWAY.items():
        expect(kubernetes, run, task, LOST, reason=reason, losses=1)
    for task in UNHEARD:
        expect(kubernetes, run, task, LOST, reason=SILENT, losses=1)
    for task in ("out_of_memory", "base_alone"):
        expect(kubernetes, run, task, FAILED, reason="exit code 137 (SIGKILL): OOMKilled", tries=2)
    expect(kubernetes, run, "node_cut_off", FINE)
    cluster.collect(pod["node_stuck"])
    kubernetes.settle(scheduler)


# -- the way to a start

FATAL = {
    "err_image_pull": "ErrImagePull",
    "invalid_image_name": "InvalidImageName",
    "create_container_config_error": "CreateContainerConfigError",
}
NO_REPORT = "its pod succeeded, but the attempt reported nothing"


def test_what_keeps_pods_from_starting(kubernetes):
    """Each has its reason; what would fail again costs a try at once, what may pass is waited for."""
    cluster = kubernetes.cluster
    retried = {"retries": 1}
    kubernetes.held(
        "unschedulable",
        "image_pull_back_off",
        "deleted",
        **dict.fromkeys([*FATAL, "says_nothing"], retried),
        invalid={"executor_config": {"pod_override": {"spec": {"tollerations": []}}}},
        rejected={"executor_config": {"pod_override": {"metadata": {"labels": {"team": "data science"}}}}},
    )
    for task, reason in FATAL.items():
        cluster.behave(reason, selector=f"task_id={task}", times=1)
    for task, kind in (("deleted", "never_start"), ("says_nothing", "pretend")):
        cluster.behave(kind, selector=f"task_id={task}", times=1)
    for task, kind in (("unschedulable", "unschedulable"), ("image_pull_back_off", "ImagePullBackOff")):
        cluster.behave(kind, selector=f"task_id={task}", times=1)
    kubernetes.open_gate()
    kubernetes.api()
    scheduler = kubernetes.scheduler()
    run = kubernetes.trigger("held")
    cluster.delete(kubernetes.pod_of("deleted"))
    kubernetes.finish(kubernetes.pod_of("says_nothing"))
    kubernetes.wait_for_reason(run, "unschedulable", "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu")
    kubernetes.wait_for_reason(run, "image_pull_back_off", "ImagePullBackOff: Back-off pulling image")
    cluster.release()
    assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "failed", "two of its tasks cannot be run"
    for task, reason in FATAL.items():
        expect(kubernetes, run, task, FAILED, reason=reason, tries=2)
    expect(kubernetes, run, "unschedulable", FINE)
    expect(kubernetes, run, "image_pull_back_off", FINE)
    expect(kubernetes, run, "deleted", LOST, reason=DELETED)
    expect(kubernetes, run, "says_nothing", FAILED, reason=NO_REPORT, tries=2)
    expect(kubernetes, run, "invalid", ["failed"], reason="pod_override: spec.tollerations")
    expect(kubernetes, run, "rejected", ["failed"], reason="a valid label must be")
    kubernetes.settle(scheduler)


def test_quota(kubernetes):
    """The attempts wait with its reason for as long as it takes, and begin when there is room."""
    kubernetes.held("one", "two")
    kubernetes.cluster.set_quota(0)
    kubernetes.open_gate()
    kubernetes.api()
    scheduler = kubernetes.scheduler()
    run = kubernetes.trigger("held")
    for task in ("one", "two"):
        kubernetes.wait_for_reason(run, task, "exceeded quota: pods-quota, requested: pods=1, used: pods=0")
    kubernetes.cluster.set_quota(1)
    assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "success"
    for task in ("one", "two"):
        expect(kubernetes, run, task, FINE)
    kubernetes.settle(scheduler)


# -- the API server


def _throttle(cluster):
    cluster.throttle(1, times=4)


def _server_errors(cluster):
    cluster.fail(500, "create", times=3)
    cluster.fail(503, "create", times=2, after=True)


def _lost_answers(cluster):
    cluster.drop("create", times=2, after=True)
    cluster.drop("delete", times=2)


def _quota_conflicts(cluster):
    cluster.quota_conflict(times=3)


def _refused(cluster):
    cluster.refuse()
    return [(1.5, cluster.listen)]


def _broken_connections(cluster):
    return [(moment, cluster.break_connections) for moment in (0.3, 0.9, 1.5)]


def _half_open_watches(cluster):
    cluster.mute_watches()


def _missed_events(cluster):
    cluster.withhold_events(25)


def _compaction(cluster):
    return [
        blow
        for moment in (0.4, 1.2)
        for blow in ((moment, cluster.compact), (moment, cluster.break_watches), (moment + 0.3, cluster.expire_watches))
    ]


def _duplicates(cluster):
    cluster.duplicate_events()


CALLS = (_throttle, _server_errors, _lost_answers, _quota_conflicts, _refused)
WATCHES = (_broken_connections, _half_open_watches, _missed_events, _compaction, _duplicates)
"""Each turns something, and says what else happens so many seconds after the run has begun."""


@pytest.mark.parametrize("faults", [CALLS, WATCHES], ids=["calls", "watches"])
def test_api_server_at_its_worst(kubernetes, faults):
    """A run for each fault. Nothing of it is an attempt's affair: each is launched once, and that is enough."""
    kubernetes.held("one", "two", "three")
    kubernetes.open_gate()
    kubernetes.api()
    scheduler = kubernetes.scheduler()
    cluster = kubernetes.cluster
    for fault in faults:
        later = fault(cluster) or []
        run = kubernetes.trigger("held")
        begun = time.monotonic()
        for seconds, blow in later:
            wait_until_moment(begun + seconds)
            blow()
        assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "success", fault
        kubernetes.wait_for_no_pods()
        for task in ("one", "two", "three"):
            expect(kubernetes, run, task, FINE)
        cluster.heal()
    kubernetes.settle(scheduler)


def test_cluster_is_lost(kubernetes):
    """And another, empty one answers in its place, whose versions begin anew: what ran runs again, there."""
    kubernetes.held("one", "two")
    kubernetes.api()
    scheduler = kubernetes.scheduler()
    run = kubernetes.trigger("held")
    kubernetes.wait_for_user_code(run, "one", "two")
    kubernetes.cluster.restart()
    kubernetes.open_gate()
    assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "success"
    for task in ("one", "two"):
        expect(kubernetes, run, task, LOST, reason=SILENT, losses=1)
    kubernetes.settle(scheduler)


def test_api_server_hangs(kubernetes):
    """It takes calls and answers none: what is local goes on, running pods too; people are told; later all is well."""
    kubernetes.configure({"kubernetes_executor": request_timeout(1.0)})
    kubernetes.held("running")
    kubernetes.held("late", dag_id="late")
    kubernetes.held(dag_id="local", one=LOCALLY, two=LOCALLY, three=LOCALLY)
    kubernetes.api()
    scheduler = kubernetes.scheduler()
    first = kubernetes.trigger("held")
    kubernetes.wait_for_user_code(first, "running")
    kubernetes.cluster.freeze()
    late = kubernetes.trigger("late")
    kubernetes.open_gate()
    assert kubernetes.wait_for_run("local", kubernetes.trigger("local")) == "success"
    assert kubernetes.wait_for_run("held", first) == "success", "its pod reports to the task API"
    kubernetes.wait_for_health("unavailable", "did not answer in time")
    assert kubernetes.wait_for_run("local", kubernetes.trigger("local")) == "success"
    assert kubernetes.run_state("late", late) == "running"
    kubernetes.cluster.thaw()
    assert kubernetes.wait_for_run("late", late, AFTER_TIMEOUT) == "success"
    kubernetes.wait_for_health("healthy", "")
    expect(kubernetes, first, "running", FINE)
    expect(kubernetes, late, "late", FINE, dag_id="late")
    kubernetes.settle(scheduler)


# -- the scheduler


def test_scheduler_is_killed_before_and_after_the_creation_of_a_pod(kubernetes):
    """Handed over again, an attempt finds the pod that it has, and gets one where it has none."""
    kubernetes.held("before")
    kubernetes.held("after", dag_id="other")
    kubernetes.api()
    cluster, first = kubernetes.cluster, kubernetes.scheduler()
    cluster.refuse()
    before = kubernetes.trigger("held")
    kubernetes.wait_for_attempt(before, "before")
    kubernetes.kill(first)
    assert cluster.pods() == []
    cluster.listen()
    cluster.behave("never_start", selector="task_id=after")
    second = kubernetes.scheduler()
    kubernetes.wait_for_user_code(before, "before")
    cluster.delay(1.0, "create", times=1)
    after = kubernetes.trigger("other")
    kubernetes.wait_for_attempt(after, "after")
    second.send(signal.SIGSTOP)
    kubernetes.pod_of("after")
    kubernetes.kill(second)
    assert kubernetes.attempts(after, "after")[0]["external_id"] is None, "nobody has noted it"
    third = kubernetes.scheduler()
    cluster.release()
    kubernetes.open_gate()
    for dag_id, run, task in (("held", before, "before"), ("other", after, "after")):
        assert kubernetes.wait_for_run(dag_id, run, AFTER_TIMEOUT) == "success"
        expect(kubernetes, run, task, FINE, dag_id=dag_id)
    assert kubernetes.created() == 2
    kubernetes.settle(third)


def test_scheduler_is_killed_while_pods_run(kubernetes):
    """They do not notice. The next one adopts what runs, and what has ended meanwhile, with or without a report."""
    kubernetes.held("runs_on", "reports", "crash", unreported={"retries": 1})
    kubernetes.api()
    cluster, first = kubernetes.cluster, kubernetes.scheduler()
    run = kubernetes.trigger("held")
    kubernetes.wait_for_user_code(run, "runs_on", "reports", "crash", "unreported")
    pods = {task: kubernetes.pod_of(task) for task in ("runs_on", "reports", "crash", "unreported")}
    kubernetes.kill(first)
    kubernetes.open_gate("reports")
    cluster.oom_kill(pods["unreported"])
    cluster.evict(pods["crash"])
    for task in ("reports", "unreported", "crash"):
        kubernetes.wait_for_phase(pods[task], "Succeeded", "Failed")
    second = kubernetes.scheduler()
    kubernetes.wait_for_attempt(run, "unreported", 2)
    kubernetes.wait_for_attempt(run, "crash", 2)
    kubernetes.wait_for_no_pods("task_id=reports")
    assert cluster.pod(pods["runs_on"])["status"]["phase"] == "Running"
    kubernetes.open_gate()
    assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "success"
    expect(kubernetes, run, "runs_on", FINE)
    expect(kubernetes, run, "reports", FINE)
    expect(kubernetes, run, "unreported", FAILED, reason="OOMKilled", tries=2)
    expect(kubernetes, run, "crash", LOST, reason="Evicted", losses=1)
    kubernetes.settle(second)


def test_schedulers_come_and_go_while_the_api_server_hangs(kubernetes):
    """One begins, ends as it is told, and is killed; what runs is adopted when the API server is back."""
    kubernetes.configure({"kubernetes_executor": request_timeout(1.0)})
    kubernetes.held("runs_on", "ends")
    kubernetes.api()
    cluster, first = kubernetes.cluster, kubernetes.scheduler()
    run = kubernetes.trigger("held")
    kubernetes.wait_for_user_code(run, "runs_on", "ends")
    cluster.freeze()
    assert first.stop() == 0
    second = kubernetes.scheduler()
    kubernetes.open_gate("ends")
    wait_until(lambda: kubernetes.task_states(run) == {"runs_on": "running", "ends": "success"}, "its report")
    kubernetes.kill(second)
    third = kubernetes.scheduler()
    kubernetes.wait_for_health("unavailable", "did not answer in time")
    cluster.thaw()
    kubernetes.wait_for_health("healthy", "")
    kubernetes.wait_for_no_pods("task_id=ends")
    kubernetes.open_gate()
    assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "success"
    for task in ("runs_on", "ends"):
        expect(kubernetes, run, task, FINE)
    assert kubernetes.created() == 2
    kubernetes.settle(third)


def test_two_deployments_in_one_namespace(kubernetes, tmp_path):
    """Neither adopts, judges or cleans up the other's pods, be the other's scheduler dead and they unheard of."""
    other = begin_kubernetes(tmp_path / "other", kubernetes)
    try:
        for one in (kubernetes, other):
            one.api()
        kubernetes.held("mine")
        other.held("reports", theirs={"retries": 1})
        second, first = other.scheduler(), kubernetes.scheduler()
        theirs, mine = other.trigger("held"), kubernetes.trigger("held")
        other.wait_for_user_code(theirs, "reports", "theirs")
        pods = [other.pod_of("reports"), other.pod_of("theirs")]
        other.kill(second)
        other.open_gate("reports")
        other.cluster.oom_kill(pods[1])
        for pod in pods:
            other.wait_for_phase(pod, "Succeeded", "Failed")
        kubernetes.open_gate()
        assert kubernetes.wait_for_run("held", mine, AFTER_TIMEOUT) == "success"
        kubernetes.wait_for_no_pods("task_id=mine")
        kubernetes.let_pass(2 * LEFTOVER_AFTER)
        assert all(map(kubernetes.cluster.pod, pods)), "the first must not clean up what the second has not judged"
        second = other.scheduler()
        other.open_gate()
        assert other.wait_for_run("held", theirs, AFTER_TIMEOUT) == "success"
        expect(other, theirs, "reports", FINE)
        expect(other, theirs, "theirs", FAILED, reason="OOMKilled", tries=2)
        other.settle(second)
        kubernetes.settle(first)
    finally:
        other.close()


# -- what is told to attempts, and by them


def test_task_api_is_killed_while_pods_run(kubernetes):
    """Their supervisors ask again until it is back: one has a heartbeat to send, one its start, one its report."""
    kubernetes.held("runs", "reports")
    kubernetes.held("starts", dag_id="other")
    api, scheduler = kubernetes.api(), kubernetes.scheduler()
    run = kubernetes.trigger("held")
    kubernetes.wait_for_user_code(run, "runs", "reports")
    api.kill_group()
    api.wait()
    kubernetes.open_gate("reports")
    late = kubernetes.trigger("other")
    kubernetes.wait_for_phase(kubernetes.pod_of("starts"), "Running")
    kubernetes.api()
    kubernetes.open_gate()
    for dag_id, one in (("held", run), ("other", late)):
        assert kubernetes.wait_for_run(dag_id, one, AFTER_TIMEOUT) == "success"
    for task in ("runs", "reports"):
        expect(kubernetes, run, task, FINE)
    expect(kubernetes, late, "starts", FINE, dag_id="other")
    kubernetes.settle(scheduler)


def test_stopped_by_people_and_by_the_clock(kubernetes):
    """Cleared, or out of time: the pod is deleted, also one that waits for a node."""
    kubernetes.configure({"scheduler": {**FAST["scheduler"], "task_queued_timeout": "20"}})
    kubernetes.held("cleared", "cleared_early", "overdue")
    kubernetes.held("runs", "waits", dag_id="short", dagrun_timeout=12)
    cluster = kubernetes.cluster
    for task in ("cleared_early", "waits", "overdue"):
        cluster.behave("unschedulable", selector=f"task_id={task}", times=1)
    kubernetes.api()
    scheduler = kubernetes.scheduler()
    short, run = kubernetes.trigger("short"), kubernetes.trigger("held")
    kubernetes.wait_for_user_code(run, "cleared")
    kubernetes.wait_for_reason(run, "cleared_early", "Unschedulable")
    early = kubernetes.pod_of("cleared_early")
    kubernetes.hybrid("tasks", "clear", "held", "--run-id", run, "-t", "cleared", "-y")
    for task in ("cleared", "cleared_early"):
        kubernetes.wait_for_attempt(run, task, 2)
    wait_until(lambda: cluster.pod(early) is None, "the pod that waited to be deleted")
    assert kubernetes.wait_for_run("short", short, AFTER_TIMEOUT) == "failed"
    kubernetes.wait_for_no_pods("dag_id=short")
    kubernetes.open_gate()
    assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "success"
    for task in ("cleared", "cleared_early"):
        assert [one["state"] for one in kubernetes.attempts(run, task)][1:] == ["success"]
    expect(kubernetes, run, "overdue", LOST, reason="not started within 20 s: Unschedulable: 0/3 nodes are available")
    for task in ("runs", "waits"):
        expect(kubernetes, short, task, ["lost"], dag_id="short")
    kubernetes.settle(scheduler)


def test_node_frozen_beyond_every_timeout(kubernetes):
    """It is given up, and its pod deleted; when it wakes it does no harm to the attempt that has begun meanwhile."""
    kubernetes.held("frozen")
    kubernetes.api()
    scheduler = kubernetes.scheduler()
    run = kubernetes.trigger("held")
    kubernetes.wait_for_user_code(run, "frozen")
    pod = kubernetes.pod_of("frozen")
    frozen = freeze(kubernetes.attempts(run, "frozen")[0]["pid"])
    kubernetes.cluster.behave("unschedulable", selector="task_id=frozen")  # or two would run while one only sleeps
    kubernetes.wait_for_attempt(run, "frozen", 2, AFTER_TIMEOUT)
    thaw(frozen)
    wait_until(lambda: kubernetes.cluster.pod(pod) is None, "the pod that has woken to be gone")
    kubernetes.cluster.release()
    kubernetes.open_gate()
    assert kubernetes.wait_for_run("held", run, AFTER_TIMEOUT) == "success"
    expect(kubernetes, run, "frozen", LOST, reason=SILENT, losses=1)
    kubernetes.settle(scheduler)


# -- everything at random


@pytest.mark.timeout(300)
def test_everything_at_random(kubernetes, seed):
    """A few dozen attempts while pods, nodes, the API server, the task API and schedulers come to harm."""
    _storm(kubernetes, seed, runs=3, blows=8)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousand_attempts_at_random(kubernetes):
    story = _storm(kubernetes, seed=2024, runs=84, blows=168, patience=2400.0)
    assert len(story.instances) == 1008
    assert sum(attempt["state"] == "lost" for attempt in story.attempts) > 20, "it has struck"


def _storm(kubernetes, seed: int, *, runs: int, blows: int, patience: float = 180.0) -> Story:
    dice = kubernetes.dice(seed)
    kubernetes.configure({"scheduler": {"infra_retries": "1000"}})
    kubernetes.write_dag("storm", STORM)
    kubernetes.wait_for_dag("storm")
    daemons = {"api": kubernetes.api(), "scheduler": kubernetes.scheduler()}
    if seed % 2:
        daemons["second scheduler"] = kubernetes.scheduler()
    ids: list[str] = []
    strike = [_strike_a_pod, _strike_a_pod, _strike_the_cluster, _strike_a_daemon]
    for number in range(blows):
        if len(ids) * blows <= number * runs:
            ids.append(kubernetes.trigger("storm"))
        kubernetes.let_pass(dice.uniform(0.2, 1.5))
        dice.choice(strike)(kubernetes, dice, daemons)
    _clear_some(kubernetes, dice)
    kubernetes.cluster.heal()
    for run in ids:
        assert kubernetes.wait_for_run("storm", run, patience) == "success", kubernetes.task_states(run)
    if "second scheduler" in daemons:
        daemons["second scheduler"].stop()
    # The slot of a pod that has vanished is free before the timeout says that nothing of it runs.
    slots = {"LocalExecutor": SLOTS["LocalExecutor"] * (len(daemons) - 1), "k8s": MOST_SLOTS}
    return kubernetes.settle(daemons["scheduler"], slots, quiet=False)


def _clear_some(kubernetes, dice) -> None:
    kubernetes.hybrid("tasks", "clear", "storm", "-t", f"step_{dice.randrange(12)}$", "-y")


def _strike_a_pod(kubernetes, dice, daemons) -> None:
    cluster = kubernetes.cluster
    pods = [pod["metadata"]["name"] for pod in cluster.pods()]
    if not pods:
        return
    pod = dice.choice(pods)
    blow = dice.choice([
        cluster.evict, cluster.shut_down_node, cluster.preempt, cluster.evict_by_api, cluster.delete, cluster.oom_kill,
        cluster.signal_pod, partial(cluster.delete, grace=0), cluster.lose_node, partial(cluster.lose_node, kill=True),
    ])  # fmt: skip
    with suppress(RuntimeError):  # it has just ended
        blow(pod)


def _strike_the_cluster(kubernetes, dice, daemons) -> None:
    cluster, seconds = kubernetes.cluster, dice.uniform(0.1, 1.5)
    blow = dice.choice(
        ["refuse", "freeze", "connections", "mute", "compact", "withhold", "twice", "calls", "answers", "anew"]
    )
    if blow == "refuse":
        cluster.refuse()
        kubernetes.let_pass(seconds)
        cluster.listen()
    elif blow == "freeze":
        cluster.freeze()
        kubernetes.let_pass(2 * seconds)
        cluster.thaw()
    elif blow == "connections":
        cluster.break_connections()
    elif blow == "mute":
        cluster.mute_watches()
        kubernetes.let_pass(seconds)
        cluster.heal()
    elif blow == "compact":
        cluster.compact()
        cluster.break_watches()
    elif blow == "withhold":
        cluster.withhold_events(dice.randrange(1, 20))
    elif blow == "twice":
        cluster.duplicate_events()
    elif blow == "calls":
        cluster.throttle(1, times=2)
        cluster.fail(500, times=3, after=dice.random() < 0.5)
    elif blow == "anew":
        cluster.restart()
    else:
        cluster.drop(times=3, after=dice.random() < 0.5)


def _strike_a_daemon(kubernetes, dice, daemons) -> None:
    if dice.random() < 0.4:
        daemons["api"].kill_group()
        daemons["api"] = kubernetes.api()
    else:
        whom = dice.choice([name for name in daemons if name != "api"])
        kubernetes.kill(daemons[whom])
        daemons[whom] = kubernetes.scheduler()


STORM = """
from runtime import DAG, task
from journal import busy, witnessed

@task(retries=1000, retry_delay=0.1)
def step(n, run_id=None):
    with witnessed(f"storm.step_{n}.{run_id}"):
        busy(0.3 + 0.2 * (n % 7))

with DAG("storm", max_active_runs=4):
    steps = [step.override(task_id=f"step_{n}", executor=None if n % 4 == 0 else "k8s")(n) for n in range(12)]
    for one, other in zip(steps[:6], steps[6:]):
        one >> other
"""
"""12 tasks a run, a quarter of them local."""
