"""When a running attempt that is not heard of is worth a person's look, long before it is given up."""

from __future__ import annotations

from runtime.core.clock import SECOND

PATIENCE = 1.5
"""Heartbeats: one that comes late is no news, one that is missing is."""


def suspicion(
    heartbeat_at: int | None, now: int, *, every: float, timeout: float, hostname: str | None, pid: int | None
) -> str | None:
    """``no heartbeat for 16 s (host w1, pid 12); given up at 60 s``, or ``None`` where all is well.

    :param heartbeat_at: of a running attempt, in microseconds; ``None`` where nothing runs.
    :param every: ``[scheduler] task_heartbeat_sec``.
    :param timeout: ``[scheduler] task_instance_heartbeat_timeout``.
    """
    if heartbeat_at is None:
        return None
    silent = (now - heartbeat_at) / SECOND
    if silent <= PATIENCE * every:
        return None
    return f"no heartbeat for {silent:.0f} s (host {hostname}, pid {pid}); given up at {timeout:g} s"
