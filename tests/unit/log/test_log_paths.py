"""Which paths name an attempt log, and what is opened for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.log.attempt_logs import attempt_path, is_attempt_path, open_for_reading

LOG = "dag_id=d/run_id=manual__2026-01-01T00:00:00+00:00/task_id=t/attempt=1.log"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    (folder / LOG).parent.mkdir(parents=True)
    (folder / LOG).write_text("text")
    (tmp_path / "secret").write_text("no")
    return folder


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (("d", "r", "t", -1, 1, 1), "dag_id=d/run_id=r/task_id=t/attempt=1.log"),
        (("d", "r", "t", 0, 2, 3), "dag_id=d/run_id=r/task_id=t/map_index=0/attempt=2.3.log"),
    ],
)
def test_the_path_of_an_attempt(place, path):
    assert attempt_path(*place) == path
    assert is_attempt_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/" + LOG,
        LOG + "\n",
        LOG.replace("attempt=1.log", ""),
        LOG.replace("attempt=1.log", "attempt=1.log/"),
        LOG.replace("attempt=1.log", "attempt=x.log"),
        LOG.replace("attempt=1.log", "attempt=١.log"),
        LOG.replace("attempt=1.log", "map_index=-1/attempt=1.log"),
        LOG.replace("dag_id=d", "dag_id=.."),
        LOG.replace("dag_id=d", "dag_id="),
        LOG.replace("task_id=t", "task_id=t/../../.."),
        LOG.replace("task_id=t", "task_id=a b"),
        LOG.replace("task_id=t", "task_id=t\0"),
        "../secret",
        "dag_processor/x.log",
        "dag_id=" + "d" * 251 + "/run_id=r/task_id=t/attempt=1.log",
    ],
)
def test_what_is_no_attempt_log(base, path):
    assert not is_attempt_path(path)
    with pytest.raises(FileNotFoundError):
        open_for_reading(base, path)


def test_a_log_is_opened_also_below_a_linked_log_folder(base, tmp_path):
    (tmp_path / "link").symlink_to(base)
    for folder in (base, tmp_path / "link"):
        with open(open_for_reading(folder, LOG), "rb") as file:
            assert file.read() == b"text"


@pytest.mark.parametrize("how", ["link", "linked folder", "folder", "pipe", "socket", "too long", "nothing"])
def test_only_a_plain_file_reached_directly_is_opened(base, tmp_path, how):
    path = LOG.replace("attempt=1", "attempt=2")
    place = base / path
    if how == "link":
        place.symlink_to(tmp_path / "secret")
    elif how == "linked folder":
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "attempt=1.log").write_text("no")
        path = LOG.replace("task_id=t", "task_id=linked")
        (base / path).parent.symlink_to(elsewhere)
    elif how == "folder":
        place.mkdir()
    elif how == "pipe":
        os.mkfifo(place)
    elif how == "socket":
        os.mknod(place, 0o140600)
    elif how == "too long":
        path = LOG.replace("task_id=t", "task_id=" + "t" * 250)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        open_for_reading(base, path)
    assert len(os.listdir("/proc/self/fd")) == before
