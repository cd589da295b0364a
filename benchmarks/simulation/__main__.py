"""``python -m benchmarks.simulation``: 100,000 task instances on eight executors, one scheduler, virtual time."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks import machine
from benchmarks.simulation.driver import Simulation
from benchmarks.simulation.outcome import Report, simulate
from benchmarks.simulation.report import as_json, as_table

MOST_EXECUTORS = 64
_BETWEEN = 0.5
"""Seconds between two progress lines."""
_END_OF_LINE = "\r\033[K"
"""Takes the progress line away."""


def main(argv: list[str] | None = None) -> int:
    """0, 1 where an invariant was violated, 2 after bad arguments, 130 after Ctrl-C."""
    args = _parse(argv)
    logging.basicConfig(level="ERROR")
    signal.signal(signal.SIGTERM, _leave)
    head = {"revision": machine.revision(), "machine": machine.facts(), "seed": args.seed}
    try:
        with tempfile.TemporaryDirectory(prefix="hybrid-simulation-", ignore_cleanup_errors=True) as home:
            report = simulate(Path(home), args.tasks, args.executors, args.seed, _progress(args.tasks))
    except KeyboardInterrupt:
        print(f"{_END_OF_LINE if sys.stderr.isatty() else ''}simulation: interrupted", file=sys.stderr)
        return 130
    if sys.stderr.isatty():
        print(_END_OF_LINE, end="", file=sys.stderr, flush=True)
    print(_shown(args.output, head, report))
    return 1 if report.violations else 0


def _shown(output: str, head: dict[str, object], report: Report) -> str:
    if output == "json":
        return as_json(head, report.result, report.violations)
    return as_table(report.result, report.violations)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, exit code 2."""
        self.exit(2, f"simulation: {message}\n")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--tasks", type=_number(1, 10_000_000), default=100_000, help="task instances, default 100000")
    parser.add_argument("--executors", type=_number(1, MOST_EXECUTORS), default=8, help="default 8")
    parser.add_argument("--seed", type=_number(0, 2**63), default=1, help="equal seeds, equal decisions; default 1")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    return parser.parse_args(argv)


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text.replace("_", ""))
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least:,} and {most:,}")
        return value

    return number


def _progress(tasks: int) -> Callable[[Simulation], None]:
    """A line that is written over, on a terminal only."""
    if not sys.stderr.isatty():
        return lambda _: None
    began = last = time.monotonic()

    def progress(simulation: Simulation) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _BETWEEN:
            last = now
            line = f"{simulation.decisions.count:,} decisions for {tasks:,} tasks, {simulation.clock.seconds:,.0f} s"
            print(f"{_END_OF_LINE}{line} in {now - began:.0f} s of wall time", end="", file=sys.stderr, flush=True)

    return progress


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
