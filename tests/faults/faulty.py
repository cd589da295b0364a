"""A deployment that is going to be hurt: finds its processes, makes DAGs with a journal, checks what is left."""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from checker import Story, check
from deployment import Daemon, Deployment, wait_until, wait_until_moment

from runtime.scheduler.containment import MOST_SLOTS

HERE = Path(__file__).parent
FAST: dict[str, dict[str, str]] = {
    "scheduler": {
        "scheduler_idle_sleep_time": "0.1",
        "scheduler_heartbeat_sec": "0.2",
        "job_heartbeat_sec": "0.2",
        "task_heartbeat_sec": "0.3",
        "task_instance_heartbeat_timeout": "10",
        "shutdown_grace": "2",
    },
}
WAYS: tuple[dict[str, dict[str, str]], ...] = (
    {},
    {"local_executor": {"task_isolation": "spawn"}},
    {"local_executor": {"task_isolation": "reuse"}},
    {"local_executor": {"parallelism": "0"}},
)
"""Of running an attempt: a fork of a warm worker, a fresh interpreter, the worker itself, a fresh worker."""
SLOTS = {"LocalExecutor": 4, "heavy": 2}
MIXED = """
from runtime import DAG, BashOperator, task
from journal import busy, witnessed

@task
def step(n, seconds, run_id=None):
    with witnessed(f"mixed.step_{n}.{run_id}"):
        busy(seconds)
    return n

@task(trigger_rule="all_success")
def join(values, run_id=None):
    with witnessed(f"mixed.join.{run_id}"):
        return sorted(values)

SHELL = '''
exec 9>>"$HYBRID_HOME/witness/NAME.{{ run_id }}.lock"
PYTHON "$HYBRID_HOME/dags/journal.py" start "NAME.{{ run_id }}" 9 $$ || exit 3
sleep 0.2 & sleep 0.3 & (sleep 0.25 & wait) &
setsid sleep 300 > /dev/null 2>&1 &
sleep 0.2
wait %1 %2
PYTHON "$HYBRID_HOME/dags/journal.py" end "NAME.{{ run_id }}" - $$
'''.replace("PYTHON", {python!r} + " -I -S")

with DAG("mixed"):
    first = [step.override(task_id=f"step_{n}")(n, 0.05 + 0.05 * n) for n in range(4)]
    shells = [
        BashOperator(task_id=f"shell_{n}", bash_command=SHELL.replace("NAME", f"mixed.shell_{n}"),
                     executor="heavy" if n % 2 else None)
        for n in range(4)
    ]
    late = [step.override(task_id=f"step_{n}", executor="heavy")(n, 0.1) for n in range(4, 7)]
    for one, other in zip(first, shells):
        one >> other
    shells[:3] >> late[0] >> late[1]
    shells[3] >> late[2]
    join(first + late)
"""
"""12 tasks, about a second: Python tasks, Bash tasks whose grandchildren would outlive them, both executors."""
WAITING = """
import os
from runtime import DAG, task
from journal import busy, witnessed

def work(run_id):
    gate = os.path.join(os.environ["HYBRID_HOME"], "gate")
    with witnessed(f"waiting.{run_id}"):
        while not os.path.exists(gate):
            busy(0.02)

with DAG("waiting"):
    @task(retries=RETRIES, retry_delay=0.1)
    def waits(run_id=None, ti=None):
        work(run_id)
        return ti.try_number
    waits()
"""
"""One task that ends when there is a file ``gate``."""


class FaultyDeployment(Deployment):
    """Its DAG processor runs already."""

    def mixed(self) -> None:
        """Add the DAG ``mixed``."""
        self.write_dag("mixed", MIXED.replace("{python!r}", repr(sys.executable)))
        self.wait_for_dag("mixed")

    def waiting(self, retries: int = 0) -> None:
        """Add the DAG ``waiting``."""
        self.write_dag("waiting", waiting_text(retries))
        self.wait_for_dag("waiting")

    def open_gate(self) -> None:
        """Let the task of ``waiting`` end."""
        (self.home / "gate").touch()

    def trigger_waiting(self) -> tuple[str, dict[str, Any]]:
        """Trigger ``waiting``; its run id and its first attempt, once user code runs."""
        run = self.trigger("waiting")
        return run, self.running_attempt(run, 1)

    def running_attempt(self, run_id: str, count: int) -> dict[str, Any]:
        """The ``count``-th attempt of ``waits``, once user code of it runs."""
        journal = self.home / "witness" / "lines"

        def found() -> dict[str, Any] | None:
            attempts = self.attempts(run_id, "waits")
            if len(attempts) < count or not journal.exists():
                return None
            attempt = attempts[count - 1]
            return attempt if f"start {attempt['id']} " in journal.read_text() else None

        return wait_until(found, f"attempt {count} of waits to run user code")  # type: ignore[return-value]

    def choose_way(self, number: int) -> dict[str, int]:
        """Configure one of ``WAYS``; the slots of the executors then. For tests whose seed decides."""
        way = WAYS[number % len(WAYS)]
        self.configure({**FAST, **way})
        unlimited = way.get("local_executor", {}).get("parallelism") == "0"
        return {**SLOTS, "LocalExecutor": 2**31} if unlimited else SLOTS

    # -- processes -------------------------------------------------------------------------------------------------

    def zygotes(self, scheduler: Daemon) -> list[psutil.Process]:
        """The scheduler's zygotes, those that are still importing included."""
        return [child for child in psutil.Process(scheduler.pid).children() if _says(child, "zygote")]

    def ready_zygotes(self, scheduler: Daemon, count: int) -> list[psutil.Process]:
        """All ``count`` of them, once they fork; before that, none."""
        ready = [zygote for zygote in self.zygotes(scheduler) if _says(zygote, "hybrid local-zygote")]
        return ready if len(ready) == count else []

    def workers(self, scheduler: Daemon) -> list[psutil.Process]:
        return [worker for zygote in self.zygotes(scheduler) for worker in zygote.children()]

    def supervisor_of(self, attempt: Mapping[str, Any]) -> psutil.Process:
        """The worker, also where it runs the attempt by itself."""
        own = psutil.Process(attempt["pid"])
        return (
            own if _says(own, "hybrid local-worker") and own.ppid() in self._zygote_pids() else self.worker_of(attempt)
        )

    def _zygote_pids(self) -> set[int]:
        return {process.pid for process in self.processes() if _says(process, "hybrid local-zygote")}

    def worker_of(self, attempt: Mapping[str, Any]) -> psutil.Process:
        """The supervisor of a running attempt."""
        parent = psutil.Process(attempt["pid"]).parent()
        assert parent is not None
        return parent

    def running_command(self, command: str) -> list[psutil.Process]:
        """Processes of this deployment with exactly this command line."""
        return [process for process in self.processes() if _command(process) == command]

    def kill_pid(self, pid: int) -> None:
        psutil.Process(pid).kill()

    def is_alive(self, pid: int) -> bool:
        return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE

    def child_titled(self, daemon: Daemon, word: str) -> psutil.Process:
        """The daemon's child with ``word`` in its title."""
        return wait_until(
            lambda: next((c for c in psutil.Process(daemon.pid).children() if _says(c, word)), None), word
        )  # type: ignore[return-value]

    # -- chance ----------------------------------------------------------------------------------------------------

    def dice(self, seed: int) -> random.Random:
        """The same for the same seed."""
        return random.Random(seed)

    def let_pass(self, seconds: float) -> None:
        """Let time pass before the next blow: where a fault strikes is its cause's business, not a condition."""
        wait_until_moment(time.monotonic() + seconds)

    # -- afterwards ------------------------------------------------------------------------------------------------

    def settle(self, scheduler: Daemon, slots: Mapping[str, int] = SLOTS, *, quiet: bool = True) -> Story:
        """The faults are over: wait until every slot is free, stop the scheduler, check every invariant.

        ``quiet``: no fault of this kind may make it log a traceback.
        """
        wait_until(
            lambda: self._all_idle(len(slots)),
            "free slots",
            story=lambda: self.query("SELECT * FROM executor_status ORDER BY updated_at"),
        )
        wait_until(lambda: not self.query("SELECT 1 FROM run_inbox"), "an empty inbox")
        assert scheduler.stop() == 0, scheduler.text
        assert not quiet or "Traceback" not in scheduler.text, scheduler.text
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.stop()
        assert self.strays() == []
        return check(self.home, stopped=True, slots=dict(slots))

    def _all_idle(self, count: int) -> bool:
        rows = self.query(
            "SELECT s.* FROM executor_status s JOIN scheduler c ON c.id = s.scheduler_id WHERE c.ended_at IS NULL"
        )
        return len(rows) == count and all(
            row["queued"] == row["running"] == 0 and row["open_slots"] == (row["parallelism"] or MOST_SLOTS)
            for row in rows
        )


def waiting_text(retries: int) -> str:
    """The DAG ``waiting``."""
    return WAITING.replace("RETRIES", str(retries))


def begin(home: Path) -> FaultyDeployment:
    """A migrated home with a running DAG processor."""
    made = FaultyDeployment(home)
    made.configure(FAST)
    shutil.copy(HERE / "journal.py", made.dags)
    (home / "witness").mkdir()
    made.hybrid("db", "migrate")
    made.start("dag-processor")
    return made


def finished_home(home: Path) -> Path:
    """A home in which ``mixed`` has run without a fault and everything has ended."""
    made = begin(home)
    try:
        made.mixed()
        scheduler = made.scheduler()
        made.run_to_end("mixed")
        made.settle(scheduler)
    finally:
        made.close()
    return home


def _says(process: psutil.Process, word: str) -> bool:
    return word in _command(process)


def _command(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):  # of a zombie, too
        return " ".join(process.cmdline())
    return ""
