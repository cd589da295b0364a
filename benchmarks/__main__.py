"""``python -m benchmarks``: measure, print a table on stderr and JSON on stdout."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import celery, idle, kubernetes, limits, local, machine, null, schedulers, task_api
from benchmarks.figures import Figure
from benchmarks.plan import QUICK, Plan, Sizes
from benchmarks.processes import BenchmarkError, kill_left_over
from benchmarks.report import as_json, as_table, shown
from runtime.worker.linux import adopt_orphans

Family = Callable[[Plan], Iterator[Figure]]
FAMILIES: dict[str, Family] = {
    "limits": limits.limits,
    "local": local.local,
    "parallelism": local.parallelism,
    "reuse": local.reuse,
    "null": null.null,
    "large": null.large,
    "memory": null.memory,
    "schedulers": schedulers.schedulers,
    "task_api": task_api.task_api,
    "celery": celery.celery,
    "kubernetes": kubernetes.kubernetes,
    "startup": idle.startup,
    "idle": idle.idle,
}


def main(argv: list[str] | None = None) -> int:
    """0, 1 when a family could not be measured, 130 after Ctrl-C. A missed gate is no failure: machines differ."""
    args = _parse(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    adopt_orphans()
    try:
        return _run(args)
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130
    finally:
        kill_left_over()


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=FAMILIES, metavar="NAME", help=", ".join(FAMILIES))
    parser.add_argument("--quick", action="store_true", help="one repeat, small sizes: whether it works, not how fast")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON there and not to stdout")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the homes there and leave them")
    return parser.parse_args(argv)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _run(args: argparse.Namespace) -> int:
    plan = Plan(QUICK if args.quick else Sizes(), args.keep)
    families = [name for name in FAMILIES if args.only is None or name in args.only]
    head: dict[str, Any] = {
        "started_at": datetime.now(UTC).isoformat(),
        "machine": machine.facts(),
        "revision": machine.revision(),
        "load_average_before": machine.load_average(),
        "quick": args.quick,
        "sizes": vars(plan.sizes),
    }
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    for name in families:
        try:
            figures += _measure(name, plan)
        except (BenchmarkError, OSError, ValueError) as error:
            failures[name] = str(error)
            print(f"benchmarks: {name}: {error}", file=sys.stderr)
    text = as_json(head, figures, failures)
    if args.out:
        args.out.write_text(text + "\n")
    else:
        print(text)
    print(f"\n{as_table(head, figures)}", file=sys.stderr)
    return 1 if failures else 0


def _measure(name: str, plan: Plan) -> list[Figure]:
    """The figures of one family, each told as it comes."""
    found = []
    with closing(FAMILIES[name](plan)) as figures:  # type: ignore[type-var]
        for figure in figures:
            print(f"{figure.key:<22} {shown(figure.median):>9} {figure.unit}", file=sys.stderr, flush=True)
            found.append(figure)
    return found


if __name__ == "__main__":
    sys.exit(main())
