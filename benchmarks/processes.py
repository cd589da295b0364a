"""Child processes of the benchmarks: started clean, measured through ``/proc``, and gone afterwards in any case."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from runtime.worker.linux import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
_DROPPED = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
"""With them each start compiles its imports again, and each print is a system call: nobody runs a service so."""
_TICK = os.sysconf("SC_CLK_TCK")
_LAST_LINES = 12


class BenchmarkError(Exception):
    """Something that was to be measured did not work; one line, then perhaps the end of its output."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would spoil a measurement, with this checkout first on the path."""
    kept = {key: value for key, value in os.environ.items() if key not in _DROPPED and not key.startswith("HYBRID")}
    path = os.pathsep.join(part for part in (str(ROOT), kept.get("PYTHONPATH")) if part)
    return {**kept, "PYTHONPATH": path, **(more or {})}


def hybrid(*words: str) -> list[str]:
    """The argv of a ``hybrid`` command: the installed script, else the module."""
    script = Path(sys.executable).with_name("hybrid")
    return [str(script), *words] if script.exists() else [sys.executable, "-m", "runtime.cli.main", *words]


@contextmanager
def running(
    argv: Sequence[str], *, env: Mapping[str, str], output: Path, patience: float = 20.0
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, its output in a file; at the end SIGTERM, and SIGKILL to all of its tree."""
    parent = os.getpid()
    with output.open("wb") as file:
        process = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent),
        )
    try:
        yield process
    finally:
        _end(process, patience)


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    family = tree(process.pid)
    try:
        process.terminate()
        process.wait(patience)
    except subprocess.TimeoutExpired:
        print(f"benchmarks: process {process.pid} did not end in {patience:g} s and is killed", file=sys.stderr)
    finally:
        for member in {*family, *tree(process.pid)}:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()


def run_json(module: str, *words: str, scratch: Path, timeout: float = 600.0) -> Any:
    """Run ``python -m module …`` and return the JSON value that is the last line of its output."""
    output = scratch / f"{module.rpartition('.')[2]}.out"
    with running([sys.executable, "-m", module, *words], env=environment(), output=output, patience=2.0) as process:
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{module} was not done after {timeout:g} s") from None
    lines = output.read_text(errors="replace").splitlines()
    if code != 0 or not lines:
        raise BenchmarkError(f"{module} ended with exit code {code}:\n" + "\n".join(lines[-_LAST_LINES:]))
    return json.loads(lines[-1])


def last_lines(output: Path) -> str:
    """The end of a log, for an error message."""
    return "\n".join(output.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> dict[str, float]:
    """CPU time of a tree of hybrid processes so far, by role; ``attempts`` is what workers have reaped."""
    spent: dict[str, float] = defaultdict(float)
    for process in tree(pid):
        with suppress(psutil.Error, OSError):
            name = _role(process)
            spent[name] += _own_seconds(process.pid)
            spent["attempts" if name == "workers" else "workers" if name == "zygote" else name] += _reaped(process.pid)
    return dict(spent)


def pss_mib(pid: int) -> float:
    """Proportional set size of a tree, MiB: shared pages count once."""
    total = 0
    for process in tree(pid):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 2**20


def _role(process: psutil.Process) -> str:
    """From the title that the process gave itself."""
    title = " ".join(process.cmdline())
    for mark, role in (("local-zygote", "zygote"), ("local-worker", "workers"), ("remote-worker", "workers")):
        if mark in title:
            return role
    name = title.removeprefix("hybrid ").split(" ")[0]
    return name if title.startswith("hybrid ") else "standalone"


def _own_seconds(pid: int) -> float:
    """Of all its threads, to the nanosecond; ``/proc/PID/stat`` counts in ticks of 10 ms."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    return total / 1e9


def _reaped(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    fields = stat[stat.rindex(b")") + 2 :].split()
    return (int(fields[13]) + int(fields[14])) / _TICK


def kill_left_over() -> None:
    """SIGKILL whatever descends from this process, which must be a subreaper."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            time.sleep(0)
