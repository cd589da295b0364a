"""A deployment whose attempts all report over HTTP: `hybrid tasks run` under two executors of a plugins folder."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployment import Daemon, wait_until
from faulty import FAST, HERE, FaultyDeployment

SLOTS = {"remote": 4, "heavy": 2}


class HttpDeployment(FaultyDeployment):
    """``remote`` is the default executor and behaves as if on another host; ``heavy`` is local."""

    port: int

    def configure(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """See :meth:`Deployment.configure`."""
        if not hasattr(self, "port"):
            self.port = _free_port()
        merged = {section: dict(values) for section, values in options.items()}
        for section, values in {
            "core": {"executor": "remote:popen.Remote, heavy:popen.Local", "plugins_folder": str(HERE)},
            "popen": {"parallelism": "4"},
            "popen:heavy": {"parallelism": "2"},
            "api": {"port": str(self.port)},
            "workers": {"execution_api_timeout": "2"},
        }.items():
            merged[section] = values | merged.get(section, {})
        super().configure(merged)

    def api(self) -> Daemon:
        """Start ``hybrid api-server`` and wait until it listens."""
        daemon = self.start("api-server")
        self.wait_for_words(daemon, "listens on")
        return daemon

    def launch_of(self, attempt: Mapping[str, Any]) -> int:
        """The pid of the ``hybrid tasks run`` that supervises a running attempt."""
        return self.worker_of(attempt).pid


def begin_http(home: Path) -> HttpDeployment:
    """A migrated home with a running DAG processor, and no API server yet."""
    made = HttpDeployment(home)
    made.configure(FAST)
    shutil.copy(HERE / "journal.py", made.dags)
    (home / "witness").mkdir()
    made.hybrid("db", "migrate")
    made.start("dag-processor")
    return made


def wait_for_launch(deployment: HttpDeployment, run_id: str, task_id: str = "waits") -> dict[str, Any]:
    """The newest attempt of the task, once it is committed."""
    return wait_until(lambda: deployment.attempts(run_id, task_id), "an attempt")[-1]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
