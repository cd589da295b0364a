"""The daemons as processes: how they begin, how they stop, and what they refuse."""

from __future__ import annotations

import signal
import stat

import pytest


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
    scheduler = deployment.scheduler()
    deployment.write_dag(
        "apart", "from runtime import DAG, task\nwith DAG('apart'):\n    @task\n    def t(): pass\n    t()\n"
    )
    deployment.run_to_end("apart")
    assert processor.stop() == 0
    assert scheduler.stop(signal.SIGINT) == 0


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
