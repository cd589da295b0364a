"""``python -m tests.kubernetes_api``: a cluster in a process of its own.

The first line of stdin is a :class:`~tests.kubernetes_api.server.Setup` as JSON; the first line of stdout says
``{"port": …, "control": …}``. It ends, and all pods with it, when stdin does or on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from tests.kubernetes_api.server import Server, Setup, setup_from


async def _serve(setup: Setup) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)
    server = Server(setup)
    await server.open()
    await server.control.open()
    print(json.dumps({"port": server.listener.port, "control": server.control.port}), flush=True)
    await stop.wait()
    loop.remove_reader(sys.stdin.fileno())
    await server.close()


if __name__ == "__main__":
    asyncio.run(_serve(setup_from(sys.stdin.buffer.readline())))
