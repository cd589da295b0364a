"""One container of a pod: a local process in a session of its own, or one that only pretends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.kubernetes_api.logs import Log

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_READ = 65536
MARK = "FAKE_KUBELET"
"""Variable that tells whose containers processes are: its value is the kubelet's folder."""
START_ERROR = 128
"""Exit code of a command that cannot be started."""


class Container:
    """Born waiting; :meth:`start` makes it run, and some day :attr:`ended` is set.

    :param spec: the container of the pod's specification.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.log = Log()
        self.waiting: tuple[str, str] = ("ContainerCreating", "")
        """Reason and message."""
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.exit_code: int | None = None
        self.reason = ""
        """Why it has ended, when somebody said so before it did: e.g. OOMKilled."""
        self.message = ""
        self.ended = asyncio.Event()
        self.pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = self._output = -1

    @property
    def running(self) -> bool:
        return self.started_at is not None and self.exit_code is None

    def pretend(self) -> None:
        """Run without a process, until :meth:`finish`, a signal, or for ever."""
        self.started_at = datetime.now(UTC)

    def start(self, command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        """Run the command. What cannot be started has ended with 128."""
        self.started_at = datetime.now(UTC)
        place = self.spec.get("workingDir")
        place = place if place and os.path.isdir(place) else tempfile.mkdtemp(dir=folder)
        try:
            self._process = subprocess.Popen(
                command,
                env=dict(env),
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.reason, self.message = "StartError", f"failed to start container: {error.strerror}: {command[0]}"
            self.finish(START_ERROR)
            return
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._pidfd = os.pidfd_open(self._process.pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._output, self._read)
        loop.add_reader(self._pidfd, self._reap)

    def finish(self, exit_code: int) -> None:
        """It has ended so."""
        if self.exit_code is None:
            self.exit_code = exit_code
            self.finished_at = datetime.now(UTC)
            self.reason = self.reason or ("Error" if exit_code else "Completed")
            self.log.end()
            self.ended.set()

    def terminate(self) -> None:
        """SIGTERM to its first process, as the kubelet does."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)
        elif self.running:
            self.finish(128 + signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        if self._process is not None and self.running:
            kill_tree(self._process.pid)
        elif self.running:
            self.finish(128 + signal.SIGKILL)

    def _read(self) -> None:
        try:
            data = os.read(self._output, _READ)
        except BlockingIOError:
            return
        if data:
            self.log.feed(data)
        else:
            self._close_output()

    def _reap(self) -> None:
        """The first process has ended, and its namespace with it: so must what it has left."""
        assert self._process is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        kill_group(self._process.pid)
        code = self._process.wait()
        while self._output >= 0:
            try:
                data = os.read(self._output, _READ)
            except BlockingIOError:
                break
            if not data:
                break
            self.log.feed(data)
        self._close_output()
        self.finish(code if code >= 0 else 128 - code)

    def _close_output(self) -> None:
        if self._output >= 0:
            assert self._process is not None
            assert self._process.stdout is not None
            asyncio.get_running_loop().remove_reader(self._output)
            self._process.stdout.close()
            self._output = -1


def expanded(words: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """``$(NAME)`` becomes the variable where there is one, ``$$`` one dollar."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[1] is None else env.get(found[1], found[0])

    return [_REFERENCE.sub(value, word) for word in words]


def environment(spec: Mapping[str, Any], pod: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, str]:
    """The container's variables; ``secrets`` holds ``name/key`` of secrets and config maps. Raises ``KeyError``."""
    made: dict[str, str] = {}
    for variable in spec.get("env") or []:
        source = variable.get("valueFrom") or {}
        if "fieldRef" in source:
            made[variable["name"]] = _field(pod, source["fieldRef"]["fieldPath"])
        elif reference := source.get("secretKeyRef") or source.get("configMapKeyRef"):
            key = f"{reference['name']}/{reference['key']}"
            if key in secrets or not reference.get("optional"):
                made[variable["name"]] = secrets[key]
        else:
            made[variable["name"]] = expanded([variable.get("value") or ""], made)[0]
    return made


def _field(pod: Mapping[str, Any], path: str) -> str:
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, {})
    return value if isinstance(value, str) else ""


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all that descend from it, whatever sessions they are in."""
    for one in [pid, *descendants(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Children, and theirs."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_marked(folder: str) -> None:
    """SIGKILL what has got away from its container as a daemon, unless it hides its environment."""
    mark = f"{MARK}={folder}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
