"""Secrets of a task stay out of its log, whichever way they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging, os, subprocess, sys
from runtime.log.capture import AttemptLog
from runtime.secrets.masking import masker

log = AttemptLog()
log.install()
log.open(sys.argv[1])
masker.add("CANARY-one")
{body}
log.flush()
log.drain()
os._exit(0)
"""


def written(folder: Path, body: str) -> str:
    """The messages in the log of a process that knows ``CANARY-one``."""
    path = folder / "task.log"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{body}", body), str(path)], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return re.sub(r"(?m)^\[[^]]*\] \{[^}]*\} [A-Z]+ - ", "", path.read_text())


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('print("a CANARY-one b")', "a *** b\n"),
        ('print("CANA", end=""); print("RY-one")', "***\n"),
        ('print("x CANA", end="", flush=True); print("RY-one")', "x \n***\n"),
        ('print("CANA", end="", flush=True); print("DA")', "CANADA\n"),
        ('sys.stdout.write("z" * 65530 + "CANARY-one and more")', "z" * 65530 + "*** and more\n"),
        ('logging.warning("%s", {"k": ["CANARY-one"]})', "{'k': ['***']}\n"),
        ('os.system("echo CANARY-one; echo CANARY-one >&2")', "***\n***\n"),
        ('os.write(1, b"CANA"); os.write(1, b"RY-one")', "***"),
        ('subprocess.run(["sh", "-c", "printf CANARY-; sleep 0.05; echo one"])', "***\n"),
        ('os.write(2, b"\\xff CANARY-one \\xfe")', "\udcff *** \udcfe"),
        ('masker.add("CANARY-two"); os.system("echo CANARY-one CANARY-two")', "*** ***\n"),
    ],
)
def test_ways_of_writing(tmp_path, monkeypatch, body, shown):
    monkeypatch.setattr(Path, "read_text", lambda self: self.read_bytes().decode("utf-8", "surrogateescape"))
    assert written(tmp_path, body) == shown


def test_a_traceback(tmp_path):
    text = written(tmp_path, 'try: raise ValueError("no CANARY-one")\nexcept ValueError: logging.exception("failed")')
    assert text.startswith("failed\nTraceback")
    assert text.endswith("ValueError: no ***\n")


def test_a_task_may_wait_for_all_of_its_children(tmp_path):
    """The process that masks is none of them."""
    body = "try: os.waitpid(-1, 0)\nexcept ChildProcessError: print('no child')"
    assert written(tmp_path, body) == "no child\n"


def test_without_a_secret_nothing_is_in_the_way(tmp_path):
    """Descriptors 1 and 2 are the log file itself, as ever."""
    path = tmp_path / "task.log"
    body = "print([os.fstat(fd).st_ino for fd in (1, 2)])"
    script = SCRIPT.replace('masker.add("CANARY-one")', "").replace("{body}", body)
    subprocess.run([sys.executable, "-c", script, str(path)], timeout=30, check=True)
    inode = path.stat().st_ino
    assert path.read_text().endswith(f"- [{inode}, {inode}]\n")
