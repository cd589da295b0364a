"""The end-to-end tests that run on any cluster run on the fake one: from outside, by the variables that name it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes_api import FakeCluster

ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests" / "kubernetes_e2e"
CHEAP = "test_half_of_a_dag_runs_in_pods"


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a person would set. The "image" is this checkout: its pods have nothing else of this process."""
    image = {
        "PYTHONPATH": str(ROOT),
        "HYBRID_HOME": str(tmp_path / "pods"),
        "HYBRID__CORE__DAGS_FOLDER": str(TESTS / "dags"),
    }
    with FakeCluster(in_process=True, env=image, namespaces=("default", "here")) as cluster:
        yield {
            "HYBRID_TEST_KUBECONFIG": str(cluster.kubeconfig(tmp_path / "kubeconfig")),
            "HYBRID_TEST_NAMESPACE": "here",
            "HYBRID_TEST_IMAGE": "any/image:1",
            "HYBRID_TEST_API_URL": f"http://127.0.0.1:{free_port()}/execution/v1",
        }
        assert cluster.pids() == {}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(tmp_path: Path, variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """As ``make test-kubernetes`` does it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HYBRID", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "kubernetes", "-p", "no:cacheprovider"]
    folder = f"--basetemp={tmp_path / 'pytest'}"
    return subprocess.run(
        [*command, folder, str(TESTS), *words],
        cwd=ROOT,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
def test_one_of_them_passes(tmp_path: Path, variables: dict[str, str]) -> None:
    done = run(tmp_path, variables, "-k", CHEAP)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
    assert re.search(r"\b1 passed", done.stdout), done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_of_them_pass(tmp_path: Path, variables: dict[str, str]) -> None:
    done = run(tmp_path, variables)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert "skipped" not in done.stdout


def test_without_a_cluster_they_say_what_they_need(tmp_path: Path) -> None:
    """They were asked for, so nothing is skipped."""
    done = run(tmp_path, {"HYBRID_TEST_NAMESPACE": "here"})
    assert done.returncode == 2
    assert "need HYBRID_TEST_KUBECONFIG, HYBRID_TEST_IMAGE, HYBRID_TEST_API_URL" in done.stdout + done.stderr
