"""What the executor does between its host and its threads. Those are played here, as no cluster keeps such moments
still; the real ones are in ``tests/integration/kubernetes``.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError
from executors.events import Accepted, Failed, Lost, Pending, Running, Succeeded
from executors.kubernetes.building.naming import annotations_of, pod_name
from executors.kubernetes.creating import Created, Exists, Refused, Requeued
from executors.kubernetes.errors import ClusterUnreachableError, KubernetesError
from executors.kubernetes.executor import KubernetesExecutor
from executors.kubernetes.leftovers import Keep, Remove
from executors.kubernetes.pods import NO_REPORT
from executors.kubernetes.viewing import Deleted, Seen, place
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload


class PlayedCreator:
    """Answers what the test tells it to."""

    def __init__(self) -> None:
        self.submitted: dict[TaskInstanceKey, dict[str, Any]] = {}
        self.results: list[Any] = []
        self.in_flight = True
        self.trouble: str | None = None

    def submit(self, key: TaskInstanceKey, namespace: str, manifest: dict[str, Any]) -> None:
        self.submitted[key] = manifest

    def cancel(self, key: TaskInstanceKey) -> bool:
        return not self.in_flight and self.submitted.pop(key, None) is not None

    def take(self) -> list[Any]:
        taken, self.results = self.results, []
        return taken


class PlayedWatcher:
    """Tells what the test tells it to."""

    def __init__(self) -> None:
        self.news: list[Any] = []
        self.pods: dict[tuple[str, str], dict[str, Any]] = {}
        self.listed = 0.0
        self.synced = True
        self.trouble: str | None = None

    def take(self) -> list[Any]:
        taken, self.news = self.news, []
        return taken

    def snapshot(self) -> dict[tuple[str, str], dict[str, Any]]:
        return self.pods


class PlayedBackend:
    def __init__(self) -> None:
        self.creator, self.watcher = PlayedCreator(), PlayedWatcher()
        self.removed: list[Remove] = []
        self.kept: list[Keep] = []
        self.closed: list[float] = []
        self.remove, self.keep = self.removed.append, self.kept.append
        self.close = self.close_in_background = self.closed.append

    def troubles(self) -> list[str]:
        return [trouble for trouble in (self.creator.trouble, self.watcher.trouble) if trouble]

    def told(self) -> list[str]:
        return []


class Stage:
    """An executor on a played backend."""

    def __init__(self, parallelism: int = 0, **options: str) -> None:
        own = {"worker_container_repository": "image", "namespace": "jobs", **options}
        context = ExecutorContext(options=own, worker_config={"task_api_url": "https://api.example"})
        self.executor = KubernetesExecutor(parallelism, context=context)
        self.backend = self.executor._backend = PlayedBackend()
        self.creator, self.watcher = self.backend.creator, self.backend.watcher

    def launch(self, **fields: Any) -> TaskInstanceKey:
        workload = make_workload(**fields)
        self.executor.queue_workload(workload)
        self.beat()
        return workload.key

    def create(self, key: TaskInstanceKey) -> dict[str, Any]:
        self.creator.results.append(Created(key, pod := as_pod(key)))
        return pod

    def run(self, key: TaskInstanceKey) -> None:
        self.create(key)
        self.watcher.news.append(Seen(as_pod(key, "Running")))
        self.beat()
        self.executor.get_event_buffer()

    def beat(self) -> list[Any]:
        self.executor.heartbeat()
        return self.executor.get_event_buffer()


def make_workload(**fields: Any) -> Workload:
    key = TaskInstanceKey("dag", "task", "run", attempt_id=str(uuid.uuid4()))
    return Workload(**{"key": key, "command": ("true",), "code": CodeReference("file.py", "0"), **fields})


def as_pod(key: TaskInstanceKey, phase: str = "Pending", uid: str = "") -> dict[str, Any]:
    metadata = {
        "namespace": "jobs", "name": pod_name(key), "uid": uid or f"uid of {key.attempt_id}",
        "annotations": annotations_of(key),
    }  # fmt: skip
    return {"metadata": metadata, "status": {"phase": phase}}


def external(key: TaskInstanceKey) -> str:
    return f"jobs/{pod_name(key)}"


@pytest.fixture
def stage() -> Stage:
    return Stage()


# -- launching ---------------------------------------------------------------------------------------------------------


def test_launch_hands_a_pod_to_creation_and_its_report_frees_the_slot(stage: Stage) -> None:
    key = stage.launch(command=("hybrid", "tasks", "run"))
    manifest = stage.creator.submitted[key]
    assert place(manifest) == ("jobs", pod_name(key))
    assert manifest["spec"]["containers"][0]["command"] == ["hybrid", "tasks", "run"]
    stage.create(key)
    assert stage.beat() == [Accepted(key, external(key))]
    stage.watcher.news.append(Seen(as_pod(key, "Running")))
    assert stage.beat() == [Running(key)]
    stage.executor.reported(key)
    assert stage.beat() == [Succeeded(key)]
    assert (stage.executor.slots_occupied, stage.backend.removed) == (0, [])
    stage.watcher.news.append(Seen(as_pod(key, "Succeeded")))
    assert stage.beat() == []
    (removed,) = stage.backend.removed
    assert (removed.place, removed.collect) == (("jobs", pod_name(key)), key)


@pytest.mark.parametrize(
    ("config", "word"), [({"image": "x"}, "image"), ({"pod_override": {"spec": {"nonsense": 1}}}, "nonsense")]
)
def test_bad_executor_config_fails_that_attempt_alone(stage: Stage, config: dict[str, Any], word: str) -> None:
    bad, good = make_workload(executor_config=config), make_workload()
    stage.executor.queue_workload(bad)
    stage.executor.queue_workload(good)
    (failed,) = stage.beat()
    assert (failed.key, failed.refused, word in failed.reason) == (bad.key, True, True)
    assert list(stage.creator.submitted) == [good.key]


def test_at_most_a_batch_per_heartbeat() -> None:
    stage = Stage(worker_pods_creation_batch_size="2")
    for _ in range(5):
        stage.executor.queue_workload(make_workload())
    sizes = []
    for _ in range(3):
        stage.beat()
        sizes.append(len(stage.creator.submitted))
    assert sizes == [2, 4, 5]


def test_launch_before_start_waits_in_the_queue() -> None:
    executor = KubernetesExecutor(1, context=ExecutorContext(name="k8s"))
    executor.queue_workload(workload := make_workload())
    with pytest.raises(KubernetesError, match="before start"):
        executor.heartbeat()
    assert workload.key in executor.queued_tasks


def test_bad_option_is_named() -> None:
    with pytest.raises(ExecutorConfigError, match="relist_interval"):
        KubernetesExecutor(1, context=ExecutorContext(name="k8s", options={"relist_interval": "often"}))


def test_bad_hook_is_named_at_start() -> None:
    options = {"pod_mutation_hook": "no.such.module"}
    with pytest.raises(ExecutorConfigError, match="pod_mutation_hook"):
        KubernetesExecutor(1, context=ExecutorContext(name="k8s", options=options)).start()


# -- creation ----------------------------------------------------------------------------------------------------------


def test_creation_that_waits_says_why(stage: Stage) -> None:
    key = stage.launch()
    stage.creator.results += [Requeued(key, "exceeded quota", 5.0), Requeued(key, "exceeded quota", 9.0)]
    assert stage.beat() == [Pending(key, "exceeded quota")]
    assert stage.executor.slots_occupied == 1


def test_creation_that_is_refused_costs_a_try(stage: Stage) -> None:
    key = stage.launch()
    stage.creator.results.append(Refused(key, "422: spec.containers"))
    assert stage.beat() == [Failed(key, "422: spec.containers", refused=True)]
    assert stage.executor.slots_occupied == 0


@pytest.mark.parametrize("news", ["seen", "started"])
def test_pod_that_is_there_is_created_no_more(stage: Stage, news: str) -> None:
    """The call that made it got no answer. Where its quota is full by now, the next ones would be refused for ever."""
    key = stage.launch()
    stage.creator.in_flight = False
    if news == "seen":
        stage.watcher.news.append(Seen(as_pod(key, "Running")))
    else:
        stage.executor.started(key)
    stage.beat()
    assert stage.creator.submitted == {}
    assert stage.executor.slots_occupied == 1


def test_launched_again_it_finds_the_end_of_its_first_pod(stage: Stage) -> None:
    key = stage.launch()
    stage.creator.results.append(Exists(key, as_pod(key, "Succeeded")))
    accepted, failed = stage.beat()
    assert (accepted.external_id, failed.reason, failed.refused) == (external(key), NO_REPORT, True)


# -- revoking ----------------------------------------------------------------------------------------------------------


def test_revoked_before_its_creation_began_leaves_nothing(stage: Stage) -> None:
    key = stage.launch()
    stage.creator.in_flight = False
    stage.executor.revoke_task(TaskInstanceRef(key))
    assert (stage.creator.submitted, stage.backend.removed, stage.executor.slots_occupied) == ({}, [], 0)


def test_revoked_while_its_create_is_in_flight_is_deleted_once_it_is_there(stage: Stage) -> None:
    key = stage.launch()
    stage.executor.revoke_task(TaskInstanceRef(key))
    pod = stage.create(key)
    assert stage.beat() == []
    assert stage.backend.removed[-1] == Remove(place(pod), pod["metadata"]["uid"], key)


def test_revoked_pod_is_deleted_once(stage: Stage) -> None:
    key = stage.launch()
    stage.run(key)
    for _ in range(2):
        stage.executor.revoke_task(TaskInstanceRef(key))
    assert [removed.collect for removed in stage.backend.removed] == [key]


def test_attempt_that_nobody_adopted_is_found_by_its_name_and_stopped(stage: Stage) -> None:
    key = make_workload().key
    stage.watcher.pods[("jobs", pod_name(key))] = as_pod(key, "Running")
    stage.executor.revoke_task(TaskInstanceRef(key))
    assert [removed.place for removed in stage.backend.removed] == [("jobs", pod_name(key))]


def test_revoked_before_the_first_list_is_stopped_once_it_is_seen(stage: Stage) -> None:
    """Cleared while no scheduler was there. A pod that waits for ever would never be told by its own heartbeat."""
    stage.watcher.synced = False
    workload = make_workload()
    stage.executor.revoke_task(TaskInstanceRef(workload.key, external_executor_id=external(workload.key)))
    where = ("jobs", pod_name(workload.key))
    assert stage.backend.removed == [Remove(where, "", workload.key)]
    stage.watcher.news.append(Seen(as_pod(workload.key)))
    stage.watcher.synced = True
    assert stage.beat() == []
    assert stage.backend.removed[1:] == [Remove(where, f"uid of {workload.key.attempt_id}", workload.key)]


def test_report_of_a_launch_that_was_not_created_yet_cancels_it(stage: Stage) -> None:
    """An earlier launch of the same attempt has run it."""
    key = stage.launch()
    stage.creator.in_flight = False
    stage.executor.reported(key)
    assert (stage.beat(), stage.creator.submitted) == ([Succeeded(key)], {})


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_trouble_is_raised_after_everything_else_was_done(stage: Stage) -> None:
    """With each reason once."""
    key = stage.launch()
    stage.create(key)
    stage.creator.trouble = stage.watcher.trouble = "list pods: https://k8s cannot be reached"
    with pytest.raises(ClusterUnreachableError, match="^list pods: https://k8s cannot be reached$"):
        stage.executor.heartbeat()
    assert stage.executor.get_event_buffer() == [Accepted(key, external(key))]


def test_news_that_makes_no_sense_holds_up_no_other(stage: Stage) -> None:
    key = stage.launch()
    stage.create(key)
    stage.watcher.news += [Seen(None), Seen(as_pod(key, "Running"))]
    with pytest.raises(AttributeError):
        stage.executor.heartbeat()
    assert Running(key) in stage.beat()


def test_deleted_by_hand_frees_the_slot(stage: Stage) -> None:
    key = stage.launch()
    stage.run(key)
    stage.watcher.news.append(Deleted(as_pod(key, "Running")))
    (lost,) = stage.beat()
    assert (type(lost), lost.ended, stage.executor.slots_occupied) == (Lost, False, 0)


# -- adoption ----------------------------------------------------------------------------------------------------------


def test_adoption_by_what_was_listed(stage: Stage) -> None:
    there, ended, gone, new = (make_workload().key for _ in range(4))
    for key, phase in ((there, "Running"), (ended, "Failed")):
        stage.watcher.pods[("jobs", pod_name(key))] = as_pod(key, phase)
    refs = {key: TaskInstanceRef(key, external_executor_id=external(key), started=True) for key in (there, ended, gone)}
    refs[new] = TaskInstanceRef(new)
    assert stage.executor.try_adopt_task_instances(list(refs.values())) == [refs[gone], refs[new]]
    events = stage.beat()
    assert Running(there) in events
    assert [event.key for event in events if isinstance(event, Failed)] == [ended]
    assert list(stage.executor.running) == [there]
    assert stage.executor.try_adopt_task_instances([refs[there]]) == []


def test_adoption_before_the_first_list_believes_what_has_started(stage: Stage) -> None:
    """What has not is handed over again, and finds its pod by its name."""
    stage.watcher.synced = False
    key, new = make_workload().key, make_workload().key
    started, fresh = TaskInstanceRef(key, started=True), TaskInstanceRef(new)
    assert stage.executor.try_adopt_task_instances([started, fresh]) == [fresh]
    assert stage.beat() == []
    stage.watcher.listed = time.monotonic() + 1.0
    (lost,) = stage.beat()
    assert (type(lost), lost.ended, stage.executor.slots_occupied) == (Lost, False, 0)


def test_attempt_of_another_executor_is_not_adopted(stage: Stage) -> None:
    stage.watcher.synced = False
    ref = TaskInstanceRef(make_workload().key, external_executor_id="someone/else", started=True)
    assert stage.executor.try_adopt_task_instances([ref]) == [ref]


def test_pod_of_that_name_and_another_attempt_is_not_adopted(stage: Stage) -> None:
    key = make_workload().key
    stage.watcher.pods[("jobs", pod_name(key))] = as_pod(make_workload().key, "Running")
    ref = TaskInstanceRef(key, started=True)
    assert stage.executor.try_adopt_task_instances([ref]) == [ref]


def test_adoption_finds_a_pod_in_any_namespace() -> None:
    stage = Stage(multi_namespace_mode="True")
    key = make_workload().key
    pod = as_pod(key, "Running")
    pod["metadata"]["namespace"] = "elsewhere"
    stage.watcher.pods[("elsewhere", pod_name(key))] = pod
    assert stage.executor.try_adopt_task_instances([TaskInstanceRef(key, started=True)]) == []
    assert Accepted(key, f"elsewhere/{pod_name(key)}") in stage.beat()


# -- the end -----------------------------------------------------------------------------------------------------------


def test_terminate_deletes_what_may_run_and_reports_it_lost(stage: Stage) -> None:
    running, creating = stage.launch(), stage.launch()
    stage.run(running)
    stage.executor.terminate()
    stage.executor.terminate()
    assert {type(event) for event in stage.executor.get_event_buffer()} == {Lost}
    assert {removed.place[1] for removed in stage.backend.removed} == {pod_name(running), pod_name(creating)}
    assert len(stage.backend.closed) == 1
    stage.executor.heartbeat()


@pytest.mark.timed
def test_heartbeat_with_a_thousand_running_pods(stage: Stage) -> None:
    """At most 50 ms, also in one that hears of each of them."""
    keys = [make_workload().key for _ in range(1000)]
    for key in keys:
        stage.executor.queue_workload(make_workload(key=key))
    stage.beat()
    for key in keys:
        stage.run(key)
    quiet = _seconds(stage)
    stage.watcher.news += [Seen(as_pod(key, "Running")) for key in keys]
    told = _seconds(stage)
    print(f"quiet {quiet * 1e3:.2f} ms, told of each {told * 1e3:.2f} ms")
    assert (quiet < 0.005, told < 0.05) == (True, True)


def _seconds(stage: Stage) -> float:
    began = time.perf_counter()
    stage.beat()
    return time.perf_counter() - began
