"""Where logs of attempts lie, their lines, and reading them back."""

from __future__ import annotations

import os

import pytest

from runtime.core.errors import NotFoundError
from runtime.log.attempt_logs import append_line, attempt_file, attempt_folder, format_line, make_folder, read


@pytest.mark.parametrize(
    ("numbers", "name"), [((1,), "attempt=1.log"), ((2, 1), "attempt=2.log"), ((2, 3), "attempt=2.3.log")]
)
def test_file_names(numbers, name):
    assert attempt_file(*numbers) == name


def test_folders():
    assert attempt_folder("/l", "d", "r", "t") == "/l/dag_id=d/run_id=r/task_id=t"
    assert attempt_folder("/l", "d", "r", "t", 0) == "/l/dag_id=d/run_id=r/task_id=t/map_index=0"


def test_a_folder_is_made_private_with_its_parents_and_once_more(tmp_path):
    folder = tmp_path / "a" / "b"
    make_folder(str(folder))
    make_folder(str(folder))
    assert [f.stat().st_mode & 0o777 for f in (folder, folder.parent)] == [0o700, 0o700]


def test_every_line_of_a_text_gets_the_head():
    assert format_line(1_795_347_005_000_006_000, "INFO", "a.py:1", "x\ny") == (
        "[2026-11-22T11:30:05.000006Z] {a.py:1} INFO - x\n[2026-11-22T11:30:05.000006Z] {a.py:1} INFO - y\n"
    )


def test_a_line_is_appended_below_an_unfinished_one(tmp_path):
    path = tmp_path / "new" / "attempt=1.log"
    append_line(str(path), "ERROR", "supervisor", "first")
    with path.open("a") as file:
        file.write("torn")
    append_line(str(path), "ERROR", "supervisor", "last")
    lines = path.read_text().splitlines()
    assert [line.rpartition(" - ")[2] for line in lines] == ["first", "torn", "last"]


def test_reading_is_in_order_of_tries_and_dispatches(tmp_path):
    folder = tmp_path / "dag_id=d" / "run_id=r" / "task_id=t"
    folder.mkdir(parents=True)
    for name in ("attempt=10.log", "attempt=2.log", "attempt=2.3.log", "attempt=2.2.log", "other.log", "attempt=x.log"):
        (folder / name).write_text(name)
    found = read(tmp_path, "d", "r", "t")
    assert [log.name for log in found] == ["attempt=2.log", "attempt=2.2.log", "attempt=2.3.log", "attempt=10.log"]
    assert [log.text for log in read(tmp_path, "d", "r", "t", try_number=10)] == ["attempt=10.log"]
    assert read(tmp_path, "d", "r", "nobody") == []


def test_bytes_that_are_no_text_are_shown(tmp_path):
    folder = tmp_path / "dag_id=d" / "run_id=r" / "task_id=t" / "map_index=0"
    folder.mkdir(parents=True)
    (folder / "attempt=1.log").write_bytes(b"\xff\n")
    assert read(tmp_path, "d", "r", "t", 0)[0].text == "\\xff\n"


@pytest.mark.parametrize("ids", [("..", "r", "t"), ("d", "../../etc", "t"), ("d", "r", "a/b"), ("d", "", "t")])
def test_no_id_leads_out_of_the_folder(tmp_path, ids):
    with pytest.raises(NotFoundError, match="check the ids"):
        read(tmp_path, *ids)


def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("")
    os.symlink(target, tmp_path / "attempt=1.log")
    with pytest.raises(OSError, match="symbolic links"):
        append_line(str(tmp_path / "attempt=1.log"), "INFO", "x", "y")
    assert target.read_text() == ""
