"""Executors as a third party writes them, for a plugins folder: a process of `hybrid tasks run` for each launch.

``[popen] copies``: how often each launch is started, as a broker that delivers twice would do.
"""

from __future__ import annotations

import subprocess

from executors import BaseExecutor


class Remote(BaseExecutor):
    """As if on another host: its processes outlive the scheduler, and only their heartbeats say that they live."""

    conf_section = "popen"

    def __init__(self, parallelism=32, *, context=None):
        super().__init__(parallelism, context=context)
        self.processes = {}

    def execute_async(self, key, command, queue=None, executor_config=None):
        copies = self.context.integer("copies", 1)
        self.processes[key] = [subprocess.Popen(command, start_new_session=True) for _ in range(copies)]

    def sync(self):
        for key, launched in list(self.processes.items()):
            codes = [process.poll() for process in launched]
            if None not in codes:
                del self.processes[key]
                if 0 in codes:
                    self.success(key)
                else:
                    self.fail(key, f"exit codes {codes}")


class Local(Remote):
    """On the scheduler's host: what is lost is looked for, and killed, among its processes."""

    is_local = True

    def revoke_task(self, ti):
        super().revoke_task(ti)
        self._kill(self.processes.pop(ti.key, []))

    def terminate(self):
        for key in [*self.queued_tasks, *self.running]:
            self.lost(key, "the executor was terminated")
        for launched in self.processes.values():
            self._kill(launched)
        self.processes.clear()

    def _kill(self, launched):
        for process in launched:
            process.kill()
            process.wait()
