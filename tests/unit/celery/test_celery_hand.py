"""What a process of the pool does with a message when it cannot run anything."""

from __future__ import annotations

import pytest
from celery.exceptions import Reject

from executors.celery import tasks


def test_message_goes_back_where_no_runner_can_be_made(monkeypatch):
    """Else the attempt would be called failed, and nothing of it has begun."""

    def make():
        raise OSError("no process can be made")

    monkeypatch.setattr(tasks, "_PAUSE", 0.0)
    with pytest.raises(Reject) as raised:
        tasks.Hand(make).run("attempt", "ticket")
    assert raised.value.requeue is True
