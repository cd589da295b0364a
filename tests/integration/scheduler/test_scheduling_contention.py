"""Workers in many threads, somebody who clears, timeouts and a scheduler, all at the same rows at the same time."""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from executors.workload import TaskInstanceKey
from runtime.core import messages as m
from runtime.core.errors import NotFoundError
from runtime.db.schema import event, task_attempt, task_instance, xcom
from tests.database.builders import spec, start, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]
WORKERS = 8
RUNS = 20
SEED = 1
CLEARS = 25
MOST_STEPS = 2_000


class Crowd:
    """Workers that take launches, sometimes the same one twice, and report them in batches of any order."""

    def __init__(self, s: Scheduling, seed: int) -> None:
        self.s = s
        self.launches: queue.Queue[TaskInstanceKey | None] = queue.Queue()
        self.ended: queue.Queue[TaskInstanceKey] = queue.Queue()
        """Launches that were granted the start and whose process has exited."""
        self.granted: defaultdict[str, list[str]] = defaultdict(list)
        self.accepted: defaultdict[str, list[str]] = defaultdict(list)
        self.errors: list[BaseException] = []
        self.calm = False
        """From now on nobody falls silent."""
        self._random = random.Random(seed)
        self._seen = 0
        self._threads = [threading.Thread(target=self._guarded, args=(self._work, seed + n)) for n in range(WORKERS)]
        self.clearing = threading.Thread(target=self._guarded, args=(self._clear, seed + WORKERS))
        for thread in (*self._threads, self.clearing):
            thread.start()

    def feed(self) -> None:
        """Hand the executor's new launches to the workers, and their ends to the executor."""
        launched = self.s.one.launched
        for key in launched[self._seen :]:
            for _ in range(self._random.choice((1, 1, 1, 2))):
                self.launches.put(key)
        self._seen = len(launched)
        while not self.ended.empty():
            self.s.one.success(self.ended.get())

    def go_home(self) -> None:
        for _ in self._threads:
            self.launches.put(None)
        for thread in (*self._threads, self.clearing):
            thread.join(60)

    def _guarded(self, work: Callable[[random.Random], None], seed: int) -> None:
        try:
            work(random.Random(seed))
        except BaseException as error:
            self.errors.append(error)

    def _work(self, chance: random.Random) -> None:
        while (key := self.launches.get()) is not None:
            keys = {key.attempt_id: key}
            for _ in range(chance.randrange(6)):
                if self.launches.empty() or (key := self.launches.get()) is None:
                    break
                keys[key.attempt_id] = key
            self._run(chance, keys)
            if key is None:
                return

    def _run(self, chance: random.Random, keys: dict[str, TaskInstanceKey]) -> None:
        nonce = f"{threading.get_ident()} {chance.random()}"
        ids = list(keys)
        started = self._ask(chance, [start(identifier, nonce) for identifier in ids])
        mine = [identifier for identifier in ids if started[identifier].granted]
        for identifier in mine:
            self.granted[identifier].append(nonce)
        self._ask(chance, [m.XComPush(identifier, nonce, "k", m.msgspec.Raw(b"1")) for identifier in mine])
        beats = self._ask(chance, [m.Heartbeat(identifier, nonce) for identifier in mine])
        silent = {identifier for identifier in mine if not self.calm and chance.random() < 0.05}
        reports = [
            m.Finish(identifier, nonce, chance.choice(("success", "success", "failed")), retry_delay=1.0)
            for identifier in mine
            if identifier not in silent
        ]
        for identifier, reply in self._ask(chance, reports).items():
            if reply.accepted:
                self.accepted[identifier].append(str(beats[identifier].go_on))
        for identifier in set(mine) - silent:
            self.ended.put(keys[identifier])

    def _ask(self, chance: random.Random, requests: list[Any]) -> dict[str, Any]:
        if not requests:
            return {}
        chance.shuffle(requests)
        return dict(zip([request.attempt_id for request in requests], self.s.ask(*requests), strict=True))

    def _clear(self, chance: random.Random) -> None:
        for _ in range(CLEARS):
            run_id = f"r{chance.randrange(RUNS)}"
            try:
                self.s.clear("d", run_id=run_id, task_regex=chance.choice(("a", "b", "end", ".")))
            except NotFoundError:
                continue  # it has no tasks yet


def test_no_transition_is_lost_or_doubled(scheduling: Make) -> None:
    """What two of them want at once, one gets; a deadlock, where there is one, is nobody's error."""
    s = scheduling({"one": 0}, heartbeat_timeout=20.0, queued_timeout=60.0, infra_retries=1000)
    s.plans.default_factory = lambda: s.plans["wait"]
    s.plan(wait="wait")
    middle = [task(f"{name}{n}", "first", retries=3, trigger_rule="all_done") for name in "ab" for n in range(4)]
    dag = spec("d", task("first"), *middle, task("end", *[one.task_id for one in middle], trigger_rule="all_done"))
    runs = [s.begin_run(dag, f"r{n}") for n in range(RUNS)]
    crowd = Crowd(s, SEED)
    try:
        for _ in range(MOST_STEPS):
            s.forward(0.5)
            s.beat_api()
            s.scheduler.step(hinted=True)
            s.turn()
            crowd.feed()
            crowd.calm = not crowd.clearing.is_alive()
            if crowd.errors or (crowd.calm and s.finished(*runs)):
                break
    finally:
        crowd.go_home()
    assert crowd.errors == []
    s.rest()
    s.check()
    assert s.finished(*runs)
    assert len(s.rows(task_attempt)) >= RUNS * 10
    check_grants(s, crowd)
    check_histories(s)


def check_grants(s: Scheduling, crowd: Crowd) -> None:
    assert {len(nonces) for nonces in crowd.granted.values()} == {1}, "each attempt runs at most once"
    assert {len(reports) for reports in crowd.accepted.values()} == {1}
    states = {row.id: row.state for row in s.rows(task_attempt)}
    started = {row.attempt_id for row in s.rows(event, event.c.new_state == "running", event.c.attempt_id.is_not(None))}
    assert started == set(crowd.granted)
    assert {identifier for identifier, state in states.items() if state in {"success", "failed"}} == set(crowd.accepted)
    assert {row.attempt_id for row in s.rows(xcom)} <= set(crowd.granted)


def check_histories(s: Scheduling) -> None:
    """Each instance's transitions are one chain that leads from *none* to where it is; one end per accepted report."""
    stories = defaultdict(list)
    for row in s.rows(event, event.c.task_instance_id.is_not(None)):
        stories[row.task_instance_id].append(row)
    for instance in s.rows(task_instance):
        story = stories[instance.id]
        states = ["none", *[row.new_state for row in story]]
        assert [row.old_state for row in story] == states[:-1]
        assert states[-1] == instance.state
        starts = Counter(row.attempt_id for row in story if row.new_state == "running")
        assert not starts or max(starts.values()) == 1
