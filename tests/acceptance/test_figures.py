"""Figures of a real deployment: one scrape has them all, and the page about them names each."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any

import pytest
from deployment import ROOT, Deployment, wait_until
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics.catalogue import find

MIXED = """
from runtime import DAG, task
with DAG("mixed", schedule=None):
    @task
    def works(): print("hello")
    @task(executor="heavy")
    def breaks(): raise ValueError("on purpose")
    @task(executor="mine")
    def elsewhere(): ...
    works() >> breaks()
    elsewhere()
"""
NAMES = [
    "executor.open_slots.",
    "executor.queued_slots.",
    "executor.queued_tasks.",
    "executor.running_tasks.",
    "scheduler.executor_heartbeat_duration.",
]


@pytest.fixture
def statsd():
    """Everything that a StatsD server has been sent so far."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        lines: list[str] = []

        def received() -> list[str]:
            try:
                while data := server.recv(65_536):
                    lines.extend(data.decode().splitlines())
            except BlockingIOError:
                return lines
            return lines

        received.port = server.getsockname()[1]  # type: ignore[attr-defined]
        yield received


def snapshots(deployment: Deployment) -> list[dict[str, Any]]:
    rows = deployment.query("SELECT metrics FROM scheduler UNION ALL SELECT metrics FROM component")
    return [json.loads(row["metrics"]) for row in rows if row["metrics"]]


def emitted(deployment: Deployment) -> set[str]:
    """Names in the rows of all processes."""
    return {name for one in snapshots(deployment) for part in one.values() for name in part}


def scrape(deployment: Deployment) -> dict[tuple[str, str], float]:
    """(sample, executor) → value, summed over processes, as a running API server shows it."""
    with urllib.request.urlopen(f"{api_url(deployment)}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("executor", ""))
            found[key] = found.get(key, 0.0) + sample.value
    return found


def api_url(deployment: Deployment) -> str:
    text = deployment.daemons[0].text
    return text.partition("the task API listens on ")[2].split()[0].removesuffix("/execution/v1")


def test_a_run_shows_in_one_scrape_and_by_statsd(deployment: Deployment, statsd):
    plugins = deployment.home / "plugins"
    plugins.mkdir()
    (plugins / "popen_executor.py").write_text((ROOT / "docs" / "tutorial.py").read_text())
    options = {
        "core": {"executor": "LocalExecutor, heavy:LocalExecutor, mine:popen_executor.MyExecutor"},
        "metrics": {"statsd_on": "True", "statsd_port": str(statsd.port)},
    }
    deployment.configure(options)
    deployment.write_dag("mixed", MIXED)
    deployment.standalone()
    run_id = deployment.trigger("mixed")
    assert deployment.wait_for_run("mixed", run_id) == "failed"
    executors = {"LocalExecutor", "heavy", "mine"}
    wanted = {f"{name}{executor}" for name in NAMES for executor in executors}
    wanted |= {"ti.start", "ti.finish", "ti_successes", "ti_failures", "scheduler_heartbeat", "task.scheduled_duration"}
    wanted |= {"task.queued_duration", "scheduler.scheduler_loop_duration", "scheduler.dagruns.running"}
    wait_until(lambda: wanted <= emitted(deployment), "all figures", story=lambda: wanted - emitted(deployment))
    nameless = {name for name in emitted(deployment) if find(name)[0] is None}
    assert not nameless, "not in docs/metrics.md"

    wait_until(lambda: scrape(deployment).get(("hybrid_ti_finish_total", "")) == 3, "three ends of attempts")
    found = scrape(deployment)
    assert [found[name, ""] for name in ("hybrid_ti_successes_total", "hybrid_ti_failures_total")] == [2, 1]
    assert found["hybrid_task_queued_duration_seconds_count", ""] == 3
    assert {executor for name, executor in found if name == "hybrid_executor_open_slots"} == executors
    wait_until(lambda: found_open(deployment) == (4, 2), "idle executors have all their slots open")

    sent = "\n".join(statsd())
    for line in ("hybrid.ti_failures:1|c", "hybrid.executor.open_slots.heavy:2|g", "hybrid.scheduler_heartbeat:"):
        assert line in sent
    assert "hybrid.task.queued_duration:" in sent


def found_open(deployment: Deployment) -> tuple[float, float]:
    found = scrape(deployment)
    return found["hybrid_executor_open_slots", "LocalExecutor"], found["hybrid_executor_open_slots", "heavy"]
