"""The executor's end of a worker's socket, for tests: a real worker process, real forks, a task service in memory."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from executors.local.channel import Channel, ChannelClosedError, Kind
from executors.workload import CodeReference, TaskInstanceKey, Workload
from runtime.core import messages as m
from runtime.worker import linux

DEADLINE = 30.0
_PR_SET_CHILD_SUBREAPER = 36
ENTRY = """
import json, socket, sys
from runtime.worker.warm import serve
serve(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
"""


@dataclass
class MemoryService:
    """Grants a start once per attempt and nonce, keeps XComs and reports."""

    runs: dict[str, m.RunContext] = field(default_factory=dict)
    starts: dict[str, m.Start] = field(default_factory=dict)
    refused: list[m.Start] = field(default_factory=list)
    finishes: dict[str, m.Finish] = field(default_factory=dict)
    xcoms: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    heartbeats: int = 0
    go_on: bool = True
    refuse: str = ""
    silent: tuple[type, ...] = ()
    """Kinds of requests that get an empty answer."""
    deaf: tuple[type, ...] = ()
    """Kinds of requests that get no answer at all, and none after them."""

    def answer(self, data: bytes) -> bytes | None:
        request = m.decode_request(data)
        if isinstance(request, self.deaf):
            return None
        return b"" if isinstance(request, self.silent) else m.encode(self._reply(request))

    def _reply(self, request: m.Request) -> m.Reply:
        if isinstance(request, m.Start):
            return self._start(request)
        known = self.starts.get(request.attempt_id)
        allowed = known is not None and known.nonce == request.nonce
        if isinstance(request, m.Heartbeat):
            self.heartbeats += 1
            return m.HeartbeatReply(self.go_on and allowed, "" if self.go_on else "cleared by hand")
        if isinstance(request, m.Finish):
            if allowed:
                self.finishes[request.attempt_id] = request
                return m.Finished(True, request.outcome)
            return m.Finished(False, reason="this launch was never granted the start")
        run = self.runs[request.attempt_id]
        if isinstance(request, m.XComPush):
            self.xcoms[run.task_id, request.key, run.map_index] = msgspec.json.decode(request.value)
            return m.Done(True)
        return m.XComValues(tuple(self._pull(request)))

    def _pull(self, request: m.XComPull) -> Iterable[tuple[str, int, msgspec.Raw]]:
        for task_id in request.task_ids:
            for (task, key, index), value in sorted(self.xcoms.items()):
                if (task, key) == (task_id, request.key) and request.map_index in (None, index):
                    yield task, index, msgspec.Raw(msgspec.json.encode(value))

    def _start(self, request: m.Start) -> m.Started:
        granted = self.starts.setdefault(request.attempt_id, request) if not self.refuse else None
        if granted is None or granted.nonce != request.nonce:
            self.refused.append(request)
            return m.Started(False, self.refuse or "another launch has started")
        return m.Started(True, context=self.runs[request.attempt_id])


class WorkerEnd:
    """One worker process. ``idle`` holds its last IDLE, ``ended`` what it said of each attempt."""

    def __init__(self, folder: Path, service: MemoryService, **config: Any) -> None:
        self.dags, self.logs, self.service = folder / "dags", folder / "logs", service
        self.dags.mkdir(exist_ok=True)
        settings = {"dags_folder": self.dags, "base_log_folder": self.logs, **config}
        setup = msgspec.json.encode({name: str(value) for name, value in settings.items()}).decode()
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-c", ENTRY, str(theirs.fileno()), setup]
            self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self.channel = Channel(ours)
        self.idle: dict[str, Any] | None = None
        self.ended: dict[str, dict[str, Any]] = {}
        self.frames: list[Kind] = []
        self._count = 0

    # -- what an executor does -------------------------------------------------------------------------------------

    def assign(self, task_id: str, *, rel_path: str = "dag.py", attempt_id: str = "", **run: Any) -> str:
        """Hand over an attempt of a task of DAG ``d``; its id. ``run`` overrides fields of the run context."""
        self._count += 1
        attempt_id = attempt_id or f"attempt-{os.getpid()}-{id(self)}-{self._count}"
        found = self.dags / rel_path
        file_hash = run.pop("file_hash", sha256(found.read_bytes()).hexdigest() if found.exists() else "none")
        context = run_context(task_id, rel_path, file_hash, **run)
        self.service.runs[attempt_id] = context
        key = TaskInstanceKey(
            context.dag_id, task_id, context.run_id, context.try_number, context.map_index, attempt_id
        )
        workload = Workload(key, ("hybrid", "tasks", "run"), CodeReference(rel_path, file_hash))
        self.channel.send(Kind.ASSIGN, workload.to_json())
        self.idle = None
        return attempt_id

    def run(self, task_id: str, **run: Any) -> m.Finish:
        """Run a task to its end and return its report."""
        attempt_id = self.assign(task_id, **run)
        ended = self.wait_end(attempt_id)
        assert ended["ok"], ended
        return self.service.finishes[attempt_id]

    def value(self, task_id: str, **run: Any) -> Any:
        """Run a task that succeeds and return what it returned."""
        report = self.run(task_id, **run)
        assert report.outcome == "success", report.reason
        return None if report.return_value is msgspec.UNSET else msgspec.json.decode(report.return_value)

    def kill(self, attempt_id: str, **order: Any) -> None:
        self.channel.send(
            Kind.KILL, msgspec.json.encode({"attempt_id": attempt_id, "reason": "stopped by hand", **order})
        )

    def wait_end(self, attempt_id: str) -> dict[str, Any]:
        self.pump(lambda: attempt_id in self.ended)
        return self.ended[attempt_id]

    def wait_start(self, attempt_id: str) -> m.Start:
        self.pump(lambda: attempt_id in self.service.starts)
        return self.service.starts[attempt_id]

    def wait_idle(self) -> dict[str, Any]:
        self.pump(lambda: self.idle is not None)
        assert self.idle is not None
        return self.idle

    def pump(self, until: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Serve the worker until ``until()``; fails after ``seconds``."""
        poller, deadline = select.poll(), time.monotonic() + seconds
        poller.register(self.channel.fileno(), select.POLLIN)
        while not until():
            assert time.monotonic() < deadline, f"waited {seconds} s"
            self.channel.flush()
            if poller.poll(10):
                for kind, body in self.channel.receive():
                    self._take(kind, body)

    def _take(self, kind: Kind, body: bytes) -> None:
        self.frames.append(kind)
        if kind is Kind.CALL:
            answer = self.service.answer(body)
            if answer is not None:
                self.channel.send(Kind.REPLY, answer)
        elif kind is Kind.ENDED:
            end = msgspec.json.decode(body)
            self.ended[end["attempt_id"]] = end
        else:
            self.idle = msgspec.json.decode(body)

    # -- what tests look at ----------------------------------------------------------------------------------------

    def log(self, task_id: str, name: str = "attempt=1.log") -> str:
        return (self.logs / "dag_id=d" / "run_id=r" / f"task_id={task_id}" / name).read_text()

    def wait_exit(self, seconds: float = DEADLINE) -> int:
        """Serve the worker until it has exited."""

        def gone() -> bool:
            return self.process.poll() is not None

        with suppress(ChannelClosedError):
            self.pump(gone, seconds)
        return self.process.wait(seconds)

    def close(self) -> None:
        """End the worker the hard way, if it still lives; it takes everything of its attempt along."""
        self.channel.close()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            raise


def run_context(task_id: str, rel_path: str, file_hash: str, **fields: Any) -> m.RunContext:
    """A manual run ``r`` of DAG ``d`` on 2026-11-22."""
    defaults = {
        "dag_id": "d",
        "run_id": "r",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 0,
        "dispatch_number": 1,
        "run_type": "manual",
        "run_after": 1_795_305_600_000_000,
        "logical_date": 1_795_305_600_000_000,
        "task_start_date": 1_795_305_601_000_000,
    }
    return m.RunContext(task_id=task_id, rel_path=rel_path, file_hash=file_hash, **{**defaults, **fields})


@contextmanager
def orphans_adopted() -> Iterator[None]:
    """What a worker that is killed leaves behind becomes a child of the test, as it becomes one of the zygote."""
    linux.adopt_orphans()
    try:
        yield
    finally:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def orphans() -> list[int]:
    """Living processes of attempts that this process has adopted; dead ones are reaped."""
    found = []
    for pid in linux.child_pids(os.getpid()):
        with suppress(OSError):
            if b"HYBRID_ATTEMPT_ID=" in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
                os.waitpid(pid, os.WNOHANG)
    return [pid for pid in found if alive(pid)]


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def eventually(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Wait for something that no descriptor tells of."""
    deadline, pause = time.monotonic() + seconds, select.poll()
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s"
        pause.poll(5)
