"""Whatever happens, in whatever order, and whatever of it the watch misses: no slot and no pod is left over."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from executors.context import ExecutorContext
from executors.events import FINAL_EVENTS
from executors.kubernetes.building.naming import DONE, annotations_of, pod_name
from executors.kubernetes.creating import Created, Exists
from executors.kubernetes.executor import KubernetesExecutor
from executors.kubernetes.leftovers import LONGEST_LEAVE, Keep, Remove
from executors.kubernetes.pods import Pods
from executors.kubernetes.viewing import Place, Pod, View
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload

LONG = 100.0
"""Seconds after which everything is due that waits for time alone."""


class Server:
    """The pods that there are, and what a watch that may miss events makes of them."""

    def __init__(self) -> None:
        self.pods: dict[Place, Pod] = {}
        self.view = View()
        self.news: list[Any] = []
        self._numbers = itertools.count(1)

    def create(self, key: TaskInstanceKey, missed: bool) -> Created | Exists:
        where = ("jobs", pod_name(key))
        if where in self.pods:
            return Exists(key, self.pods[where])
        metadata = {"namespace": where[0], "name": where[1], "annotations": annotations_of(key), "labels": {}}
        pod = {"metadata": {**metadata, "uid": str(uuid.uuid4())}, "status": {"phase": "Pending"}}
        return Created(key, self.put(pod, "ADDED", missed))

    def put(self, pod: Pod, kind: str, missed: bool) -> Pod:
        pod = {**pod, "metadata": {**pod["metadata"], "resourceVersion": str(next(self._numbers))}}
        self.pods[pod["metadata"]["namespace"], pod["metadata"]["name"]] = pod
        self._tell(kind, pod, missed)
        return pod

    def change(self, where: Place, phase: str, code: int | None, missed: bool) -> None:
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "reason": "Error"}}
        status = {"phase": phase, "containerStatuses": [{"name": "base", "state": state}]}
        self.put({**self.pods[where], "status": status}, "MODIFIED", missed)

    def delete(self, where: Place, uid: str, missed: bool) -> None:
        pod = self.pods.get(where)
        if pod is not None and uid in ("", pod["metadata"]["uid"]):
            del self.pods[where]
            self._tell("DELETED", pod, missed)

    def label(self, where: Place, uid: str, missed: bool) -> None:
        pod = self.pods.get(where)
        if pod is not None and uid == pod["metadata"]["uid"]:
            self.pods[where] = {**pod, "metadata": {**pod["metadata"], "labels": {DONE: "True"}}}
            self._tell("DELETED", pod, missed)  # it leaves the selector

    def list(self) -> None:
        shown = [pod for pod in self.pods.values() if DONE not in pod["metadata"]["labels"]]
        self.news += self.view.listed(shown, str(next(self._numbers)))

    def _tell(self, kind: str, pod: Pod, missed: bool) -> None:
        if not missed:
            self.news += self.view.happened(kind, pod)


class Backend:
    """Creator, watcher and deleter in one, that do nothing by themselves."""

    def __init__(self, server: Server) -> None:
        self.creator = self.watcher = self
        self.server = server
        self.wanted: dict[TaskInstanceKey, bool] = {}
        """What is to be created, and whether its call has begun."""
        self.answers: list[Any] = []
        self.chores: list[Remove | Keep] = []
        self.remove = self.keep = self.chores.append
        self.listed = float("-inf")
        self.synced = False

    def submit(self, key: TaskInstanceKey, namespace: str, manifest: Any) -> None:
        self.wanted[key] = False

    def cancel(self, key: TaskInstanceKey) -> bool:
        return self.wanted.pop(key) is False if self.wanted.get(key) is False else False

    def take(self) -> list[Any]:
        taken = [*self.answers, *self.server.news]
        self.answers.clear()
        self.server.news.clear()
        return taken

    def snapshot(self) -> dict[Place, Pod]:
        return self.server.view.pods

    def troubles(self) -> list[str]:
        return []


class SlotsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.server = Server()
        self.keys: list[TaskInstanceKey] = []
        self.ends: dict[TaskInstanceKey, int] = {}
        self.revoked: set[TaskInstanceKey] = set()
        self.orphans: set[TaskInstanceKey] = set()
        """Of a scheduler that died, and not taken over."""
        self.begin()

    def begin(self) -> None:
        """A scheduler that knows nothing yet."""
        self.server.view, self.server.news = View(), []
        self.backend = Backend(self.server)
        options = {"worker_container_repository": "image", "namespace": "jobs"}
        context = ExecutorContext(options=options, worker_config={"task_api_url": "https://api.example"})
        self.executor = KubernetesExecutor(0, context=context)
        self.executor._pods = Pods(self.executor.options, lambda: self.now)
        self.executor._backend = self.backend  # type: ignore[assignment]

    @rule()
    def die(self) -> None:
        """And another scheduler takes its place."""
        self.orphans.update(key for key in self.keys if key not in self.ends and key not in self.revoked)
        self.begin()

    @rule()
    def launch(self) -> None:
        key = TaskInstanceKey("dag", "task", "run", attempt_id=str(uuid.uuid4()))
        self.keys.append(key)
        self.hand_over(key)

    def hand_over(self, key: TaskInstanceKey) -> None:
        self.orphans.discard(key)
        self.executor.queue_workload(Workload(key, ("true",), CodeReference("file.py", "0")))
        self.beat()

    @rule()
    def beat(self) -> None:
        self.now += 0.25
        self.executor.heartbeat()
        for event in self.executor.get_event_buffer():
            if isinstance(event, FINAL_EVENTS):
                self.ends[event.key] = self.ends.get(event.key, 0) + 1

    @precondition(lambda self: self.backend.wanted)
    @rule(data=st.data(), missed=st.booleans(), answered=st.booleans())
    def create(self, data: st.DataObject, missed: bool, answered: bool) -> None:
        """The server makes the pod; its answer comes, or the creation is repeated later."""
        key = data.draw(st.sampled_from(list(self.backend.wanted)))
        answer = self.server.create(key, missed)
        self.backend.wanted[key] = True
        if answered:
            del self.backend.wanted[key]
            self.backend.answers.append(answer)

    @precondition(lambda self: self.server.pods)
    @rule(data=st.data(), missed=st.booleans(), what=st.sampled_from(["run", "succeed", "fail", "delete"]))
    def pod(self, data: st.DataObject, missed: bool, what: str) -> None:
        where = data.draw(st.sampled_from(list(self.server.pods)))
        phase = self.server.pods[where]["status"]["phase"]
        if what == "delete":
            self.server.delete(where, "", missed)
        elif phase not in ("Succeeded", "Failed"):
            changes = {"run": ("Running", None), "succeed": ("Succeeded", 0), "fail": ("Failed", 1)}
            self.server.change(where, *changes[what], missed)

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), what=st.sampled_from(["report", "revoke", "hand over again", "adopt"]))
    def host(self, data: st.DataObject, what: str) -> None:
        key = data.draw(st.sampled_from(self.keys))
        if what == "report":
            self.executor.reported(key)
        elif what == "revoke":
            self.revoked.add(key)
            self.executor.revoke_task(TaskInstanceRef(key))
        elif key in self.orphans and what == "hand over again":
            self.hand_over(key)
        elif key in self.orphans:
            self.backend.synced = self.server.view.synced
            if not self.executor.try_adopt_task_instances([TaskInstanceRef(key, started=True)]):
                self.orphans.discard(key)

    @precondition(lambda self: self.backend.chores)
    @rule(missed=st.booleans())
    def chore(self, missed: bool) -> None:
        act = self.backend.chores.pop(0)
        (self.server.delete if isinstance(act, Remove) else self.server.label)(act.place, act.uid, missed)

    @rule()
    def relist(self) -> None:
        self.now += 0.25
        self.server.list()
        self.backend.listed = self.now
        self.now += 0.25

    @rule()
    def wait(self) -> None:
        self.now += LONG

    @invariant()
    def nothing_ends_twice(self) -> None:
        assert all(number == 1 for number in self.ends.values())

    def teardown(self) -> None:
        """The faults stop: creations are answered, pods end, lists are made."""
        for key in list(self.backend.wanted):
            self.backend.answers.append(self.server.create(key, missed=True))
        self.backend.wanted.clear()
        for _ in range(3):
            self.beat()
            for where, pod in list(self.server.pods.items()):
                if pod["status"]["phase"] not in ("Succeeded", "Failed"):
                    self.server.change(where, "Failed", 1, missed=True)
            self.relist()
            self.beat()
            self.wait()
            self.beat()
            while self.backend.chores:
                self.chore(missed=True)
        assert not self.executor.running, self.executor._pods.told()
        assert self.executor.slots_occupied == 0
        lost = set(self.keys) - set(self.ends) - self.revoked - self.orphans
        assert not lost, "an attempt ended without a word"
        left = [pod for pod in self.server.pods.values() if DONE not in pod["metadata"]["labels"]]
        assert not left, "a pod is left over"
        self.now += 2 * LONGEST_LEAVE
        self.beat()
        assert self.executor._pods.told() == [], "something is remembered for ever"


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
