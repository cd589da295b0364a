"""One run in memory: where its task instances stand, and what follows when one of them ends. Pure.

A finished task instance costs as much as it has downstream edges: each task keeps counts of how its upstream instances
ended, shared by all its instances. The DB is the truth; a model that may be wrong is thrown away and built anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from runtime.core.past import GOOD_ENOUGH
from runtime.core.states import TASK_ACTIVE, TASK_FINISHED, RunState, TaskState
from runtime.core.trigger_rules import UpstreamCounts, Verdict, evaluate, evaluate_setups
from runtime.db.transitions import Subject
from runtime.scheduler.graph import DagGraph, Node

_VERDICT_STATES = {Verdict.SKIP: TaskState.SKIPPED, Verdict.UPSTREAM_FAILED: TaskState.UPSTREAM_FAILED}


class Instance:
    """One task instance."""

    __slots__ = (
        "attempt_id",
        "chain",
        "dispatch_number",
        "executor",
        "id",
        "infra_losses",
        "left",
        "map_index",
        "max_tries",
        "node",
        "reason",
        "retry_at",
        "run",
        "scheduled_at",
        "state",
        "try_number",
    )

    def __init__(self, run: RunModel, node: Node, identifier: str, map_index: int, max_tries: int) -> None:
        self.run = run
        self.node = node
        self.id = identifier
        self.map_index = map_index
        self.max_tries = max_tries
        self.state = TaskState.NONE
        self.try_number = 0
        self.dispatch_number = 0
        self.infra_losses = 0
        self.attempt_id: str | None = None
        self.scheduled_at: int | None = None
        self.executor = ""
        """Of the current attempt, while there is one."""
        self.chain: tuple[str, ...] = ()
        """Executors that it may go to, in order."""
        self.left: tuple[str, ...] = ()
        """Those that this try was taken back from, to go to the next."""
        self.reason: str | None = None
        """Why that chain."""
        self.retry_at: int | None = None

    @property
    def subject(self) -> Subject:
        """What a transition is guarded by."""
        return Subject(self.id, self.run.id, self.state, self.attempt_id, str(self))

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.run.graph.dag_id}.{self.node.spec.task_id}{mapped} {self.run.run_id}"


@dataclass(slots=True)
class Consequences:
    """What follows from a change: instances that may run now, and instances that ended without running."""

    ready: list[Instance] = field(default_factory=list)
    ended: list[tuple[Subject, TaskState]] = field(default_factory=list)


class RunModel:
    """A run that this scheduler holds the lease of."""

    def __init__(
        self, *, identifier: int, run_id: str, graph: DagGraph, epoch: int, run_after: int, started_at: int
    ) -> None:
        self.id = identifier
        self.run_id = run_id
        self.graph = graph
        self.epoch = epoch
        self.run_after = run_after
        self.started_at = started_at
        self.instances: dict[str, Instance] = {}
        self.by_node: list[list[Instance]] = [[] for _ in graph.nodes]
        self.counts: list[UpstreamCounts] = []
        self.setups: dict[int, UpstreamCounts] = {}
        """By node: how the setups stand that it uses and does not follow directly."""
        self.unfollowed: frozenset[int] = frozenset()
        """Nodes that a branch directly upstream has decided against: they stay skipped until it runs again."""
        self.held: frozenset[int] = frozenset()
        """Nodes that the run before does not let start yet."""
        self.news: list[str] = []
        """Instances that have ended well since the next run was last told, where it may wait for them."""
        self.owing: list[Any] = []
        """Ends found when the run was read, of attempts whose process has not run its callbacks."""
        self.unfinished = 0
        self.active = 0
        """Instances that count against ``max_active_tasks``."""

    def add(self, instance: Instance) -> None:
        self.instances[instance.id] = instance
        self.by_node[instance.node.index].append(instance)

    def settle(self) -> Consequences:
        """Count everything anew, and judge every instance that has not begun. For a run just created or loaded."""
        nodes, by_node = self.graph.nodes, self.by_node
        self.counts = [UpstreamCounts(sum(len(by_node[up]) for up in node.upstream)) for node in nodes]
        self.setups = {
            node.index: UpstreamCounts(sum(len(by_node[setup]) for setup in node.setups))
            for node in nodes
            if node.setups
        }
        for node in nodes:
            if node.spec.is_setup:
                for index in node.downstream:
                    self.counts[index].setups += len(by_node[node.index])
        self.unfinished = self.active = 0
        for instance in self.instances.values():
            if instance.state in TASK_FINISHED:
                self._count(instance, instance.state)
            else:
                self.unfinished += 1
                self.active += instance.state in TASK_ACTIVE
        return self._judge(node.index for node in self.graph.nodes)

    def move(self, instance: Instance, state: TaskState) -> None:
        """Note a state that is not a finished one."""
        self.active += (state in TASK_ACTIVE) - (instance.state in TASK_ACTIVE)
        instance.state = state

    def end(self, instance: Instance, state: TaskState) -> Consequences:
        """Note that ``instance`` ended in ``state``, and work out what follows down the graph."""
        self._end(instance, state)
        return self._judge(instance.node.affects)

    def skip(self, instances: Iterable[Instance]) -> Consequences:
        """Note what a branch has not followed: all of it first, for of these one may be downstream of another."""
        affected: dict[int, None] = {}
        for instance in instances:
            self._end(instance, TaskState.SKIPPED)
            affected.update(dict.fromkeys(instance.node.affects))
        return self._judge(affected)

    def let_go(self, nodes: frozenset[int]) -> Consequences:
        """The run before holds these nodes no longer."""
        self.held -= nodes
        return self._judge(sorted(nodes))

    @property
    def outcome(self) -> RunState | None:
        """The run's final state, once every instance has ended: that of its leaves, as in Airflow."""
        if self.unfinished:
            return None
        failed = (TaskState.FAILED, TaskState.UPSTREAM_FAILED)
        bad = any(instance.state in failed for index in self.graph.leaves for instance in self.by_node[index])
        return RunState.FAILED if bad else RunState.SUCCESS

    def clear(self) -> None:
        """Let go of the instances; the model is of no more use."""
        self.instances, self.by_node, self.counts, self.setups = {}, [], [], {}

    def open_instances(self) -> Iterator[Instance]:
        """Instances that have not ended."""
        return (instance for instance in self.instances.values() if instance.state not in TASK_FINISHED)

    def _end(self, instance: Instance, state: TaskState) -> None:
        self.move(instance, state)
        self.unfinished -= 1
        if instance.node.index in self.graph.awaited and state in GOOD_ENOUGH:
            self.news.append(instance.id)
        self._count(instance, state)

    def _count(self, instance: Instance, state: TaskState) -> None:
        node = instance.node
        if node.spec.is_setup:
            for index in node.downstream:
                self.counts[index].add_setup(state)
            for index in node.users:
                self.setups[index].add(state)
            return
        for index in node.downstream:
            self.counts[index].add(state)

    def _judge(self, indexes: Iterable[int]) -> Consequences:
        result = Consequences()
        pending = deque(indexes)
        released: set[int] = set()
        while pending:
            node = self.graph.nodes[pending.popleft()]
            waiting = [instance for instance in self.by_node[node.index] if instance.state is TaskState.NONE]
            if not waiting or node.index in released:
                continue
            verdict = self._verdict(node)
            if verdict is Verdict.RUN and node.index in self.held:
                continue
            if verdict is Verdict.RUN and not node.spec.empty:
                released.add(node.index)
                result.ready += waiting
            elif verdict is not Verdict.WAIT:
                state = _VERDICT_STATES.get(verdict, TaskState.SUCCESS)
                for instance in waiting:
                    result.ended.append((instance.subject, state))
                    self._end(instance, state)
                pending.extend(node.affects)
        return result

    def _verdict(self, node: Node) -> Verdict:
        if node.index in self.unfollowed:
            return Verdict.SKIP
        if not node.setups:
            return evaluate(node.spec.trigger_rule, self.counts[node.index])
        by_setups = evaluate_setups(self.setups[node.index])
        if by_setups in (Verdict.SKIP, Verdict.UPSTREAM_FAILED):
            return by_setups
        verdict = evaluate(node.spec.trigger_rule, self.counts[node.index])
        return by_setups if verdict is Verdict.RUN else verdict
