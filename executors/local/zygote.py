"""The process that forks LocalExecutor's workers: exec'ed, single-threaded, lean, with the workers' code imported once.

It is run by path, imports the standard library only and takes its ``sys.path`` from the executor, so that it starts
whatever way the host's own modules were found. It speaks over a ``SOCK_SEQPACKET`` pair, one message a packet:

======= =================== ============================================================================
Op      Direction           Meaning of (number, value), and what follows
======= =================== ============================================================================
SETUP   executor → zygote   JSON: ``name``, ``entry``, ``config``, ``sys_path``; once, first
FORK    executor → zygote   start worker ``number`` on the socket that is passed along
KILL    executor → zygote   SIGKILL worker ``number``, if it still lives
READY   zygote → executor   the entry is imported
BROKEN  zygote → executor   it is not, and why (text); the zygote exits
FORKED  zygote → executor   worker ``number`` has pid ``value``
REFUSED zygote → executor   worker ``number`` could not be forked; ``value`` is the errno
REAPED  zygote → executor   worker ``number`` ended with wait status ``value``, its descendants too
======= =================== ============================================================================

It leaves when its control socket reaches its end or its parent process dies, and takes every descendant along.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import NoReturn

MESSAGE = struct.Struct("!BIi")
MAX_MESSAGE = 65_536

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MASKED_AT_START = (signal.SIGINT, signal.SIGTERM)
"""Blocked by the executor while it execs the zygote: neither may hit before it is decided here what they do."""

Entry = Callable[[socket.socket, Mapping[str, str]], None]


class Op(IntEnum):
    SETUP = 1
    FORK = 2
    KILL = 3
    READY = 4
    BROKEN = 5
    FORKED = 6
    REFUSED = 7
    REAPED = 8


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(parent: int, signum: int) -> None:
    """Have the kernel send ``signum`` when ``parent`` dies, and exit when it has died already."""
    _prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os._exit(1)


def set_title(title: str) -> None:
    """Name this process for ``ps``, where ``setproctitle`` is installed."""
    with suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(title)


def children() -> list[int]:
    """Pids of this single-threaded process's children, orphans it adopted among them; may miss some that just came."""
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def kill_descendants(known: Mapping[int, int]) -> None:
    """SIGKILL and reap all children until none is left; each death hands its own children to this subreaper."""
    while True:
        for pid in {*children(), *known}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        known = {}
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def load_entry(name: str) -> Entry:
    """Import ``module:function``. Raises whatever the import raises."""
    module, _, function = name.partition(":")
    entry: Entry = getattr(importlib.import_module(module), function)
    return entry


class Zygote:
    """Forks a worker per request and tells what became of it.

    :param control: its end of the socket pair, blocking: an executor that reads no more must not be flooded.
    :param parent: pid of the executor's process.
    """

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent = parent
        self._pid = os.getpid()
        self._workers: dict[int, int] = {}
        """Number by pid."""
        self._dead: list[tuple[int, int]] = []
        """(number, wait status) of reaped workers whose own children may still live."""
        self._wakeup, self._wakeup_writer = os.pipe()
        self._name = ""
        self._entry: Entry
        self._config: dict[str, str] = {}

    def run(self) -> None:
        """Serve until the executor is gone; then leave no descendant behind."""
        self._take_signals()
        die_with_parent(self._parent, signal.SIGTERM)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        with suppress(ConnectionError):
            if self._set_up():
                self._tell(Op.READY)
                self._serve()
        kill_descendants(self._workers)

    def _take_signals(self) -> None:
        # SIGTERM is the death signal here rather than SIGKILL: with SIGKILL nobody were left to kill the orphans that
        # a task has started in sessions of their own. With the parent alive it is somebody else's (a service manager
        # that signals the whole group, or the end of the thread that started us) and ignored: the scheduler decides.
        os.set_blocking(self._wakeup_writer, False)
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _MASKED_AT_START)

    def _set_up(self) -> bool:
        data = self._control.recv(MAX_MESSAGE)
        if not data:
            return False
        setup = json.loads(data[MESSAGE.size :])
        self._name, self._config, sys.path[:] = setup["name"], setup["config"], setup["sys_path"]
        try:
            self._entry = load_entry(setup["entry"])
        except BaseException as error:  # a module that exits at import must be told of as well
            traceback.print_exc()
            text = f"cannot import worker entry {setup['entry']!r}: {type(error).__name__}: {error}"
            self._tell(Op.BROKEN, text=text)
            return False
        set_title(f"hybrid local-zygote: {self._name}")
        gc.collect()
        gc.freeze()
        return True

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wakeup, select.POLLIN)
        while os.getppid() == self._parent:
            for fd, _ in poller.poll():
                if fd == self._wakeup:
                    os.read(fd, 4096)
                    self._reap()
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        op, number, _ = MESSAGE.unpack_from(data)
        if op == Op.KILL:
            self._kill(number)
        elif not fds:
            self._tell(Op.REFUSED, number, errno.EMFILE)
        else:
            self._fork(number, fds[0])
        return True

    def _fork(self, number: int, fd: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            os.close(fd)
            self._tell(Op.REFUSED, number, error.errno or errno.EAGAIN)
            return
        if pid == 0:
            self._become_worker(fd)
        os.close(fd)
        self._workers[pid] = number
        self._tell(Op.FORKED, number, pid)

    def _become_worker(self, fd: int) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._control.close()
            os.close(self._wakeup)
            os.close(self._wakeup_writer)
            die_with_parent(self._pid, signal.SIGKILL)
            _prctl(_PR_SET_CHILD_SUBREAPER, 1)
            set_title(f"hybrid local-worker: {self._name} idle")
            self._entry(socket.socket(fileno=fd), self._config)
            code = 0
        except BaseException:  # whatever it is, a worker must not run on as a second zygote
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            os._exit(code)

    def _kill(self, number: int) -> None:
        for pid, candidate in self._workers.items():
            if candidate == number:
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Reap, kill what dead workers have left behind, and report a worker only when nothing of it runs any more.

        Every worker is a subreaper: what is a child of the zygote without being a worker belonged to a dead one.
        """
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                number = self._workers.pop(ended[0], None)
                if number is not None:
                    self._dead.append((number, ended[1]))
        orphans = [pid for pid in children() if pid not in self._workers]
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        while self._dead and not orphans:
            self._tell(Op.REAPED, *self._dead.pop(0))

    def _tell(self, op: Op, number: int = 0, value: int = 0, text: str = "") -> None:
        self._control.send(MESSAGE.pack(op, number, value) + text.encode()[:4096])


def main() -> None:
    """``zygote.py FD PARENT``: the control socket's descriptor and the executor's pid."""
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(fd, False)
    Zygote(socket.socket(fileno=fd), parent).run()


if __name__ == "__main__":
    main()
