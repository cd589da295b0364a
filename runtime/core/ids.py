"""Identifiers: made by us before they are stored, so that intent can be committed before its effect."""

from __future__ import annotations

import os
import re
import time

from runtime.core.clock import iso

_ID = re.compile(r"[\w.\-]{1,250}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RUN_ID = re.compile(r"[A-Za-z0-9_.~:+\-]{1,250}")


def uuid7() -> str:
    """A UUIDv7 (RFC 9562): sorts by time of creation, which keeps B-tree inserts at the right edge."""
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uuid(text: str) -> bool:
    """Whether ``text`` looks like what :func:`uuid7` makes."""
    return _UUID.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether ``text`` may name a DAG or a task: letters, digits, dash, dot, underscore; at most 250; no ``..``."""
    return _ID.fullmatch(text) is not None and ".." not in text


def is_run_id(text: str) -> bool:
    """Whether ``text`` may name a run (Airflow's ``allowed_run_id_pattern``); ``..`` would leave the log folder."""
    return _RUN_ID.fullmatch(text) is not None and ".." not in text


def scheduled_run_id(logical_date: int) -> str:
    return f"scheduled__{iso(logical_date)}"


def backfill_run_id(logical_date: int) -> str:
    return f"backfill__{iso(logical_date)}"


def manual_run_id(now: int, suffix: str = "") -> str:
    return f"manual__{iso(now)}{suffix}"
