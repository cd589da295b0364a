"""The official client is imported late: by two lanes at once without harm, and where it is missing one line says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kubernetes_api import FakeCluster

ROOT = Path(__file__).resolve().parents[3]
TWO_LANES = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from executors.kubernetes.client import Cluster
from executors.kubernetes.options import KubernetesOptions

options = KubernetesOptions(in_cluster=False, config_file=sys.argv[1])
both = Barrier(4)

def version(_):
    both.wait()
    return Cluster(options).version()

with ThreadPoolExecutor(4) as lanes:
    print(set(lanes.map(version, range(4))))
"""
NO_LIBRARY = """
import sys
sys.modules["kubernetes"] = None
from executors.kubernetes.client import Cluster
from executors.kubernetes.options import KubernetesOptions
Cluster(KubernetesOptions(in_cluster=False))
"""
CHEAP = """
import sys
import executors.kubernetes.executor
print(sorted({"kubernetes", "urllib3", "yaml"} & set(sys.modules)))
"""


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def kubeconfig(tmp_path: Path):
    with FakeCluster() as cluster:
        yield cluster.kubeconfig(tmp_path / "kubeconfig")


def test_several_lanes_may_import_it_at_once(kubeconfig: Path) -> None:
    """Its modules import each other in circles, over which two threads get into a deadlock that Python breaks by
    failing both: two executors of one scheduler never came up.
    """
    done = run(TWO_LANES, str(kubeconfig))
    assert (done.returncode, done.stdout) == (0, "{'v1.33.0+fake'}\n"), done.stderr


def test_where_it_is_missing_one_line_says_what_to_install() -> None:
    last = run(NO_LIBRARY).stderr.splitlines()[-1]
    assert "ClusterConfigError" in last
    assert "pip install 'hybrid-runtime[kubernetes]'" in last


def test_importing_the_executor_does_not_import_it() -> None:
    """It costs 0.4 s, and every process that reads the list of executors would pay."""
    assert run(CHEAP).stdout == "[]\n"
