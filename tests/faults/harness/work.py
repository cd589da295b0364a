"""What the deployment does meanwhile: runs of a few shapes, spread over all executors, which keep a journal."""

from __future__ import annotations

import random
from math import ceil
from typing import NamedTuple

SHAPES = ("fan", "chain", "flaky", "pooled", "long")
"""DAGs that are triggered, once a round; ``past`` has its runs from its schedule."""
ATTEMPTS_PER_ROUND = 14 + 6 + 7 + 6 + 2 + 1
"""At least: what is lost runs again."""
POOL = "small"
POOL_SLOTS = 2
SLOTS = {"LocalExecutor": 6, "CeleryExecutor": 12, "remote": 3}
"""Executor → its ``parallelism``, of each scheduler."""
TAIL = 5.0
"""Seconds: faults go on while the last runs do."""


class Trigger(NamedTuple):
    """A run to be created ``at`` seconds after the beginning."""

    at: float
    dag_id: str
    run_id: str


def rounds(attempts: int) -> int:
    """How many rounds make at least so many attempts."""
    return max(1, ceil(attempts / ATTEMPTS_PER_ROUND))


def triggers(seed: int, attempts: int, duration: float) -> list[Trigger]:
    """The runs of all rounds, evenly over ``duration`` but its last ``TAIL`` seconds (a tenth of a short one), in an
    order that the seed decides.
    """
    count = rounds(attempts)
    made = [(dag_id, f"round-{number:05}") for number in range(count) for dag_id in SHAPES]
    dice = random.Random(seed)
    for start in range(0, len(made), len(SHAPES)):
        part = made[start : start + len(SHAPES)]
        made[start : start + len(SHAPES)] = dice.sample(part, len(part))
    pause = (duration - min(TAIL, 0.1 * duration)) / len(made)
    return [Trigger(number * pause, dag_id, run_id) for number, (dag_id, run_id) in enumerate(made)]


def dag_file(attempts: int) -> str:
    """The DAG file of all shapes."""
    return _TEXT.replace("DATES", str(rounds(attempts)))


_TEXT = '''
import os
from datetime import datetime, timedelta
from itertools import cycle, pairwise

from journal import busy, witnessed, write
from runtime import DAG, task

PLACES = ("LocalExecutor", "CeleryExecutor", "CeleryExecutor", "LocalExecutor", "remote", "CeleryExecutor")
turn = cycle(PLACES)


def said(n):
    """What a task returns: its number, and who it was."""
    return {"n": n, "attempt": os.environ["HYBRID_ATTEMPT_ID"]}


@task
def step(name, n, seconds, before=None, run_id=None):
    with witnessed(f"{name}.{run_id}"):
        assert before is None or before["n"] == n - 1, before
        busy(seconds)
    return said(n)


@task
def join(name, values, run_id=None):
    with witnessed(f"{name}.{run_id}"):
        assert sorted(value["n"] for value in values) == list(range(len(values))), values
    return said(len(values))


@task(retries=1, retry_delay=0.2)
def fails_first(name, n, run_id=None, ti=None):
    with witnessed(f"{name}.{run_id}"):
        busy(0.1)
        if ti.try_number == 1:
            write("fail", f"{name}.{run_id}")
            raise ValueError("as it should")
    return said(n)


def make(n, seconds, *, before=None, kind=step, **options):
    """A task instance on the executor whose turn it is."""
    dag_id = dag.dag_id
    placed = kind.override(task_id=f"{kind_name(kind)}_{n}", executor=next(turn), **options)
    name = f"{dag_id}.{kind_name(kind)}_{n}"
    return placed(name, n) if kind is fails_first else placed(name, n, seconds, before)


def kind_name(kind):
    return "flaky" if kind is fails_first else "step"


with DAG("fan", max_active_runs=50) as dag:
    first = make(0, 0.05)
    wide = [make(n, 0.05 * (n % 8)) for n in range(1, 13)]
    first >> wide
    join.override(executor="LocalExecutor")("fan.join", [first, *wide])

with DAG("chain", max_active_runs=50) as dag:
    before = None
    for n in range(6):
        before = make(n, 0.1, before=before)

with DAG("flaky", max_active_runs=50) as dag:
    join.override(executor="CeleryExecutor")("flaky.join", [make(n, 0.1, kind=fails_first) for n in range(3)])

with DAG("pooled", max_active_runs=50) as dag:
    for n in range(6):
        make(n, 0.2, pool="small", pool_slots=2 if n == 5 else 1)

with DAG("long", max_active_runs=50) as dag:
    make(0, 3.0)
    make(1, 6.0)

with DAG("past", schedule="@daily", start_date=datetime(2025, 1, 1), catchup=True, max_active_runs=3,
         end_date=datetime(2025, 1, 1) + timedelta(days=DATES - 1)) as dag:
    make(0, 0.3)
'''
"""``fan`` 1 + 12 + 1 attempts, ``chain`` 6, ``flaky`` 3 × 2 + 1, ``pooled`` 6, ``long`` 2, ``past`` 1."""
