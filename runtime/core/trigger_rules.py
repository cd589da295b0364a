"""When a task may run, from counts of how its upstream task instances ended.

Rules and their precedence are Airflow's (``ti_deps/deps/trigger_rule_dep.py``): a rule that can no longer hold is
decided at once, without waiting for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from runtime.core.states import TaskState


class TriggerRule(StrEnum):
    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_DONE_SETUP_SUCCESS = "all_done_setup_success"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ALWAYS = "always"


class Verdict(StrEnum):
    WAIT = "wait"
    RUN = "run"
    SKIP = "skip"
    UPSTREAM_FAILED = "upstream_failed"


class UpstreamCounts:
    """How the upstream instances of one task stand. Shared by all instances of that task.

    :param total: direct upstream instances.
    :param setups: those of them that are setups.
    """

    __slots__ = (
        "failed",
        "removed",
        "setups",
        "setups_skipped",
        "setups_succeeded",
        "skipped",
        "success",
        "total",
        "upstream_failed",
    )

    def __init__(self, total: int = 0, setups: int = 0) -> None:
        self.total = total
        self.setups = setups
        self.setups_succeeded = self.setups_skipped = 0
        self.success = self.failed = self.upstream_failed = self.skipped = self.removed = 0

    def add(self, state: TaskState) -> None:
        """Count one more upstream instance that ended in ``state``, a finished one."""
        setattr(self, state.value, getattr(self, state.value) + 1)

    def add_setup(self, state: TaskState) -> None:
        """Likewise, and it is a setup."""
        self.add(state)
        self.setups_succeeded += state is TaskState.SUCCESS
        self.setups_skipped += state is TaskState.SKIPPED

    @property
    def done(self) -> int:
        return self.success + self.failed + self.upstream_failed + self.skipped + self.removed

    @property
    def all_done(self) -> bool:
        return self.done >= self.total

    @property
    def any_failed(self) -> bool:
        return bool(self.failed or self.upstream_failed)


def evaluate(rule: str, counts: UpstreamCounts) -> Verdict:
    """Judge ``rule``, a value of :class:`TriggerRule`. Constant time. A task without upstream runs."""
    if counts.total == 0:
        return Verdict.RUN
    return _RULES[TriggerRule(rule)](counts)


def evaluate_setups(setups: UpstreamCounts) -> Verdict:
    """Judge the setups above a task that are not directly upstream of it: whatever its own rule, all must succeed.

    As soon as one has not, the answer is there; ``RUN`` leaves the decision to the task's rule.
    """
    if setups.any_failed:
        return Verdict.UPSTREAM_FAILED
    if setups.skipped:
        return Verdict.SKIP
    return Verdict.RUN if setups.success >= setups.total else Verdict.WAIT


def _when_done(counts: UpstreamCounts, verdict: Verdict = Verdict.RUN) -> Verdict:
    return verdict if counts.all_done else Verdict.WAIT


def _all_success(c: UpstreamCounts) -> Verdict:
    if c.any_failed:
        return Verdict.UPSTREAM_FAILED
    return Verdict.SKIP if c.skipped else _when_done(c)


def _all_failed(c: UpstreamCounts) -> Verdict:
    return Verdict.SKIP if c.success or c.skipped else _when_done(c)


def _all_done_min_one_success(c: UpstreamCounts) -> Verdict:
    if c.skipped:
        return Verdict.SKIP
    return _when_done(c, Verdict.RUN if c.success else Verdict.UPSTREAM_FAILED)


def _all_done_setup_success(c: UpstreamCounts) -> Verdict:
    """Of teardowns: without a setup upstream it is ``all_done``."""
    if not c.setups or c.setups_succeeded:
        return _when_done(c)
    return _when_done(c, Verdict.SKIP if c.setups_skipped >= c.setups else Verdict.UPSTREAM_FAILED)


def _all_skipped(c: UpstreamCounts) -> Verdict:
    return Verdict.SKIP if c.success or c.any_failed else _when_done(c)


def _one_success(c: UpstreamCounts) -> Verdict:
    if c.success:
        return Verdict.RUN
    return _when_done(c, Verdict.SKIP if c.skipped + c.removed == c.total else Verdict.UPSTREAM_FAILED)


def _one_failed(c: UpstreamCounts) -> Verdict:
    return Verdict.RUN if c.any_failed else _when_done(c, Verdict.SKIP)


def _one_done(c: UpstreamCounts) -> Verdict:
    return Verdict.RUN if c.success or c.failed else _when_done(c, Verdict.SKIP)


def _none_failed(c: UpstreamCounts) -> Verdict:
    return Verdict.UPSTREAM_FAILED if c.any_failed else _when_done(c)


def _none_failed_min_one_success(c: UpstreamCounts) -> Verdict:
    if c.any_failed:
        return Verdict.UPSTREAM_FAILED
    return _when_done(c, Verdict.RUN if c.success else Verdict.SKIP)


def _none_skipped(c: UpstreamCounts) -> Verdict:
    return Verdict.SKIP if c.skipped else _when_done(c)


_RULES: dict[TriggerRule, Callable[[UpstreamCounts], Verdict]] = {
    TriggerRule.ALL_SUCCESS: _all_success,
    TriggerRule.ALL_FAILED: _all_failed,
    TriggerRule.ALL_DONE: _when_done,
    TriggerRule.ALL_DONE_MIN_ONE_SUCCESS: _all_done_min_one_success,
    TriggerRule.ALL_DONE_SETUP_SUCCESS: _all_done_setup_success,
    TriggerRule.ALL_SKIPPED: _all_skipped,
    TriggerRule.ONE_SUCCESS: _one_success,
    TriggerRule.ONE_FAILED: _one_failed,
    TriggerRule.ONE_DONE: _one_done,
    TriggerRule.NONE_FAILED: _none_failed,
    TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: _none_failed_min_one_success,
    TriggerRule.NONE_SKIPPED: _none_skipped,
    TriggerRule.ALWAYS: lambda _: Verdict.RUN,
}
