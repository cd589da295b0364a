"""Child of the benchmarks: how often a process of worker size can fork, ``_exit`` and be waited for.

``python -m benchmarks.forking FOLDER FORKS REPEATS`` prints ``{"serial": [...], "two": [...], "rss_mib": …}``: forks
per second of each repeat, with one forker and with two at once.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import NoReturn

from benchmarks.warm_size import grow_to_worker_size
from runtime.worker.linux import resident_bytes

_SECONDS = struct.Struct("d")


def main() -> None:
    """Measure and print."""
    folder, forks, repeats = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    grow_to_worker_size(folder)
    serial, two = [], []
    for _ in range(repeats):
        serial.append(fork_rate(1, forks))
        two.append(fork_rate(2, forks))
    print(json.dumps({"serial": serial, "two": two, "rss_mib": resident_bytes() / 2**20}))


def fork_rate(forkers: int, forks: int) -> float:
    """Forks per second of ``forkers`` processes at once, each of which forks ``forks`` times."""
    go, start = os.pipe()
    answers, answer = os.pipe()
    pids = [_forker(go, start, answer, forks) for _ in range(forkers)]
    os.write(start, b"!" * forkers)
    seconds: list[float] = [_SECONDS.unpack(os.read(answers, _SECONDS.size))[0] for _ in pids]
    for pid in pids:
        os.waitpid(pid, 0)
    for fd in (go, start, answers, answer):
        os.close(fd)
    return forkers * forks / max(seconds)


def _forker(go: int, start: int, answer: int, forks: int) -> int:
    pid = os.fork()
    if pid == 0:
        _fork_often(go, start, answer, forks)
    return pid


def _fork_often(go: int, start: int, answer: int, forks: int) -> NoReturn:
    os.close(start)
    if os.read(go, 1):
        began = time.perf_counter()
        for _ in range(forks):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
        os.write(answer, _SECONDS.pack(time.perf_counter() - began))
    os._exit(0)


if __name__ == "__main__":
    main()
