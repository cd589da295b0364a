"""KubernetesExecutor on a cluster whose kubelet runs real processes: what becomes of attempts and of their pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes_host import drive, make_executor, make_workload, python, started, wait_until

from executors.events import FINAL_EVENTS, Accepted, ExecutorEvent, Failed, Lost, Pending, Running, Succeeded
from executors.kubernetes.building.naming import DONE, pod_name
from executors.kubernetes.executor import KubernetesExecutor
from executors.workload import TaskInstanceKey, TaskInstanceRef, Workload
from tests.kubernetes_api import FakeCluster

SLEEP = python("import time; time.sleep(600)")
QUICK = {"relist_interval": "1", "watch_inactivity": "2"}


class Host:
    """Executors on one cluster, and what is said to them."""

    def __init__(self, cluster: FakeCluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.kubeconfig = cluster.kubeconfig(folder / "kubeconfig")
        self.table = folder / "table"
        self.logs: dict[TaskInstanceKey, str] = {}
        self.context = {"log_sink": self.logs.__setitem__}

    def make(self, **options: Any) -> KubernetesExecutor:
        return make_executor(self.kubeconfig, self.table, **{"context": self.context, **options})

    def workload(self, *command: str, **fields: Any) -> Workload:
        return make_workload(self.table, *command, **fields)

    def phases(self) -> list[str]:
        return [pod["status"]["phase"] for pod in self.cluster.pods()]

    def phase(self, workload: Workload) -> str:
        pod = self.cluster.pod(pod_name(workload.key))
        return pod["status"]["phase"] if pod else "gone"


def finals(events: list[ExecutorEvent]) -> list[ExecutorEvent]:
    return [event for event in events if isinstance(event, FINAL_EVENTS)]


def end(executor: KubernetesExecutor, workload: Workload) -> ExecutorEvent:
    """Launch it and say how it ended."""
    executor.queue_workload(workload)
    (final,) = finals(drive(executor, lambda _: not executor.has_task(TaskInstanceRef(workload.key))))
    assert executor.slots_occupied == 0
    return final


def begin(host: Host, executor: KubernetesExecutor, *command: str, **fields: Any) -> Workload:
    """Launch it and wait until it runs, as its executor has heard."""
    workload = host.workload(*(command or SLEEP), **fields)
    executor.queue_workload(workload)
    drive(executor, lambda events: Running(workload.key) in events)
    return workload


def wait_for_end(executor: KubernetesExecutor, workload: Workload) -> ExecutorEvent:
    (final,) = finals(drive(executor, lambda _: workload.key not in executor.running))
    return final


@pytest.fixture
def host(cluster: FakeCluster, tmp_path: Path) -> Host:
    return Host(cluster, tmp_path)


@pytest.fixture
def executor(host: Host) -> Iterator[KubernetesExecutor]:
    with started(host.make(**QUICK)) as made:
        yield made


# -- ends --------------------------------------------------------------------------------------------------------------


def test_reported_attempt_frees_its_slot_and_its_pod_is_deleted_after_its_log_was_read(
    host: Host, executor: KubernetesExecutor
) -> None:
    workload = host.workload("echo", "what it printed")
    assert end(executor, workload) == Succeeded(workload.key)
    drive(executor, lambda _: not host.cluster.pods())
    assert host.logs == {workload.key: "what it printed\n"}


@pytest.mark.parametrize(("lines", "length"), [(200_000, 100), (400, 100_000)])
def test_of_a_flood_the_last_part_is_kept(host: Host, executor: KubernetesExecutor, lines: int, length: int) -> None:
    """Of many lines and of long ones."""
    text = f"for n in range({lines}): print(str(n).rjust({length - 1}))"
    workload = host.workload(*python(text))
    assert end(executor, workload) == Succeeded(workload.key)
    drive(executor, lambda _: not host.cluster.pods())
    log = host.logs[workload.key]
    assert log.endswith(f"{lines - 1}\n")
    assert 5 * 2**20 < len(log) <= 10 * 2**20 if length == 100_000 else len(log) == 50_000 * length


def test_end_with_another_exit_code_is_told_and_the_pod_is_kept_out_of_the_lists(
    host: Host, executor: KubernetesExecutor
) -> None:
    failed = end(executor, host.workload("sh", "-c", "echo what it printed; exit 7"))
    assert (type(failed), failed.ended, failed.refused) == (Failed, True, False)
    assert "exit code 7" in failed.reason
    drive(executor, lambda _: host.cluster.pods(selector=f"{DONE}=True") and "pods     none" in executor.debug_dump())
    assert host.logs == {failed.key: "what it printed\n"}


def test_success_without_a_report_costs_a_try(host: Host, executor: KubernetesExecutor) -> None:
    failed = end(executor, host.workload("true", reports=False))
    assert (type(failed), failed.refused, failed.ended) == (Failed, True, True)
    assert failed.reason == "its pod succeeded, but the attempt reported nothing"


def test_refused_start_says_nothing_of_the_attempt(host: Host, executor: KubernetesExecutor) -> None:
    """Exit code 3 of ``hybrid tasks run``: another launch has it."""
    failed = end(executor, host.workload("sh", "-c", "exit 3"))
    assert (type(failed), failed.refused, failed.ended) == (Failed, False, False)


def test_out_of_memory_is_a_failure_of_its_own(host: Host, executor: KubernetesExecutor) -> None:
    workload = begin(host, executor)
    host.cluster.oom_kill(pod_name(workload.key))
    failed = wait_for_end(executor, workload)
    assert (type(failed), failed.ended) == (Failed, True)
    assert "OOMKilled" in failed.reason


def test_eviction_is_a_loss_that_nobody_has_to_wait_for(host: Host, executor: KubernetesExecutor) -> None:
    workload = begin(host, executor)
    host.cluster.evict(pod_name(workload.key))
    lost = wait_for_end(executor, workload)
    assert (type(lost), lost.ended) == (Lost, True)
    assert "Evicted" in lost.reason


def test_deleted_by_hand_is_a_loss(host: Host, executor: KubernetesExecutor) -> None:
    workload = begin(host, executor)
    host.cluster.delete(pod_name(workload.key), grace=0)
    lost = wait_for_end(executor, workload)
    assert isinstance(lost, Lost)
    assert "deleted" in lost.reason


def test_lost_node_is_a_loss_and_no_proof_of_an_end(host: Host, executor: KubernetesExecutor) -> None:
    """The process may run on, where nobody sees it."""
    workload = begin(host, executor)
    host.cluster.lose_node(pod_name(workload.key))
    lost = wait_for_end(executor, workload)
    assert (type(lost), lost.ended) == (Lost, False)


def test_pod_that_outlives_its_report_is_deleted(host: Host) -> None:
    with started(host.make(**QUICK, end_grace="0.2")) as executor:
        workload = begin(host, executor)
        executor.reported(workload.key)
        assert finals(executor.get_event_buffer()) == [Succeeded(workload.key)]
        drive(executor, lambda _: not host.cluster.pods())
        assert host.cluster.pids() == {}


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_unschedulable_pod_says_why_and_runs_later(host: Host, executor: KubernetesExecutor) -> None:
    host.cluster.behave("unschedulable")
    workload = host.workload("true")
    executor.queue_workload(workload)
    events = drive(executor, lambda events: any(isinstance(event, Pending) for event in events))
    (waits,) = [event for event in events if isinstance(event, Pending)]
    assert "Unschedulable" in waits.reason
    host.cluster.release()
    events += drive(executor, lambda _: not executor.running)
    assert [event for event in events if isinstance(event, Pending)] == [waits, Pending(workload.key)]
    assert finals(events) == [Succeeded(workload.key)]


def test_fatal_reason_refuses_the_launch_and_deletes_its_pod(host: Host, executor: KubernetesExecutor) -> None:
    host.cluster.behave("ErrImagePull")
    failed = end(executor, host.workload("true"))
    assert (type(failed), failed.refused) == (Failed, True)
    assert "ErrImagePull" in failed.reason
    drive(executor, lambda _: not host.cluster.pods())


def test_quota_is_a_reason_to_wait(host: Host, executor: KubernetesExecutor) -> None:
    host.cluster.set_quota(0)
    workload = host.workload("true")
    executor.queue_workload(workload)
    events = drive(executor, bool)
    assert [("exceeded quota" in event.reason, event.key) for event in events] == [(True, workload.key)]
    host.cluster.set_quota(None)
    assert wait_for_end(executor, workload) == Succeeded(workload.key)


def test_pod_that_the_server_refuses_costs_a_try(host: Host, executor: KubernetesExecutor) -> None:
    host.cluster.fail(422, "create", resource="pods", message="spec.containers[0]: no", times=1)
    failed = end(executor, host.workload("true"))
    assert (type(failed), failed.refused) == (Failed, True)
    assert "spec.containers[0]: no" in failed.reason


# -- creation and revoking ---------------------------------------------------------------------------------------------


def test_creation_whose_answer_was_lost_is_one_pod(host: Host, executor: KubernetesExecutor) -> None:
    host.cluster.drop("create", resource="pods", after=True, times=1)
    workload = host.workload("true")
    assert end(executor, workload) == Succeeded(workload.key)
    drive(executor, lambda _: not host.cluster.pods())


def test_pod_deleted_while_its_create_is_in_flight(host: Host, executor: KubernetesExecutor) -> None:
    """The watch has told of it and of its end before the creation is answered."""
    workload = begin(host, executor)  # so that the watch is there
    executor.revoke_task(TaskInstanceRef(workload.key))
    workload = host.workload(*SLEEP)
    host.cluster.drop("create", resource="pods", after=True)
    executor.queue_workload(workload)
    drive(executor, lambda _: host.phase(workload) != "gone")
    host.cluster.delete(pod_name(workload.key), grace=0)
    host.cluster.heal()
    assert [type(event) for event in finals(drive(executor, finals))] == [Lost]
    assert executor.slots_occupied == 0


def test_revoked_while_its_create_is_in_flight(host: Host, executor: KubernetesExecutor) -> None:
    """The pod is deleted once it is there."""
    host.cluster.delay(0.3, "create", resource="pods")
    workload = host.workload(*SLEEP)
    executor.queue_workload(workload)
    executor.heartbeat()
    wait_until(lambda: host.cluster.counters().get("create pods"))
    executor.revoke_task(TaskInstanceRef(workload.key))
    assert executor.slots_occupied == 0
    wait_until(lambda: host.phase(workload) != "gone")
    assert finals(drive(executor, lambda _: not host.cluster.pods())) == []
    assert host.cluster.pids() == {}


def test_revoked_before_its_create_begins(host: Host, executor: KubernetesExecutor) -> None:
    host.cluster.throttle(30)
    first, second = host.workload(*SLEEP), host.workload(*SLEEP)
    executor.queue_workload(first)
    drive(executor, lambda events: any(isinstance(event, Pending) for event in events))
    executor.queue_workload(second)
    executor.heartbeat()
    for workload in (first, second):
        executor.revoke_task(TaskInstanceRef(workload.key))
    assert executor._backend.creator.pending == 0
    assert host.cluster.pods() == []


def test_same_attempt_launched_again_finds_the_end_of_its_pod(host: Host) -> None:
    """By another scheduler, which was not told of the first launch."""
    workload = host.workload("sh", "-c", "exit 7")
    with started(host.make()) as first:
        first.queue_workload(workload)
        drive(first, bool)
        wait_until(lambda: host.phase(workload) == "Failed")
        with started(host.make()) as second:
            failed = end(second, workload)
            assert "exit code 7" in failed.reason
            assert host.phases() == ["Failed"]


# -- the API server's moods --------------------------------------------------------------------------------------------


def test_unreachable_server_is_trouble_and_no_end(host: Host, executor: KubernetesExecutor) -> None:
    """What runs is kept, what is queued waits, and all end once it is back."""
    running = begin(
        host,
        executor,
        *python(f"import os, time\nwhile not os.path.exists({str(host.folder / 'go')!r}): time.sleep(0.01)"),
    )
    host.cluster.refuse()
    waiting = host.workload("true")
    executor.queue_workload(waiting)
    wait_until(lambda: "cannot be reached" in beat(executor))
    assert executor.slots_occupied == 2
    host.cluster.listen()
    (host.folder / "go").touch()
    events = drive(executor, lambda _: not executor.running)
    assert {event.key for event in finals(events) if isinstance(event, Succeeded)} == {running.key, waiting.key}
    wait_until(lambda: beat(executor) == "")


def test_hung_server_does_not_hold_a_heartbeat_up(host: Host, executor: KubernetesExecutor) -> None:
    """It answers after a minute; heartbeats, revoking and adoption go on."""
    begin(host, executor)
    host.cluster.delay(60.0)
    for _ in range(20):
        executor.queue_workload(workload := host.workload("true"))
        beat(executor)
    executor.revoke_task(TaskInstanceRef(workload.key))
    executor.try_adopt_task_instances([TaskInstanceRef(host.workload("true").key)])
    assert executor.slots_occupied == 20
    host.cluster.heal()
    host.cluster.break_connections()


@pytest.mark.parametrize("missed", [1, 2, 3, 10])
def test_events_that_were_missed_are_found_by_the_next_list(
    host: Host, executor: KubernetesExecutor, missed: int
) -> None:
    begin(host, executor)
    host.cluster.withhold_events(missed)
    workload = host.workload("sh", "-c", "exit 7")
    failed = None
    executor.queue_workload(workload)
    (failed,) = finals(
        drive(executor, lambda _: workload.key not in executor.running and workload.key not in executor.queued_tasks)
    )
    assert "exit code 7" in failed.reason


def test_pod_that_came_and_went_unseen_frees_its_slot(host: Host, executor: KubernetesExecutor) -> None:
    begin(host, executor)
    host.cluster.withhold_events(1000)
    workload = host.workload(*SLEEP)
    executor.queue_workload(workload)
    wait_until(lambda: beat(executor) == "" and host.phase(workload) == "Running")
    host.cluster.delete(pod_name(workload.key), grace=0)
    (lost,) = finals(drive(executor, lambda _: workload.key not in executor.running))
    assert isinstance(lost, Lost)


# -- several schedulers ------------------------------------------------------------------------------------------------


def test_successor_adopts_what_runs_and_what_has_ended(host: Host) -> None:
    with started(host.make(**QUICK)) as dead:
        running = begin(host, dead)
        ended = begin(host, dead, *python("import time; time.sleep(0.3)"), reports=False)
        wait_until(lambda: host.phase(ended) == "Succeeded")
        refs = [
            TaskInstanceRef(w.key, external_executor_id=f"default/{pod_name(w.key)}", started=True)
            for w in (running, ended)
        ]
        gone = TaskInstanceRef(host.workload("true").key, started=True)
        with started(host.make(**QUICK)) as heir:
            drive(heir, lambda _: heir._backend.watcher.synced)
            assert heir.try_adopt_task_instances([*refs, gone]) == [gone]
            events = drive(heir, lambda _: ended.key not in heir.running)
            assert [(type(event), event.key) for event in finals(events)] == [(Failed, ended.key)]
            drive(heir, lambda _: ended.key not in heir._pods and host.phase(ended) == "gone")
            assert heir.has_task(refs[0])
            heir.revoke_task(refs[0])
            drive(heir, lambda _: host.phase(running) == "gone")


def test_leftover_pods_are_cleaned_up_by_age_and_running_ones_are_left_alone(host: Host) -> None:
    with started(host.make(cls=KubernetesExecutor)) as dead:
        for command in (SLEEP, python("import time; time.sleep(0.2)")):
            dead.queue_workload(host.workload(*command, reports=False))
        wait_until(lambda: dead.heartbeat() is None and len(host.cluster.pids()) == 2)
        # It sees no end from now on, as if it had died.
        wait_until(lambda: sorted(host.phases()) == ["Running", "Succeeded"])
        with started(host.make(leftover_after="0.2")) as living, started(host.make(leftover_after="0.2")) as other:
            drive(living, lambda _: other.heartbeat() or host.phases() == ["Running"])
            assert living.get_event_buffer() == other.get_event_buffer() == []


def test_pods_of_another_instance_or_deployment_are_not_seen(host: Host) -> None:
    with (
        started(host.make()) as mine,
        started(host.make(name="other", leftover_after="0")) as other,
        started(host.make(deployment="else", leftover_after="0")) as elsewhere,
    ):
        begin(host, mine)
        drive(other, lambda _: other._backend.watcher.synced)
        drive(elsewhere, lambda _: elsewhere._backend.watcher.synced)
        assert other._backend.watcher.snapshot() == elsewhere._backend.watcher.snapshot() == {}
        assert len(mine._backend.watcher.snapshot()) == 1


# -- namespaces --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", ["jobs, more", ""])
def test_pods_in_several_namespaces(host: Host, listed: str) -> None:
    for namespace in ("jobs", "more"):
        host.cluster.add_namespace(namespace)
    options = {"multi_namespace_mode": "True", "multi_namespace_mode_namespace_list": listed}
    with started(host.make(**options)) as executor:
        for namespace in ("default", "jobs", "more"):
            override = {"pod_override": {"metadata": {"namespace": namespace}}}
            workload = host.workload("true", executor_config=override)
            executor.queue_workload(workload)
            events = drive(executor, lambda _: not executor.running and not executor.queued_tasks)
            assert Accepted(workload.key, f"{namespace}/{pod_name(workload.key)}") in events
            assert finals(events) == [Succeeded(workload.key)]
        drive(executor, lambda _: not host.cluster.pods())


# -- for people --------------------------------------------------------------------------------------------------------


def test_log_of_a_pod_that_runs_also_from_an_executor_that_was_not_started(
    host: Host, executor: KubernetesExecutor
) -> None:
    text = "import time\nfor n in range(300): print(n, flush=True)\ntime.sleep(600)"
    workload = begin(host, executor, *python(text))
    ref = TaskInstanceRef(workload.key)
    wait_until(lambda: "299" in "".join(executor.get_task_log(ref, 1)[1]))
    for asked in (executor, host.make(running_pod_log_lines="3")):
        messages, (log,) = asked.get_task_log(replace(ref, external_executor_id=f"default/{pod_name(ref.key)}"), 1)
        lines = asked.options.running_pod_log_lines
        assert messages == [f"The last {lines} lines of pod default/{pod_name(ref.key)}"]
        assert log.splitlines() == [str(number) for number in range(300 - lines, 300)]


def test_log_of_a_pod_that_is_not_there(host: Host, executor: KubernetesExecutor) -> None:
    messages, logs = executor.get_task_log(TaskInstanceRef(host.workload("true").key), 1)
    assert (len(messages), logs) == (1, [])
    assert "no pod" in messages[0]


def test_log_of_a_pod_that_waits_says_why(host: Host, executor: KubernetesExecutor) -> None:
    host.cluster.behave("never_start")
    workload = host.workload("true")
    executor.queue_workload(workload)
    drive(executor, bool)
    messages, logs = executor.get_task_log(TaskInstanceRef(workload.key), 1)
    assert ("no output yet" in messages[0], logs) == (True, [])


def test_health_names_the_missing_verb(host: Host, executor: KubernetesExecutor) -> None:
    assert "127.0.0.1" in executor.health_check()
    host.cluster.forbid("create", "pods")
    host.cluster.forbid("get", "pods/log")
    found = executor.health_check()
    assert "may not create pods, get pods/log in namespace default" in found
    host.cluster.allow_all()
    assert "may not" not in executor.health_check()
    host.cluster.refuse()
    wait_until(lambda: "cannot be reached" in executor.health_check())
    assert host.make().health_check() == "not started"


def test_examination_names_images_that_cannot_be_pulled_and_tags_that_move(
    host: Host, executor: KubernetesExecutor
) -> None:
    """Beside what the health check says, of which each part is a finding of its own."""
    host.cluster.behave("ImagePullBackOff", message="no such image")
    executor.queue_workload(host.workload("true"))
    drive(executor, lambda _: any("ImagePullBackOff" in str(pod["status"]) for pod in host.cluster.pods()))
    host.cluster.forbid("delete", "pods")
    told = {(str(each.severity), each.about): each.text for each in executor.examine().findings}
    assert "may not delete pods in namespace default" in told["error", "rights"]
    assert "1 pods wait (ImagePullBackOff: no such image)" in told["error", "image"]
    assert "no pod reaches the task API" in told["error", "settings"]
    (found,) = host.make().examine().findings
    assert (str(found.severity), found.text) == ("error", "not started")


def test_dump_tells_of_cluster_creations_and_watch(host: Host, executor: KubernetesExecutor) -> None:
    begin(host, executor)
    dump = executor.debug_dump()
    for line in ("create   0 pending", "watch    default: 1 pods", "delete   0 pending", "pods     1 running"):
        assert f"{line}: no trouble\n" in f"{dump}\n" or f"{line}\n" in dump
    assert f"cluster  {host.cluster.url}" in dump
    assert host.cluster.token not in dump


def beat(executor: KubernetesExecutor) -> str:
    """A heartbeat; what it raised."""
    try:
        executor.heartbeat()
    except Exception as error:
        return str(error)
    return ""
