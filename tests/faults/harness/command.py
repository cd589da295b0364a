"""The command line, and the whole of a run from the beginning to the verdict."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from checker import Story
from deployment import wait_until_moment

from harness.leaks import wait_until_idle
from harness.plan import SECONDS_PER_FAULT, Fault, described, make_plan
from harness.recovery import recoveries
from harness.report import Report
from harness.site import Site, may_name_hosts
from harness.storm import Storm
from harness.timers import timer
from harness.verdict import judge
from harness.work import rounds, triggers

Number = TypeVar("Number", int, float)
PROGRAM = "python -m tests.faults.harness"
FEWEST_SECONDS = 5.0
TABLES = ("dag_run", "task_instance", "task_attempt", "event", "scheduler", "executor_status", "run_inbox", "xcom")
RUN_PATIENCE = 120.0
"""Seconds without any run ending until those that are left are called lost."""
IDLE_PATIENCE = 60.0
"""Seconds for messages, slots and processes to be gone after that."""


def main(words: Sequence[str] | None = None) -> int:
    """The exit code: 0 where nothing was lost, doubled, wrong or leaked; 1 where something was, and then the home is
    kept; 2 on bad usage; 130 on Ctrl-C.
    """
    options = parser().parse_args(words)
    try:
        if options.dry_run:
            print(described(plan_of(options)))
            return 0
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted; everything was stopped", file=sys.stderr)
        return 130


def plan_of(options: argparse.Namespace) -> tuple[Fault, ...]:
    """The plan that these options make."""
    lease = timer("scheduler", "lease_seconds", options.fast)
    silence = timer("scheduler", "task_instance_heartbeat_timeout", options.fast)
    return make_plan(options.seed, options.faults, length(options), lease=lease, silence=silence)


def length(options: argparse.Namespace) -> float:
    """Seconds over which faults and runs are spread."""
    return float(options.duration or max(FEWEST_SECONDS, options.faults * SECONDS_PER_FAULT))


def _run(options: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="hybrid-faults-")) if options.keep is None else Path(options.keep)
    folder.mkdir(parents=True, exist_ok=True)
    kept = True
    try:
        report = storm(options, folder / f"home-{int(time.time())}", lambda line: print(line, file=sys.stderr))
        kept = options.keep is not None or not report.verdict.is_good
    except KeyboardInterrupt:
        kept = options.keep is not None
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    print(report.json() if options.output == "json" else report.table())
    if kept:
        print(f"the home is kept in {folder}", file=sys.stderr)
    return 0 if report.verdict.is_good else 1


def storm(options: argparse.Namespace, home: Path, say: Callable[[str], None]) -> Report:
    """Everything between the options and the report."""
    began = time.monotonic()
    hosts = not options.one_host and may_name_hosts()
    # Each loss has a fault as its cause, and a fault takes an attempt of one task once, or twice where it lasts.
    site = Site(home, attempts=options.attempts, factor=options.fast, infra_retries=2 * options.faults + 2, hosts=hosts)
    try:
        site.begin()
        say(f"{time.monotonic() - began:6.0f} s  everything runs; home {home}")
        raging = Storm(site, plan_of(options), triggers(options.seed, options.attempts, length(options)), say)
        raging.rage()
        say(f"{time.monotonic() - began:6.0f} s  the faults are over")
        _wait_for_runs(site, say)
        leaks = wait_until_idle(site, IDLE_PATIENCE)
        leaks += site.stop()
        story = Story(home, site.url)
        keep_tables(site)
    finally:
        site.close()
    return Report(
        command=_command(options),
        seed=options.seed,
        attempts=len(story.attempts),
        repeated=sum(attempt["state"] == "lost" for attempt in story.attempts),
        struck=raging.struck,
        missed=len(raging.missed),
        recoveries=recoveries(raging.struck, story.attempts),
        verdict=judge(story, leaks, dates=rounds(options.attempts)),
        seconds=time.monotonic() - began,
        ended_by_themselves=site.manager.ended_by_themselves,
        hosts=hosts,
    )


def _command(options: argparse.Namespace) -> str:
    """What repeats this run."""
    words = [PROGRAM, *(f"--{name} {getattr(options, name):g}" for name in ("attempts", "faults", "seed", "fast"))]
    words += [f"--duration {options.duration:g}"] if options.duration else []
    return " ".join([*words, *(["--one-host"] if options.one_host else [])])


def keep_tables(site: Site) -> None:
    """Leave the rows of the tables in the home, as ``tables/NAME.jsonl``: the server ends with the command."""
    folder = site.home / "tables"
    folder.mkdir()
    for name in TABLES:
        rows = site.query(f"SELECT * FROM {name} ORDER BY 1")
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _wait_for_runs(site: Site, say: Callable[[str], None]) -> None:
    """Return when every run has ended, or when none has for ``RUN_PATIENCE`` seconds."""
    left, since = -1, time.monotonic()
    while True:
        site.tend()
        rows = site.query("SELECT count(*) AS n FROM dag_run WHERE state IN ('queued', 'running')")
        due = site.query("SELECT count(*) AS n FROM dag WHERE next_run_after IS NOT NULL")
        now = time.monotonic()
        if rows[0]["n"] + due[0]["n"] != left:
            left, since = rows[0]["n"] + due[0]["n"], now
        if left == 0:
            return
        if now > since + RUN_PATIENCE:
            say(f"{left} runs do not end")
            return
        wait_until_moment(now + 0.1)


def parser() -> argparse.ArgumentParser:
    """The options, with their defaults."""
    made = argparse.ArgumentParser(prog=PROGRAM, description="Hurt a whole deployment, and see what is lost.")
    made.add_argument("--attempts", type=_least(int, 1), default=1000, help="attempts to be made, at least (1000)")
    made.add_argument("--faults", type=_least(int, 0), default=50, help="faults meanwhile (50)")
    made.add_argument("--seed", type=int, default=1, help="decides what is struck when (1)")
    made.add_argument("--fast", type=_least(float, 1.0), default=10.0, help="timers are divided by this (10)")
    made.add_argument(
        "--duration", type=_least(float, 1.0), help=f"seconds for the faults ({SECONDS_PER_FAULT:g} for each)"
    )
    made.add_argument("--one-host", action="store_true", help="all daemons on one host; else each has its own name")
    made.add_argument("--keep", metavar="DIR", help="keep database, logs and journal there")
    made.add_argument("--dry-run", action="store_true", help="print the plan and do nothing")
    made.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print the outcome")
    return made


def _least(kind: type[Number], least: Number) -> Callable[[str], Number]:
    """Reads a number that is not less."""

    def read(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not number >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least:g}")
        return number

    return read
