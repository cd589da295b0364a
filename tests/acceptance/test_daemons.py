"""The daemons as processes: how they begin, how they stop, and what they refuse."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import urllib.request
from typing import Any

import pytest
from deployment import wait_until


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_standalone_gets_ready_and_stops(deployment, signum):
    daemon = deployment.standalone()
    assert f"home       {deployment.home}" in daemon.text
    assert daemon.stop(signum) == 0
    assert deployment.strays() == []
    assert deployment.query("SELECT 1 FROM scheduler WHERE ended_at IS NULL") == []


def test_standalone_makes_a_private_home(deployment):
    deployment.standalone()
    assert stat.S_IMODE(deployment.database.stat().st_mode) & 0o077 == 0


def test_daemons_can_run_apart(deployment):
    deployment.hybrid("db", "migrate")
    processor = deployment.start("dag-processor")
    api = deployment.start("api-server")
    scheduler = deployment.scheduler()
    deployment.write_dag(
        "apart", "from runtime import DAG, task\nwith DAG('apart'):\n    @task\n    def t(): pass\n    t()\n"
    )
    deployment.run_to_end("apart")
    assert processor.stop() == 0
    assert scheduler.stop(signal.SIGINT) == 0
    assert api.stop() == 0


def health(daemon) -> dict[str, Any]:
    """What the API server of a standalone says of all."""
    (url,) = re.findall(r"API +(http://\S+)", daemon.text)
    with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=30) as answer:
        return json.load(answer)


def test_the_banner_names_the_api_which_says_that_all_is_well(deployment):
    daemon = deployment.standalone()
    found = health(daemon)
    for name in ("metadatabase", "scheduler", "dag_processor", "api_server"):
        assert found[name]["status"] == "healthy"
    wait_until(lambda: health(daemon)["executors"] == {"LocalExecutor": "healthy", "heavy": "healthy"}, "executors")


def test_each_daemon_says_that_it_lives_and_that_it_has_ended(deployment):
    daemon = deployment.standalone()
    seen = {row["id"]: row["heartbeat_at"] for row in deployment.query("SELECT * FROM component")}
    assert {row["kind"] for row in deployment.query("SELECT * FROM component")} == {"api-server", "dag-processor"}
    wait_until(
        lambda: all(row["heartbeat_at"] > seen[row["id"]] for row in deployment.query("SELECT * FROM component")),
        "a heartbeat of each",
    )
    assert daemon.stop() == 0
    assert deployment.query("SELECT 1 FROM component WHERE ended_at IS NULL") == []


POPEN = """
import subprocess
from executors import BaseExecutor

class Popen(BaseExecutor):
    def __init__(self, parallelism=32, *, context=None):
        super().__init__(parallelism, context=context)
        self.processes = {}

    def execute_async(self, key, command, queue=None, executor_config=None):
        self.processes[key] = subprocess.Popen(command)

    def sync(self):
        for key, process in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[key]
                (self.success if process.returncode == 0 else self.fail)(key)
"""


def test_what_an_executor_of_standalone_starts_finds_the_task_api(deployment):
    """Its port is any free one, and nobody has configured a URL."""
    (deployment.home / "plugins").mkdir()
    (deployment.home / "plugins" / "popen_executor.py").write_text(POPEN)
    deployment.configure({"core": {"executor": "LocalExecutor, mine:popen_executor.Popen"}})
    deployment.write_dag(
        "elsewhere",
        "from runtime import DAG, task\nwith DAG('elsewhere'):\n"
        "    @task(executor='mine')\n    def t():\n        return 'by HTTP'\n    t()\n",
    )
    deployment.standalone()
    run_id = deployment.run_to_end("elsewhere")
    assert deployment.xcom(run_id, "t") == "by HTTP"
    assert [attempt["executor"] for attempt in deployment.attempts(run_id, "t")] == ["mine"]


def test_standalone_on_a_port_that_is_taken_starts_nothing(deployment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        deployment.configure({"api": {"port": str(port)}})
        daemon = deployment.start("standalone")
        assert daemon.wait() == 1
    (line,) = daemon.text.splitlines()
    assert line == (
        f"hybrid: port {port} of 127.0.0.1 is taken by another process; end that one, or set another [api] port"
    )
    assert not deployment.database.exists()


@pytest.mark.parametrize("verb", ["standalone", "scheduler"])
def test_a_bad_executor_list_starts_nothing(deployment, verb):
    deployment.configure({"core": {"executor": "LocalExecutor, heavy:LocalExecuter"}})
    daemon = deployment.start(verb)
    assert daemon.wait() == 1
    (line,) = daemon.text.splitlines()
    assert line.startswith("hybrid: ")
    assert "LocalExecuter" in line
    assert "did you mean" in line
    assert deployment.strays() == []
    assert not deployment.database.exists()


def test_a_scheduler_without_tables_says_so(deployment):
    daemon = deployment.start("scheduler")
    assert daemon.wait() == 1
    (line,) = daemon.text.splitlines()
    assert "hybrid db migrate" in line
