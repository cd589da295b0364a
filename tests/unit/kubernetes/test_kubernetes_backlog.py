"""Jobs are begun in order, as many at once as the pace allows, and none is lost or done by chance."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from executors.kubernetes.backlog import Backlog, Job
from executors.kubernetes.errors import ClusterUnreachableError, status_error
from executors.kubernetes.pacing import Pace

UNREACHABLE = ClusterUnreachableError("refused")
THROTTLED = status_error("create a pod", {}, 429)


def test_first_come_first_served_also_after_a_wait() -> None:
    backlog: Backlog[str, None] = Backlog(Pace(1))
    for key in "abc":
        backlog.add(key, None)
    first = backlog.begin(0.0)
    assert first is not None
    assert first.key == "a"
    backlog.again(first, 1.0, "busy", uncertain=False)
    second = backlog.begin(0.5)
    assert second is not None
    assert second.key == "b"
    backlog.done(second)
    third = backlog.begin(1.0)
    assert third is first
    assert third.tries == 2


def test_dropped_before_it_began() -> None:
    backlog: Backlog[str, None] = Backlog(Pace(1))
    backlog.add("a", None)
    assert backlog.drop("a")
    assert backlog.begin(0.0) is None
    assert len(backlog) == 0


def test_dropped_while_it_runs() -> None:
    """It may work, and is not made again."""
    backlog: Backlog[str, None] = Backlog(Pace(1))
    backlog.add("a", None)
    job = backlog.begin(0.0)
    assert job is not None
    assert not backlog.drop("a")
    assert not backlog.again(job, 0.0, "busy", uncertain=False)
    assert backlog.begin(9.0) is None
    assert len(backlog) == 0


def test_dropped_after_an_answer_was_lost() -> None:
    backlog: Backlog[str, None] = Backlog(Pace(1))
    backlog.add("a", None)
    job = backlog.begin(0.0)
    assert job is not None
    backlog.again(job, 5.0, "no answer", uncertain=True)
    assert not backlog.drop("a")
    assert backlog.begin(9.0) is None


def test_wanted_again_while_it_runs() -> None:
    backlog: Backlog[str, None] = Backlog(Pace(1))
    backlog.add("a", None)
    job = backlog.begin(0.0)
    assert job is not None
    backlog.drop("a")
    assert not backlog.add("a", None)
    assert backlog.again(job, 1.0, "busy", uncertain=False)
    assert backlog.begin(1.0) is job


def test_wait_names_the_moment() -> None:
    backlog: Backlog[str, None] = Backlog(Pace(1))
    assert backlog.wait(0.0) is None
    backlog.add("a", None)
    assert backlog.wait(0.0) == 0.0
    job = backlog.begin(0.0)
    assert job is not None
    assert backlog.wait(0.0) is None
    backlog.again(job, 3.0, "busy", uncertain=False)
    assert backlog.wait(1.0) == 2.0


def test_hastened_at_no_charge() -> None:
    backlog: Backlog[str, None] = Backlog(Pace(1))
    backlog.add("a", None)
    job = backlog.begin(0.0)
    assert job is not None
    backlog.hasten("a", 0.0)  # it runs: nothing to hasten
    backlog.again(job, 50.0, "quota", uncertain=False)
    assert backlog.begin(1.0) is None
    backlog.hasten("a", 1.0)
    backlog.hasten("a", 1.0)
    assert backlog.begin(1.0) is job
    assert job.tries == 1
    backlog.again(job, 60.0, "quota", uncertain=False)
    assert backlog.begin(50.0) is None
    assert backlog.begin(60.0) is job
    assert job.tries == 2


class BacklogMachine(RuleBasedStateMachine):
    """Any order of additions, drops, beginnings and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.wanted: set[int] = set()
        self.running: list[Job[int, None]] = []

    @initialize(ceiling=st.integers(1, 4))
    def begin(self, ceiling: int) -> None:
        self.pace = Pace(ceiling)
        self.backlog: Backlog[int, None] = Backlog(self.pace)

    @rule(key=st.integers(0, 9))
    def add(self, key: int) -> None:
        known = key in {job.key for job in self.running} or key in self.wanted
        assert self.backlog.add(key, None) is not known
        self.wanted.add(key)

    @rule(key=st.integers(0, 9))
    def drop(self, key: int) -> None:
        certain = self.backlog.drop(key)
        if key in {job.key for job in self.running} or key not in self.wanted:
            assert not certain
        self.wanted.discard(key)

    @rule()
    def take(self) -> None:
        job = self.backlog.begin(self.now)
        if job is None:
            wait = self.backlog.wait(self.now)
            waiting = self.wanted - {one.key for one in self.running}
            assert not waiting or len(self.running) >= self.pace.limit or (wait is not None and wait > 0)
            return
        assert job.key in self.wanted
        assert job.key not in {one.key for one in self.running}
        assert self.now >= self.pace.open_at
        self.running.append(job)

    @precondition(lambda self: self.running)
    @rule(error=st.sampled_from([None, UNREACHABLE, THROTTLED]), wait=st.floats(0, 5), data=st.data())
    def end(self, error: Exception | None, wait: float, data: st.DataObject) -> None:
        job = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.pace.learn(error, job.began, self.now, 0.5)  # type: ignore[arg-type]
        if error is None:
            self.backlog.done(job)
            self.wanted.discard(job.key)
        else:
            kept = self.backlog.again(job, self.now + wait, "busy", uncertain=error is UNREACHABLE)
            assert kept is (job.key in self.wanted)

    @rule(key=st.integers(0, 9))
    def hasten(self, key: int) -> None:
        self.backlog.hasten(key, self.now)

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "backlog"):
            assert self.backlog.running == len(self.running)
            assert len(self.backlog) == len(self.wanted | {job.key for job in self.running})

    def teardown(self) -> None:
        """What is still wanted can be finished."""
        if not hasattr(self, "backlog"):
            return
        for job in self.running:
            self.backlog.done(job)
            self.wanted.discard(job.key)
        for _ in range(len(self.wanted)):
            self.now += (self.backlog.wait(self.now) or 0.0) + 1e-6  # sums of floats fall short
            job = self.backlog.begin(self.now)
            assert job is not None
            self.backlog.done(job)
            self.wanted.discard(job.key)
        assert not self.wanted
        assert len(self.backlog) == 0


TestBacklogMachine = BacklogMachine.TestCase
