"""Copies of logs that are still being written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runtime.log.following import CHUNK, Follower


@pytest.fixture
def pipe():
    """A reader's descriptor, not blocking, and a writer's."""
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue


def follow(path: Path, output: int) -> Follower:
    made = Follower(str(path), output)
    made.start()
    return made


def test_a_file_that_appears_later_is_copied(tmp_path, pipe):
    follower = follow(tmp_path / "log", pipe[1])
    (tmp_path / "log").write_text("one\n")
    assert os.read(pipe[0], 100) == b"one\n"
    with (tmp_path / "log").open("a") as file:
        file.write("two\n")
    assert follower.finish()
    assert os.read(pipe[0], 100) == b"two\n"
    assert follower.copied == 8


def test_a_file_that_never_appears_is_no_trouble(tmp_path, pipe):
    follower = follow(tmp_path / "log", pipe[1])
    assert follower.finish()
    assert follower.copied == 0


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder"])
def test_only_plain_files_are_copied(tmp_path, pipe, kind):
    """A task may have put anything there."""
    (tmp_path / "secret").write_text("secret")
    if kind == "symlink":
        (tmp_path / "log").symlink_to(tmp_path / "secret")
    elif kind == "fifo":
        os.mkfifo(tmp_path / "log")
    else:
        (tmp_path / "log").mkdir()
    follower = follow(tmp_path / "log", pipe[1])
    assert follower.finish()
    assert follower.copied == 0


def test_a_log_that_its_task_empties_is_copied_on(tmp_path, pipe):
    (tmp_path / "log").write_text("long and old\n")
    follower = follow(tmp_path / "log", pipe[1])
    assert os.read(pipe[0], 100) == b"long and old\n"
    (tmp_path / "log").write_text("new\n")
    assert os.read(pipe[0], 100) == b"new\n"
    assert follower.finish()


def test_who_does_not_read_is_given_up(tmp_path, pipe):
    (tmp_path / "log").write_bytes(b"x" * 10 * CHUNK)
    follower = follow(tmp_path / "log", pipe[1])
    assert not follower.finish(patience=0.2)
    os.close(pipe[0])
    assert follower.finish(), "it is stuck no longer"


def test_a_slow_reader_gets_all_of_it(tmp_path, pipe):
    data = os.urandom(20 * CHUNK)
    (tmp_path / "log").write_bytes(data)
    got = bytearray()

    def read() -> None:
        while len(got) < len(data):
            got.extend(os.read(pipe[0], 4096))

    reader = threading.Thread(target=read)
    follower = follow(tmp_path / "log", pipe[1])
    reader.start()
    assert follower.finish()
    reader.join()
    assert bytes(got) == data


def test_a_descriptor_that_does_not_block_is_waited_for(tmp_path, pipe):
    os.set_blocking(pipe[1], False)
    (tmp_path / "log").write_bytes(b"x" * 10 * CHUNK)
    follower = follow(tmp_path / "log", pipe[1])
    got = 0
    while got < 10 * CHUNK:
        got += len(os.read(pipe[0], CHUNK))
    assert follower.finish()


def test_a_reader_who_is_gone_ends_it(tmp_path, pipe):
    os.close(pipe[0])
    (tmp_path / "log").write_text("one\n")
    assert follow(tmp_path / "log", pipe[1]).finish()
