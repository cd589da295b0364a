"""The process of one attempt, from the moment it exists: wait for the go, run the task, report, leave.

``python -m runtime.worker.attempt FD`` is the ``spawn`` isolation: a fresh interpreter, told everything over ``FD``.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

import msgspec

from executors.local.channel import Channel, Kind
from runtime.authoring.loader import LoadedFile
from runtime.core.messages import RunContext
from runtime.log.attempt_logs import attempt_path, make_folder
from runtime.log.capture import AttemptLog
from runtime.worker import protocol
from runtime.worker.interrupts import Interrupts
from runtime.worker.line import SupervisorLine
from runtime.worker.linux import die_with_parent
from runtime.worker.protocol import Result
from runtime.worker.settings import WorkerSettings
from runtime.worker.task import Job, perform


class Process(msgspec.Struct, frozen=True):
    """What the process knows before it is given an attempt."""

    settings: WorkerSettings
    log: AttemptLog
    held: Mapping[str, LoadedFile]
    """By ``rel_path``: the files that it inherited."""


def log_path(base: str, run: RunContext) -> str:
    """The log file of the attempt that runs ``run``."""
    ids = (run.dag_id, run.run_id, run.task_id, run.map_index)
    return f"{base}/{attempt_path(*ids, run.try_number, run.dispatch_number)}"


def live(process: Process, line: SupervisorLine) -> NoReturn:
    """Wait for the go, run the task, report, exit. Never returns."""
    code = 1
    try:
        go = protocol.decode_go(line.receive(Kind.REPLY))
        loaded = process.held[go.context.rel_path] if go.held else None
        job = Job(go.context, process.settings, loaded, line.ask, line.interrupts, line.tell_begin)
        path = log_path(process.settings.base_log_folder, go.context)
        line.tell_result(run_logged(go.attempt_id, job, process.log, path))
        # The outcome is known: what a callback does to this process changes nothing of it.
        job.run_callbacks()
        code = 0
    except ConnectionError:
        code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            process.log.drain()
        os._exit(code)


def run_logged(attempt_id: str, job: Job, log: AttemptLog, path: str) -> Result:
    """Run the task with everything it says in the file ``path``. Raises nothing."""
    os.environ["HYBRID_ATTEMPT_ID"] = attempt_id
    run = job.run
    try:
        _open(log, path)
    except OSError as error:
        problem = f"cannot write the log {path}: {error.strerror}"
        if not log.open_spare():
            return Result("failed", problem)
        log.say(problem)
    tries = f"try {run.try_number} of {run.max_tries + 1}"
    log.say(f"{run.dag_id}.{run.task_id}, run {run.run_id}, {tries}, attempt {attempt_id}")
    result = perform(job)
    log.flush()
    log.say(f"{result.outcome}: {result.reason}" if result.reason else result.outcome)
    return result


def _open(log: AttemptLog, path: str) -> None:
    try:
        log.open(path)
    except FileNotFoundError:
        make_folder(os.path.dirname(path))
        log.open(path)


def set_pythonpath(value: str | None) -> None:
    """Give user code the ``PYTHONPATH`` that the worker has, where this interpreter was started with another one."""
    if value is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = value


def main() -> NoReturn:
    """The fresh interpreter."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    os.set_inheritable(channel.fileno(), False)
    line = SupervisorLine(channel, Interrupts())
    setup = protocol.decode_setup(line.receive(Kind.ASSIGN))
    die_with_parent(setup.supervisor_pid)
    set_pythonpath(setup.pythonpath)
    log = AttemptLog(setup.settings.log_level)
    log.install()
    live(Process(setup.settings, log, {}), line)


if __name__ == "__main__":
    main()
