"""The executor that docs/executors.md explains: each attempt is a process of its own on the scheduler's host."""

import math
import os
import signal
import subprocess
import time
from contextlib import suppress

from executors import BaseExecutor


class MyExecutor(BaseExecutor):
    is_local = True
    conf_section = "my_executor"

    def __init__(self, parallelism=32, *, context=None):
        super().__init__(parallelism, context=context)
        self.grace = self.context.integer("grace", 90)
        self.processes = {}  # process → key, and when to kill it

    def execute_async(self, key, command, queue=None, executor_config=None):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self.processes[process] = key, math.inf

    def sync(self):
        for process, (key, deadline) in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[process]
                report = self.success if process.returncode == 0 else self.fail
                report(key, f"exit code {process.returncode}")
            elif time.monotonic() > deadline:
                self.send(process, signal.SIGKILL)

    def revoke_task(self, ti):
        super().revoke_task(ti)
        for process, (key, deadline) in self.processes.items():
            if key == ti.key and deadline == math.inf:
                self.send(process, signal.SIGTERM)
                self.processes[process] = key, time.monotonic() + self.grace

    def end(self):
        super().end()
        self.terminate()

    def terminate(self):
        for key in [*self.queued_tasks, *self.running]:
            self.lost(key, "the executor was terminated")
        for process, (key, _) in self.processes.items():
            self.send(process, signal.SIGTERM, signal.SIGINT)
            self.processes[process] = key, time.monotonic() + min(self.grace, 5)
        while self.processes:
            self.sync()
            time.sleep(0.01)

    def send(self, process, *signals):
        with suppress(ProcessLookupError):
            for signum in signals:
                os.killpg(process.pid, signum)
