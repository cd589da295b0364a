"""``make demo``: a fresh home, ``hybrid standalone``, one real run on two executors, and what it did.

Only the command line is used, as a person would use it. Everything lies below ``.demo/`` afterwards.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
HYBRID = str(Path(sys.executable).with_name("hybrid"))
DAG = "stdlib_survey"
PATIENCE = 60.0
CONFIG = f"""\
[core]
executor = LocalExecutor, heavy:LocalExecutor
dags_folder = {ROOT / "dags"}

[local_executor]
parallelism = 4

[local_executor:heavy]
parallelism = 2

[api]
# Any free one: the demo may run beside a deployment.
port = 0
"""


def main() -> int:
    """Run it; 0 when the run succeeded."""
    return perform(CONFIG, DAG, run_and_report)


def perform(config: str, dag: str, report: Callable[[], int], *words: str) -> int:
    """In a fresh home, have ``hybrid standalone WORDS`` and that DAG ready, and return what ``report`` returns."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(mode=0o700)
    (HOME / "hybrid.cfg").write_text(config)
    log = HOME / "standalone.log"
    print(f"$ HYBRID_HOME={HOME} {shlex.join(['hybrid', 'standalone', *words])} > {log} &")
    with log.open("wb") as output:
        standalone = subprocess.Popen(
            [HYBRID, "standalone", *words], stdout=output, stderr=subprocess.STDOUT, env=environment()
        )
    try:
        wait_until_ready(standalone, log, dag)
        return report()
    finally:
        standalone.send_signal(signal.SIGTERM)
        standalone.wait()


def environment() -> dict[str, str]:
    """Ours without other ``HYBRID`` variables, which would change the demo."""
    return {key: value for key, value in os.environ.items() if not key.startswith("HYBRID")} | {
        "HYBRID_HOME": str(HOME)
    }


def hybrid(*words: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one command; its stderr goes to the terminal unless ``quiet``."""
    if not quiet:
        print("$", shlex.join(["hybrid", *words]), flush=True)
    errors = subprocess.DEVNULL if quiet else None
    return subprocess.run(
        [HYBRID, *words], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(), check=False
    )


def wait_until_ready(standalone: subprocess.Popen[bytes], log: Path, dag: str) -> None:
    """Until the DAG can be unpaused. Exits with the end of the log when ``standalone`` ends first."""
    deadline = time.monotonic() + PATIENCE
    while "hybrid is ready" not in log.read_text() or hybrid("dags", "unpause", dag, quiet=True).returncode != 0:
        if standalone.poll() is not None or time.monotonic() > deadline:
            print(log.read_text()[-4000:], file=sys.stderr)
            sys.exit(f"demo: hybrid standalone did not get ready; its log is {log}")
        time.sleep(0.1)


def run_and_report() -> int:
    folder = HOME / "report"
    done = hybrid("dags", "trigger", DAG, "--wait", "--conf", json.dumps({"folder": str(folder)}), "-o", "json")
    if not done.stdout:
        return 1
    run = json.loads(done.stdout)
    states = hybrid("tasks", "states-for-dag-run", DAG, run["run_id"], "-o", "json")
    show(json.loads(states.stdout))
    print(f"run {run['run_id']}: {run['state']} in {seconds(run['start_date'], run['end_date']):.1f} s")
    if done.returncode == 0:
        print((folder / "report.md").read_text().splitlines()[2])
        print(f"report: {folder / 'report.md'}\nchart:  {folder / 'chart.svg'}")
    return done.returncode


def show(tasks: list[dict[str, Any]]) -> None:
    """The run by executor."""
    by_executor: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for task in tasks:
        by_executor[task["executor"] or "none"].append(task)
    table = Table("executor", title="Where the tasks ran", title_justify="left", box=SIMPLE_HEAD)
    for column in ("tasks", "succeeded", "at once", "task seconds", "median wait"):
        table.add_column(column, justify="right")
    table.add_column("chosen because")
    for name, rows in sorted(by_executor.items()):
        ran = [row for row in rows if row["duration"] is not None]
        waits = sorted(seconds(row["queued_at"], row["start_date"]) for row in ran if row["queued_at"])
        table.add_row(
            name,
            str(len(rows)),
            str(sum(row["state"] == "success" for row in rows)),
            str(most_at_once(ran)),
            f"{sum(row['duration'] for row in ran):.2f}",
            f"{waits[len(waits) // 2] * 1000:.0f} ms" if waits else "",
            Text(", ".join(sorted({row["executor_reason"] for row in rows if row["executor_reason"]}))),
        )
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else 120).print(table)


def most_at_once(rows: list[dict[str, Any]]) -> int:
    """The highest number of rows that ran at the same moment."""
    changes = sorted([(row["start_date"], 1) for row in rows] + [(row["end_date"], -1) for row in rows])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
