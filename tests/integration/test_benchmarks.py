"""The benchmark command at a tiny size: the shape of its JSON, its table, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.breakdown import Times, hand_overs, phases
from benchmarks.figures import Figure, Gate
from benchmarks.null_scheduler import SHAPES, WIDTH

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = {"median", "min", "max", "n"}


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Below ``folder``, so that what it leaves can be found there."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--quick", *words],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All descendants, as soon as there is a worker among them."""
    deadline = time.monotonic() + 60
    while True:
        family = psutil.Process(process.pid).children(recursive=True)
        if any("local-worker" in " ".join(command_line(member)) for member in family):
            return family
        assert process.poll() is None
        assert time.monotonic() < deadline


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_figures_of_a_deployment_of_the_null_executor_and_of_the_bare_machine(tmp_path):
    process = start(tmp_path, "--only", "local", "--only", "null", "--only", "limits")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["failures"] == {}
    assert {"machine", "revision", "load_average_before", "sizes", "started_at"} <= report.keys()
    figures = {figure["key"]: figure for figure in report["figures"]}
    assert figures.keys() == {
        *("limits.fork", "limits.two_forkers", "null.fan", "null.layers"),
        *("local.fan_out", "local.skeleton", "local.of_skeleton", "local.chain", "local.many"),
    }
    for figure in figures.values():
        assert {*SUMMARY, "unit", "title", "gate", "aim", "verdict", "values", "details"} <= figure.keys()
        assert 0 < figure["min"] <= figure["median"] <= figure["max"]
        assert figure["n"] == len(figure["values"]) == report["sizes"]["repeats"]
    assert figures["local.chain"]["details"]["breakdown_ms"].keys() == {
        *("ready → queued", "queued → started", "started → ended", "ended → next queued")
    }
    assert "chain of 8, step" in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that PostgreSQL can reach, which root runs as somebody else; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="hybrid-bench-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_figures_of_the_task_api_on_each_database(open_folder):
    process = start(open_folder, "--only", "task_api")
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["failures"] == {}
    names = ("attempts", "heartbeats", "report")
    expected = {f"task_api.{kind}.{name}" for kind in ("sqlite", "postgresql") for name in names} | {"task_api.cold"}
    assert {figure["key"] for figure in report["figures"]} == expected
    assert all(figure["gate"] and figure["min"] > 0 for figure in report["figures"])
    assert list(open_folder.iterdir()) == []


def test_figures_of_two_schedulers_against_one(open_folder):
    process = start(open_folder, "--only", "schedulers")
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["failures"] == {}
    figures = {figure["key"]: figure for figure in report["figures"]}
    assert figures.keys() == {"schedulers.one", "schedulers.two", "schedulers.ratio"}
    ratio = figures["schedulers.two"]["median"] / figures["schedulers.one"]["median"]
    assert figures["schedulers.ratio"]["median"] == pytest.approx(ratio, rel=1e-3)
    assert 0 <= figures["schedulers.ratio"]["details"]["smaller_share_percent"]["median"] <= 50
    assert list(open_folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_a_deployment_it_leaves_no_process_and_no_file(tmp_path, number):
    process = start(tmp_path, "--only", "idle")
    family = wait_for_workers(process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert [member for member in family if member.is_running()] == []
    assert list(tmp_path.iterdir()) == []


def test_killed_it_takes_its_processes_along(tmp_path):
    process = start(tmp_path, "--only", "idle")
    family = wait_for_workers(process)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(family, timeout=60)[1] == []


def test_a_slot_is_handed_over_to_the_attempt_that_is_queued_next():
    """Two slots: the end at 10 makes room for the third attempt, queued at 12, the one at 11 for the fourth."""
    times = [Times(1, 0, 0, 1, 10), Times(1, 0, 0, 2, 11), Times(1, 0, 12, 13, 20), Times(1, 0, 15, 16, 30)]
    assert hand_overs(times) == [0.002, 0.004]


def test_runs_that_overlap_have_no_hand_overs():
    apart = [Times(1, 0, 0, 1, 10), Times(2, 20, 20, 21, 30)]
    overlapping = [Times(1, 0, 0, 1, 10), Times(2, 5, 5, 6, 30)]
    assert phases(apart)["ready → queued"] == phases(overlapping)["ready → queued"] == [0.0, 0.0]
    assert phases(overlapping)["ended → next queued"] == []


@pytest.mark.parametrize(
    ("gate", "value", "verdict"),
    [
        (Gate(250, 400, higher_is_better=True), 400, "aim"),
        (Gate(250, 400, higher_is_better=True), 399, "ok"),
        (Gate(250, 400, higher_is_better=True), 249, "MISSED"),
        (Gate(8, 5.5), 5.5, "aim"),
        (Gate(8, 5.5), 8.1, "MISSED"),
        (Gate(1.3, None), 1.2, "ok"),
        (Gate(None, 1000, higher_is_better=True), 999, "below"),
    ],
)
def test_verdict_compares_with_the_aim_first(gate, value, verdict):
    assert gate.verdict(value) == verdict


def test_a_figure_without_values_is_an_error():
    with pytest.raises(ValueError, match=r"local\.chain has no values"):
        Figure("local.chain", "chain", "ms", ())


def test_layers_have_two_edges_per_task_into_the_layer_above():
    upstream = SHAPES["layers"]
    assert upstream(WIDTH - 1) == ()
    assert upstream(WIDTH) == ("t0", "t1")
    assert upstream(2 * WIDTH - 1) == ("t0", f"t{WIDTH - 1}")
