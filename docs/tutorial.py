"""The executor that docs/executors.md explains: each attempt is a process of its own on the scheduler's host."""

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
        self.processes = {}  # key → process
        self.stopping = {}  # revoked process → when to kill it

    def execute_async(self, key, command, queue=None, executor_config=None):
        self.processes[key] = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def sync(self):
        for key, process in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[key]
                report = self.success if process.returncode == 0 else self.fail
                report(key, f"exit code {process.returncode}")
        for process, deadline in list(self.stopping.items()):
            if process.poll() is not None:
                del self.stopping[process]
            elif time.monotonic() > deadline:
                self.send(process, signal.SIGKILL)

    def revoke_task(self, ti):
        super().revoke_task(ti)
        if process := self.processes.pop(ti.key, None):
            self.send(process, signal.SIGTERM)
            self.stopping[process] = time.monotonic() + self.grace

    def end(self):
        super().end()
        self.terminate()

    def terminate(self):
        for key in [*self.queued_tasks, *self.running]:
            self.lost(key, "the executor was terminated")
        left = [*self.processes.values(), *self.stopping]
        self.processes.clear()
        self.stopping.clear()
        for process in left:
            self.send(process, signal.SIGTERM)
            self.send(process, signal.SIGINT)
        deadline = time.monotonic() + min(self.grace, 5)
        for process in left:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))
                continue
            self.send(process, signal.SIGKILL)
            process.wait()

    def send(self, process, signum):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
