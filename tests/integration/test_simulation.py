"""Simulations of all kinds of sickness: nothing is lost, doubled, overcharged or left over, and seeds decide all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

import benchmarks.simulation.__main__ as command
from benchmarks.simulation.checks import Violation, check
from benchmarks.simulation.driver import Simulation
from benchmarks.simulation.figures import measure
from benchmarks.simulation.history import History, read_history
from benchmarks.simulation.outcome import Report, end_state
from benchmarks.simulation.profiles import make_profiles
from benchmarks.simulation.workload import make_workload
from runtime.db.engine import Database
from runtime.db.schema import executor_order, task_attempt

ROOT = Path(__file__).resolve().parents[2]
SEED = 3


@dataclass
class Ended:
    """A simulation that is over, its database still open."""

    simulation: Simulation
    history: History
    database: Database
    file: Path

    def report(self) -> Report:
        return Report(measure(self.simulation, self.history, end_state(self.history)), self.check(self.history))

    def check(self, history: History) -> list[Violation]:
        return check(self.simulation, history)


def ended(home: Path, tasks: int) -> Iterator[Ended]:
    profiles = make_profiles(8, tasks)
    simulation = Simulation(home, make_workload(tasks, profiles, SEED), profiles)
    with simulation.open() as database:
        simulation.run()
        yield Ended(simulation, read_history(database), database, home / "hybrid.db")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    yield from ended(tmp_path_factory.mktemp("small"), 300)


def test_2000_tasks_on_eight_executors_of_which_five_are_sick(tmp_path):
    (one,) = [
        (made.report(), made.simulation.launches.happened, reasons(made.database), orders(made.database))
        for made in ended(tmp_path, 2_000)
    ]
    report, happened, why, given = one
    assert report.violations == []
    assert report.result.tasks == 2_000
    assert {"success", "failed", "crashed", "lost", "never started"} <= happened.keys()
    assert happened["silent"] + happened["vanished"] > 0
    assert any("is full" in reason for reason in why)
    assert any("is unavailable" in reason for reason in why)
    assert any("is draining" in reason for reason in why)
    assert any(reason.startswith("route ") for reason in why)
    assert given == {"drained": 2, "resized": 2}
    assert report.result.makespan < 2 * report.result.ideal
    assert report.result.jain > 0.99
    waited = {one.name: one.waited.max for one in report.result.executors}
    assert max(waited.values()) == 0.0, waited
    assert {one.name for one in report.result.executors if one.waited_longest_anyhow > 0} >= {
        "full",
        "hangs",
        "drained",
    }


def reasons(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(select(task_attempt.c.executor_reason).distinct()).scalars())


def orders(database: Database) -> dict[str, int]:
    query = select(executor_order.c.name, func.count()).group_by(executor_order.c.name)
    with database.read() as connection:
        return dict(connection.execute(query).all())


def test_the_same_seed_decides_the_same_in_another_process(small):
    """With another order of its sets, too."""
    told = run_command("--tasks", "300", "--seed", str(SEED), "-o", "json")
    here = small.report().result
    assert told["violations"] == {}
    assert (told["digest"], told["end_digest"]) == (here.digest, here.end_digest)
    assert told["attempts"] == here.attempts
    assert len(told["executors"]) == 8
    assert told["tasks_per_second"] > 0


def run_command(*words: str) -> dict:
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.simulation", *words],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


FORGED = {
    "a run that never ended": ("lost", "UPDATE dag_run SET state = 'running' WHERE id = 1"),
    "a task instance that is not there": (
        "lost",
        "DELETE FROM task_instance WHERE id = (SELECT min(id) FROM task_instance WHERE attempt_id IS NULL)",
    ),
    "a success that was none": (
        "state",
        "UPDATE task_instance SET state = 'success' WHERE id = "
        "(SELECT min(id) FROM task_instance WHERE state IN ('failed', 'upstream_failed'))",
    ),
    "a run whose state is not that of its leaves": (
        "state",
        "UPDATE dag_run SET state = iif(state = 'failed', 'success', 'failed') WHERE id = 1",
    ),
    "a try too many": ("charged", "UPDATE task_instance SET try_number = try_number + 1 WHERE attempt_id IS NOT NULL"),
    "a loss that there was not": ("charged", "UPDATE task_instance SET infra_losses = infra_losses + 1"),
    "another executor than the one that had it": ("executor", "UPDATE task_attempt SET executor = 'nobody'"),
    "no reason": (
        "executor",
        "UPDATE task_attempt SET executor_reason = '' WHERE id = (SELECT min(id) FROM task_attempt)",
    ),
    "attempts that overlap": (
        "doubled",
        "UPDATE task_attempt SET ended_at = ended_at + 1000000000 WHERE try_number = 1",
    ),
    "an attempt that has not ended": (
        "lost",
        "UPDATE task_attempt SET state = 'running' WHERE id = (SELECT min(id) FROM task_attempt)",
    ),
    "a pool, or a run's tasks, above the limit": (
        "limit",
        "UPDATE task_attempt SET queued_at = 1, ended_at = 2000000000000000",
    ),
    "too many runs of a DAG": ("limit", "UPDATE dag_run SET start_date = 1, end_date = 2000000000000000"),
    "a report that nobody has applied": (
        "leaked",
        "INSERT INTO run_inbox (dag_run_id, kind, created_at) VALUES (1, 'ended', 1)",
    ),
    "a lease after the end": ("leaked", "UPDATE dag_run SET lease_owner = (SELECT id FROM scheduler) WHERE id = 1"),
}


def test_checks_see_every_forgery(small, tmp_path):
    missed = []
    for number, (what, (kind, statement)) in enumerate(FORGED.items()):
        forged = Database(f"sqlite:///{copied(small, tmp_path / f'{number}.db')}")
        with forged.write() as connection:
            assert connection.execute(text(statement)).rowcount > 0, what
        if kind not in {violation.kind for violation in small.check(read_history(forged))}:
            missed.append(what)
        forged.close()
    assert missed == []


def copied(made: Ended, target: Path) -> Path:
    with made.database.read() as connection:
        connection.execute(text("SELECT 1"))
        for suffix in ("", "-wal"):
            if (source := Path(f"{made.file}{suffix}")).exists():
                shutil.copy(source, f"{target}{suffix}")
    return target


def test_checks_see_what_only_memory_tells(small):
    simulation = small.simulation
    lane = simulation.lanes["wide"]
    assert small.check(small.history) == []
    lane._dispatched += lane._dispatched[:16]
    lane.wrong.append("handed too many")
    simulation.launches.wrong.append("two at once")
    simulation.scheduler.memory.quarantined.add(1)
    found = {violation.kind for violation in small.check(small.history)}
    del lane._dispatched[-16:]
    lane.wrong.pop()
    simulation.launches.wrong.pop()
    simulation.scheduler.memory.quarantined.clear()
    assert found == {"doubled", "slots", "worker", "leaked"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--tasks", "0"], "argument --tasks: 0 is not between 1 and 10,000,000"),
        (["--tasks", "many"], "argument --tasks: invalid number value: 'many'"),
        (["--executors", "65"], "argument --executors: 65 is not between 1 and 64"),
        (["--seed", "-1"], "argument --seed: -1 is not between 0 and 9,223,372,036,854,775,808"),
        (["-o", "xml"], "argument -o/--output: invalid choice: 'xml' (choose from 'table', 'json')"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_arguments_give_one_line_and_2(capsys, words, line):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"simulation: {line}\n"


@pytest.mark.parametrize(("violations", "code"), [([], 0), ([Violation("lost", "a run")], 1)])
def test_a_violation_is_told_and_is_exit_code_1(small, capsys, monkeypatch, violations, code):
    report = replace(small.report(), violations=violations)
    monkeypatch.setattr(command, "simulate", lambda *_: report)
    assert command.main(["--tasks", "10"]) == code
    out = capsys.readouterr().out
    assert ("no invariant was violated" in out) == (code == 0)
    assert ("a run" in out.splitlines()[-1]) == (code == 1)
