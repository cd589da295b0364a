"""Three schedulers and everything that may happen to them, in any order: after every act all invariants hold.

A state machine of Hypothesis chooses the acts. The workers are the machine itself: an attempt starts, reports or is
lost when an act says so. ``pytest -m slow`` tries many more orders.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import update

from runtime.core.clock import SECOND
from runtime.db.engine import Database
from runtime.db.schema import attempt_is_active, dag_run, event, scheduler, task_attempt, task_instance
from runtime.scheduler import leases
from runtime.scheduler.leases import LeaseLostError
from tests.database.builders import START, spec, task
from tests.integration.scheduler.scheduling import Scheduling

COUNT = 3
RUNS = 5
HEARTBEAT_TIMEOUT = 20.0
WHICH = st.integers(0, COUNT - 1)
ANY = st.integers(0, 50)
ACTS = (
    "trigger",
    *("run_attempt success", "run_attempt success", "run_attempt failed", "run_attempt silent", "run_attempt lost"),
    *("lose_lease", "bury", "restart"),
    *("pass_time 1", "pass_time 3", "pass_time 11", "pass_time 25"),
    *("clear t1", "clear end", "clear ."),
)
"""A method, and its argument after the number that says which one it is about."""


class SeveralSchedulers(RuleBasedStateMachine):
    """:param database: an empty one, which is closed at the end."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        options = {"heartbeat_timeout": HEARTBEAT_TIMEOUT, "queued_timeout": 60.0, "infra_retries": 1000}
        self.all = [Scheduling(database, {"one": 3}, runs_to_claim=1, **options) for _ in range(COUNT)]
        for one in self.all:
            self.prepare(one)
        self.runs = 0
        self.leases: dict[int, tuple[int, str]] = {}
        """By run: the newest epoch, and whose it was."""

    @property
    def first(self) -> Scheduling:
        return self.all[0]

    def prepare(self, one: Scheduling) -> None:
        one.plans = defaultdict(lambda: deque(["wait"]))
        one.one._plans = one.plans
        one.one.adopts = True

    @initialize()
    def save(self) -> None:
        """Three tasks that share two slots, of which the DAG lets two run at once, and one after them."""
        self.first.set_pool("small", 2)
        middle = [task(f"t{n}", pool="small", retries=1) for n in range(3)]
        dag = spec(
            "d", *middle, task("end", *[one.task_id for one in middle], trigger_rule="all_done"), max_active_runs=2
        )
        self.first.save(dag)
        for number in range(2):
            self.trigger(number)

    # -- acts

    @rule(act=st.sampled_from(ACTS), which=ANY, then=st.lists(WHICH, min_size=1, max_size=4))
    def something_happens(self, act: str, which: int, then: list[int]) -> None:
        """One rule for all acts: Hypothesis leaves whole rules out of an example, and here it takes two to go wrong."""
        name, _, argument = act.partition(" ")
        getattr(self, name)(which, *([argument] if argument else []))
        for one in then:
            self.step(one)

    def trigger(self, which: int) -> None:
        if self.runs < RUNS:
            self.runs += 1
            self.first.trigger("d", f"r{self.runs}", now=START + self.runs)

    def step(self, which: int) -> None:
        """One that was buried changes nothing and hands nothing over, whatever it believes."""
        one = self.all[which]
        buried = self.is_buried(one)
        before, launched = one._everything(), len(one.one.launched)
        try:
            one.scheduler.step(hinted=True)
        except LeaseLostError:
            assert buried
            assert one._everything() == before
        else:
            assert not buried
        one.turn()
        assert not (buried and len(one.one.launched) > launched)

    def run_attempt(self, which: int, outcome: str) -> None:
        """A worker starts some attempt, if it may, and reports; ``silent``: it never does. ``lost``: the backend has
        forgotten the attempt, started or not."""
        attempts = self.first.rows(task_attempt, attempt_is_active)
        if not attempts:
            return
        identifier = attempts[which % len(attempts)].id
        if outcome != "lost" and self.first.start(identifier, nonce=identifier).granted and outcome != "silent":
            self.first.finish(identifier, outcome, nonce=identifier, retry_delay=1.0)
        for one in self.all if outcome != "silent" else ():
            for key in [key for key in one.one.running if key.attempt_id == identifier]:
                one.one.lost(key, "as planned") if outcome == "lost" else one.one.success(key)
            one.bell()

    def lose_lease(self, which: int) -> None:
        """A scheduler is on another host, and the others have not heard of it for long. It may go on, until one of
        them buries it."""
        gone = {"hostname": "elsewhere", "lease_expires_at": 1}
        with self.database.write() as connection:
            connection.execute(update(scheduler).where(scheduler.c.id == self.one_of(which).me.id).values(gone))

    def bury(self, which: int) -> None:
        """Another one, if there is any that lives, finds that the lease is over."""
        self.lose_lease(which)
        dead = self.one_of(which)
        heirs = [one for one in self.all if one is not dead and not self.is_buried(one)]
        if heirs:
            with self.database.write() as connection:
                leases.bury_dead(connection, heirs[0].me)
            assert self.is_buried(dead)

    def restart(self, which: int) -> None:
        """In whatever state it is: it is gone, and a new life begins, whose executor knows nothing."""
        self.lose_lease(which)
        self.one_of(which).begin_scheduler()
        self.prepare(self.one_of(which))

    def pass_time(self, which: int, seconds: str) -> None:
        for one in self.all:
            one.forward(float(seconds))
            one.beat_api()

    def clear(self, which: int, pattern: str) -> None:
        runs = [row for row in self.first.rows(dag_run) if row.state != "queued"]
        if runs:
            run = runs[which % len(runs)]
            self.first.clear("d", run_id=run.run_id, task_regex=pattern)
            for one in self.all:
                one.bell()

    # -- what must hold

    @invariant()
    def limits_and_attempts(self) -> None:
        self.first.check()
        for one in self.all[1:]:
            assert one.memory.occupied().get("one", 0) <= 3

    @invariant()
    def no_run_has_two_deciders(self) -> None:
        """A scheduler that is not buried holds in memory what the database says that it owns, and nothing else."""
        rows = {row.id: row for row in self.first.rows(dag_run)}
        buried = {row.id for row in self.first.rows(scheduler, scheduler.c.ended_at.is_not(None))}
        for one in self.all:
            if one.me.id in buried:
                continue
            for run in one.memory.runs.values():
                assert (rows[run.id].lease_owner, rows[run.id].lease_epoch) == (one.me.id, run.epoch)

    @invariant()
    def each_owner_has_an_epoch_of_its_own(self) -> None:
        for row in self.first.rows(dag_run, dag_run.c.lease_owner.is_not(None)):
            epoch, owner = self.leases.get(row.id, (0, ""))
            assert row.lease_epoch > epoch or (row.lease_epoch, row.lease_owner) == (epoch, owner)
            self.leases[row.id] = (row.lease_epoch, row.lease_owner)

    @invariant()
    def a_started_attempt_is_given_up_only_when_it_is_quiet(self) -> None:
        """Here all are remote: a backend's word, or the death of a scheduler, proves nothing."""
        for row in self.first.rows(task_attempt, task_attempt.c.state == "lost"):
            if row.started_at is not None and row.reason != "cleared":
                assert row.ended_at - row.heartbeat_at >= HEARTBEAT_TIMEOUT * SECOND, row.reason

    def teardown(self) -> None:
        try:
            self.come_to_an_end()
        finally:
            for one in self.all:
                one.close()
            self.database.close()

    def come_to_an_end(self) -> None:
        """Everybody is well again, and workers do their work: all runs end, and every history is one chain."""
        for which, one in enumerate(self.all):
            if self.is_buried(one):
                self.restart(which)
        for _ in range(200):
            if all(row.state in {"success", "failed"} for row in self.first.rows(dag_run)):
                break
            for number in range(6):
                self.run_attempt(number, "success")
            self.pass_time(0, "5")
            for which in range(COUNT):
                if self.is_buried(self.all[which]):
                    self.restart(which)
                self.step(which)
        else:
            pytest.fail("the runs do not end")
        stories = defaultdict(list)
        for row in self.first.rows(event, event.c.task_instance_id.is_not(None)):
            stories[row.task_instance_id].append(row)
        for instance in self.first.rows(task_instance):
            story = stories[instance.id]
            states = ["none", *[row.new_state for row in story]]
            assert ([row.old_state for row in story], states[-1]) == (states[:-1], instance.state)
            starts = Counter(row.attempt_id for row in story if row.new_state == "running")
            assert not starts or max(starts.values()) == 1

    # -- questions

    def is_buried(self, one: Scheduling) -> bool:
        return one.row(scheduler, scheduler.c.id == one.me.id).ended_at is not None

    def one_of(self, which: int) -> Scheduling:
        return self.all[which % COUNT]


def play(new_url: Callable[..., str], examples: int, steps: int, **options: Any) -> None:
    quiet = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **options,
    )
    run_state_machine_as_test(lambda: SeveralSchedulers(Database(new_url("postgresql"))), settings=quiet)


def test_whatever_happens_to_three_schedulers(new_url: Callable[..., str]) -> None:
    """Always the same orders: whoever breaks it sees it break, and soon: the slow test makes the example small."""
    play(new_url, 4, 25, derandomize=True, phases=[Phase.generate])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whatever_happens_to_three_schedulers_at_length(new_url: Callable[..., str]) -> None:
    play(new_url, 150, 60)
