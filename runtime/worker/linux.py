"""What the worker asks of the Linux kernel beyond the :mod:`os` module: death signals, orphans, process identity."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROCESSORS = os.cpu_count() or 1
_libc = ctypes.CDLL(None, use_errno=True)


def boottime() -> float:
    """Seconds since boot, time asleep included: the clock by which heartbeats run out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Names this boot of this host: a pid means nothing after the next one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def die_with_parent(parent: int) -> None:
    """Have the kernel SIGKILL this process when ``parent`` dies; exit at once where it is dead already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Descendants whose parent dies become children of this process, daemons that called ``setsid`` included."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(yes: bool) -> None:
    """Whether other processes of this user may read this one's memory and ``/proc/PID/environ``."""
    _prctl(_PR_SET_DUMPABLE, int(yes))


def wipe_environment(name: str) -> None:
    """Overwrite a variable's value where the kernel reads ``/proc/PID/environ``: in what ``execve`` left on the stack.

    To be called when the variable is no longer in ``os.environ``.
    """
    stat = Path("/proc/self/stat").read_bytes()
    start, end = (int(field) for field in stat[stat.rindex(b")") + 2 :].split()[47:49])
    area = ctypes.string_at(start, end - start) if start else b""
    mark = b"\0" + name.encode() + b"="
    found = (b"\0" + area).find(mark)
    if found >= 0:
        value = found + len(mark) - 1
        length = area.find(b"\0", value) - value
        ctypes.memset(start + value, 0, length)


def started_ticks(pid: int) -> int:
    """When ``pid`` started, in clock ticks since boot (``/proc/PID/stat`` field 22). Raises ``OSError``."""
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    try:
        data = os.read(fd, 1024)
    finally:
        os.close(fd)
    return int(data[data.rindex(b")") + 2 :].split()[19])


def processors_are_busy() -> bool:
    """Whether more than two threads a processor want to run on this host (``/proc/loadavg``, fourth field)."""
    fd = os.open("/proc/loadavg", os.O_RDONLY)
    try:
        runnable = os.read(fd, 128).split()[3].partition(b"/")[0]
    finally:
        os.close(fd)
    return int(runnable) > 2 * _PROCESSORS


def kill_group(pgid: int) -> None:
    """SIGKILL every process of the group, if there is one."""
    try:
        os.killpg(pgid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def sweep_children() -> bool:
    """Reap dead children, SIGKILL live ones; whether none is left. Never blocks: call again until it is true."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            break
    for pid in child_pids(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return False


def child_pids(parent: int) -> list[int]:
    """The children of ``parent``, zombies included, found in ``/proc`` (``task/*/children`` needs a kernel option)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_bytes()
            except OSError:
                continue
            if int(stat[stat.rindex(b")") + 2 :].split()[1]) == parent:
                found.append(int(entry))
    return found


def thread_count() -> int:
    """Threads of this process, those that Python does not know of included."""
    return len(os.listdir("/proc/self/task"))


def resident_bytes() -> int:
    """Resident set size of this process."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}): {os.strerror(errno)}")
