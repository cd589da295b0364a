"""One simulation from its three numbers to its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from benchmarks.simulation.checks import Violation, check
from benchmarks.simulation.driver import Simulation
from benchmarks.simulation.figures import Result, measure
from benchmarks.simulation.history import History, read_history
from benchmarks.simulation.profiles import make_profiles
from benchmarks.simulation.workload import make_workload


@dataclass(frozen=True)
class Report:
    result: Result
    violations: list[Violation]


def simulate(
    home: Path, tasks: int, executors: int, seed: int, progress: Callable[[Simulation], None] = lambda _: None
) -> Report:
    """Run one in the empty folder ``home``, check it and measure it."""
    profiles = make_profiles(executors, tasks)
    simulation = Simulation(home, make_workload(tasks, profiles, seed), profiles, progress=progress)
    with simulation.open() as database:
        simulation.run()
        history = read_history(database)
        return Report(measure(simulation, history, end_state(history)), check(simulation, history))


def end_state(history: History) -> str:
    """A digest of how every task instance ended, and of where and when each of its attempts was."""
    digest = blake2b(digest_size=8)
    for row in sorted(history.instances.values(), key=lambda row: row.id):
        digest.update(repr((row.dag_run_id, row.task_id, row.state, row.try_number, row.infra_losses)).encode())
    for row in history.attempts:
        digest.update(repr((row.task_instance_id, row.executor, row.state, row.queued_at, row.ended_at)).encode())
    return digest.hexdigest()
