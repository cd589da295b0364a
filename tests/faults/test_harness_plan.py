"""The harness's plan: a pure function; faults come in order, each kind in turn, never two of one target at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from harness.command import length, main, parser
from harness.plan import LINKS, REST, by_kind, kinds, make_plan
from harness.timers import TIMERS, fast_timers, timer
from harness.work import ATTEMPTS_PER_ROUND, SHAPES, rounds, triggers
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.options import SECTIONS

SEEDS = st.integers(0, 2**31)


@given(seed=SEEDS, faults=st.integers(0, 300), duration=st.floats(10.0, 3000.0))
def test_a_plan_has_so_many_faults_in_their_order(seed, faults, duration):
    plan = make_plan(seed, faults, duration)
    assert [fault.number for fault in plan] == list(range(faults))
    assert all(earlier.at <= later.at for earlier, later in pairwise(plan))
    assert all(fault.at >= 0.0 and 0.0 <= fault.pick < 1.0 for fault in plan)
    assert all(fault.kind.least <= fault.span <= fault.kind.most <= duration / 4 for fault in plan)
    assert make_plan(seed, faults, duration) == plan


@given(seed=SEEDS, faults=st.integers(2, 300), duration=st.floats(10.0, 3000.0))
def test_a_target_is_left_alone_until_it_has_come_back(seed, faults, duration):
    ended: dict[str, float] = {}
    for fault in make_plan(seed, faults, duration):
        target = fault.kind.target
        assert fault.at >= ended.get(target, -REST) + REST - 1e-6, f"{target} is struck twice at once"
        ended[target] = fault.end


@given(seed=SEEDS)
def test_every_kind_comes_before_any_comes_too_often(seed):
    plan = make_plan(seed, 500, 1250.0)
    dealt = by_kind(plan)
    assert sum(dealt.values()) == 500
    assert {fault.kind for fault in plan} == set(kinds(1.5, 10.0))
    assert {fault.kind.target for fault in plan} >= {*LINKS, "redis", "postgres", "api-server", "pool child"}


@given(seed=SEEDS, attempts=st.integers(1, 20_000), duration=st.floats(5.0, 3000.0))
def test_runs_are_spread_over_the_time_and_make_enough_attempts(seed, attempts, duration):
    made = triggers(seed, attempts, duration)
    assert rounds(attempts) * ATTEMPTS_PER_ROUND >= attempts
    assert len({(one.dag_id, one.run_id) for one in made}) == len(made) == rounds(attempts) * len(SHAPES)
    assert all(0.0 <= one.at < duration for one in made)
    assert all(earlier.at <= later.at for earlier, later in pairwise(made))


def test_two_seeds_make_two_plans():
    assert make_plan(1, 50, 125.0) != make_plan(2, 50, 125.0)


def test_no_plan_without_time():
    with pytest.raises(ValueError, match="a plan needs a positive duration, not 0"):
        make_plan(1, 5, 0.0)


@pytest.mark.parametrize("factor", [1.0, 10.0, 1000.0])
def test_timers_are_divided_and_never_below_what_the_option_takes(factor):
    made = fast_timers(factor)
    shipped = SECTIONS["scheduler"].__dataclass_fields__["task_queued_timeout"].metadata["option"].default
    assert float(made["scheduler"]["task_queued_timeout"]) == max(1.0, float(shipped) / factor)
    assert float(made["scheduler"]["task_instance_heartbeat_timeout"]) == max(10.0, 60.0 / factor)
    assert {section: tuple(made[section]) for section in TIMERS} == TIMERS
    assert timer("workers", "execution_api_timeout", factor) >= 0.5


def test_dry_run_prints_the_plan_and_starts_nothing(capsys):
    assert main(["--faults", "3", "--seed", "7", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(" s  " in line for line in lines)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--attempts", "0"], "argument --attempts: 0 is less than 1"),
        (["--faults", "-1"], "argument --faults: -1 is less than 0"),
        (["--fast", "0.5"], "argument --fast: 0.5 is less than 1"),
        (["--attempts", "many"], "argument --attempts: 'many' is no number"),
    ],
)
def test_bad_usage_is_one_clear_line(words, complaint, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert capsys.readouterr().err.splitlines()[-1].endswith(complaint)


def test_the_length_follows_the_faults_unless_it_is_given():
    assert length(parser().parse_args(["--faults", "500"])) == 1250.0
    assert length(parser().parse_args(["--faults", "500", "--duration", "60"])) == 60.0
