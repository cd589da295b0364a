"""Every figure that the runtime emits, with what it means. Names are Airflow's where it has them.

``<executor>`` at the end of a name stands for an executor: its alias, else its class name.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, NamedTuple

EXECUTOR = ".<executor>"


class Figure(NamedTuple):
    name: str
    kind: Literal["gauge", "counter", "timing"]
    source: str
    """Which processes emit it."""
    meaning: str


FIGURES = (
    Figure("executor.open_slots.<executor>", "gauge", "scheduler", "How many more attempts the executor would take."),
    Figure("executor.queued_slots.<executor>", "gauge", "scheduler", "Attempts handed to it and not launched yet."),
    Figure(
        "executor.queued_tasks.<executor>", "gauge", "scheduler", "The same number, under the other name it has had."
    ),
    Figure("executor.running_tasks.<executor>", "gauge", "scheduler", "Attempts that it has launched."),
    Figure(
        "executor.late_events",
        "counter",
        "scheduler",
        "Ends that an executor reported of an attempt that it no longer held: too late, or once too often.",
    ),
    Figure("celery.task_timeout_error", "counter", "scheduler", "Times that a broker did not take messages in time."),
    Figure(
        "celery.execute_command.failure",
        "counter",
        "scheduler",
        "Attempts whose Celery task had failed, as the result backend had it, without a report of their own.",
    ),
    Figure(
        "kubernetes_executor.pod_creation_batch_size",
        "gauge",
        "scheduler",
        "Launches that one heartbeat has turned into pods to be created.",
    ),
    Figure("kubernetes_executor.pod_creation_batch_duration", "timing", "scheduler", "How long that took."),
    Figure("kubernetes_executor.pod_creation", "timing", "scheduler", "One call that creates a pod."),
    Figure("kubernetes_executor.pod_deletion", "timing", "scheduler", "One deletion of a pod, its log read before."),
    Figure("kubernetes_executor.pod_patching", "timing", "scheduler", "One call that labels a pod that is kept."),
    *(
        Figure(f"kubernetes_executor.{what}_status.{status}", "counter", "scheduler", f"{calls} that {meaning}.")
        for what, calls in (
            ("pod_creation", "Creations"),
            ("pod_deletion", "Deletions"),
            ("pod_patching", "Labellings"),
        )
        for status, meaning in (
            ("success", "worked"),
            ("failed", "were given up"),
            ("retried", "did not work, and are tried again"),
        )
    ),
    Figure("kubernetes_executor.watch_failures", "counter", "scheduler", "Lists and watches of pods that broke off."),
    Figure(
        "kubernetes_executor.adopt_task_instances.duration",
        "timing",
        "scheduler",
        "One look for the pods of a dead scheduler's attempts.",
    ),
    Figure("scheduler.executor_heartbeat_duration.<executor>", "timing", "scheduler", "One heartbeat of the executor."),
    Figure("scheduler.scheduler_loop_duration", "timing", "scheduler", "One step of the scheduler's loop."),
    Figure(
        "scheduler_heartbeat",
        "counter",
        "scheduler",
        "Times that the scheduler renewed its lease; stops when it hangs.",
    ),
    Figure("scheduler.dagruns.running", "gauge", "scheduler", "Runs that this scheduler owns."),
    Figure(
        "scheduler.duplicate_events",
        "counter",
        "scheduler",
        "Ends of attempts that the scheduler no longer counted as handed over: reported twice, or revoked meanwhile.",
    ),
    Figure(
        "scheduler.attempts_lost",
        "counter",
        "scheduler",
        "Attempts that ended without a report of their own, whatever became of the task.",
    ),
    Figure(
        "scheduler.leaks_mended",
        "counter",
        "scheduler",
        "Slots that an executor or the scheduler had forgotten to free; each is told in the log, and is a bug.",
    ),
    Figure(
        "task_instances_without_heartbeats_killed",
        "counter",
        "scheduler",
        "Attempts that were given up because no heartbeat came for `task_instance_heartbeat_timeout`.",
    ),
    Figure(
        "scheduler.lease_lost",
        "counter",
        "scheduler",
        "Times that a scheduler found itself declared dead. It ends at once, so only StatsD sees this one.",
    ),
    Figure(
        "scheduler.schedulers_buried",
        "counter",
        "scheduler",
        "Other schedulers that this one found dead: their processes were gone, or their leases had run out.",
    ),
    Figure(
        "task.scheduled_duration",
        "timing",
        "scheduler",
        "From the moment that a task could run to its dispatch: how long it waited for a slot or a limit.",
    ),
    Figure(
        "task.queued_duration",
        "timing",
        "scheduler, API server",
        "From the dispatch of an attempt to its granted start: how long its executor took.",
    ),
    Figure("ti.start", "counter", "scheduler, API server", "Starts that were granted."),
    Figure("ti.finish", "counter", "scheduler, API server", "Attempts that ended, in whatever way."),
    Figure("ti_successes", "counter", "scheduler, API server", "Task instances that ended in success."),
    Figure("ti_failures", "counter", "scheduler, API server", "Tries that failed, whether or not another one follows."),
    Figure(
        "attempts.fenced_off",
        "counter",
        "scheduler, API server",
        "Starts, heartbeats and final reports that were refused: of an attempt that is over, of a launch that is not "
        "the one that was granted the start.",
    ),
    Figure(
        "metrics.dropped",
        "counter",
        "all",
        "Figures that were none: not a finite number, or one name more than a process may have.",
    ),
)


def find(name: str) -> tuple[Figure | None, str | None]:
    """The figure behind an emitted name, ``None`` for one of somebody else's; and its executor, where it has one."""
    if name in _PLAIN:
        return _PLAIN[name], None
    prefix, _, executor = name.rpartition(".")
    figure = _OF_EXECUTOR.get(prefix)
    return (figure, executor) if figure else (None, None)


def markdown_table() -> str:
    """The figures as the table of ``docs/metrics.md``."""
    lines = ["| Figure | Kind | Emitted by | Meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| `{f.name}` | {f.kind} | {f.source} | {f.meaning} |" for f in FIGURES)]) + "\n"


def rewrite(page: str) -> str:
    """``page`` with the table of today in the place of the one that it has."""
    before, _, rest = page.partition("| Figure |")
    after = rest.partition("\n\n")[2]
    return f"{before}{markdown_table()}\n{after}"


_PLAIN = {figure.name: figure for figure in FIGURES if not figure.name.endswith(EXECUTOR)}
_OF_EXECUTOR = {figure.name.removesuffix(EXECUTOR): figure for figure in FIGURES if figure.name.endswith(EXECUTOR)}

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(rewrite(Path(sys.argv[1]).read_text(encoding="utf-8")), encoding="utf-8")
