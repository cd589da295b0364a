"""A Celery worker for tests of the executor alone: ``side_worker.py NAME TABLE CONCURRENCY``, options in ``$OPTIONS``.

The folder TABLE stands for the task API. ``TABLE/<attempt>.json`` says what the attempt runs; the worker creates
``.started`` (once), and ``.reported`` where the command ended well; ``.refused`` makes it stop. ``TABLE/journal`` has a
line for each start.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import billiard.pool
from celery.exceptions import Ignore
from celery.signals import worker_process_init, worker_ready

from executors.celery.app import make_app
from executors.celery.messages import TASK_NAME

NAME, TABLE, CONCURRENCY = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
app = make_app(json.loads(os.environ["OPTIONS"]), NAME)
app.conf.update(broker_connection_max_retries=None)


def die_with_parent(**_):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def heed_sigterm(**_):
    """From the beginning: billiard's own handler ends a process that has accepted a task and not begun with it."""
    signal.signal(signal.SIGTERM, lambda *_: told.append("stop"))


told = []
billiard.pool.reset_signals = lambda **_: None  # it would come after us
worker_process_init.connect(die_with_parent, weak=False)
worker_process_init.connect(heed_sigterm, weak=False)
worker_ready.connect(lambda **_: (TABLE / f"ready-{os.getpid()}").touch(), weak=False)


@app.task(name=TASK_NAME)
def run(attempt_id, ticket):
    def note(what):
        return TABLE / f"{attempt_id}.{what}"

    if not ticket or note("refused").exists():
        raise Ignore
    try:
        note("started").touch(exist_ok=False)
    except FileExistsError:
        raise Ignore from None
    with (TABLE / "journal").open("a") as journal:
        journal.write(f"{attempt_id} {NAME}\n")
    try:
        command = json.loads(note("json").read_text())
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
        while (code := process.poll()) is None:
            if told or note("refused").exists():
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise Ignore
            time.sleep(0.005)
    finally:
        told.clear()
    if code:
        raise RuntimeError(f"exit code {code}")
    note("reported").touch()


if __name__ == "__main__":
    die_with_parent()
    app.worker_main([
        "worker", "--concurrency", CONCURRENCY, "--loglevel", "WARNING", "--without-gossip", "--without-mingle",
        "--queues", app.conf.task_default_queue, "--hostname", f"side{os.getpid()}@test",
    ])  # fmt: skip
