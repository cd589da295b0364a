"""A database that somebody else holds is one line, without a traceback, and nothing is half done."""

from __future__ import annotations

import sqlite3
from contextlib import closing


def test_one_that_stays_locked(hybrid, database, settings, monkeypatch):
    monkeypatch.setenv("HYBRID__DATABASE__SQLITE_BUSY_TIMEOUT", "0.1")
    with closing(sqlite3.connect(settings.home / "hybrid.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        done = hybrid("pools", "set", "small", "3", "for tests")
    assert (done.code, done.err) == (1, "hybrid: the metadata DB is not to be had: database is locked\n")
    assert [pool["pool"] for pool in hybrid("pools", "list", "-o", "json").json] == ["default_pool"]
