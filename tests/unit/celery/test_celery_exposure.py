"""What is open to others of a broker and of Flower; what is made of a worker's word about itself."""

from __future__ import annotations

import pytest

from executors.celery.exposure import exposures
from executors.celery.meeting import worker
from executors.celery.options import read_options
from executors.context import ExecutorContext


def told(**options: str) -> list[tuple[str, str]]:
    found = exposures(read_options(options, ""), ExecutorContext(options=options))
    return [(str(each.severity), each.text) for each in found]


@pytest.mark.parametrize(
    ("options", "severities"),
    [
        ({}, []),
        ({"broker_url": "redis://127.0.0.1:6379/0"}, []),
        ({"broker_url": "redis+socket:///run/redis.sock"}, []),
        ({"broker_url": "rediss://:hidden@far/0"}, []),
        ({"broker_url": "rediss://far/0"}, ["error"]),
        ({"broker_url": "redis://:hidden@far/0"}, ["warning"]),
        ({"broker_url": "redis://:hidden@far/0", "ssl_active": "True", "ssl_mutual": "False"}, []),
        ({"broker_url": "redis://far/0"}, ["error", "warning"]),
        ({"broker_url": "redis://:hidden@127.0.0.1/0;redis://:hidden@far/0"}, ["warning"]),
        ({"broker_url": "amqp://far//"}, ["error", "warning"]),
        ({"broker_url": "amqps://me:hidden@far//"}, []),
        ({"broker_url": "redis://127.0.0.1/0", "result_backend": "redis://far/1"}, ["error"]),
        ({"flower_host": "0.0.0.0"}, ["error"]),
        ({"flower_host": "0.0.0.0", "flower_basic_auth": "me:hidden"}, []),
        ({"flower_host": "127.0.0.1"}, []),
    ],
)
def test_passwords_that_are_missing_are_errors_and_tls_is_a_warning(options, severities):
    found = told(**options)
    assert [severity for severity, _ in found] == severities
    assert not any("hidden" in text or "\n" in text for _, text in found)


@pytest.mark.parametrize(
    ("now", "offset"), [(100.0, 0.0), (101.5, 0.0), (99.0, -1.0), (162.0, 60.0), ("late", None), (None, None)]
)
def test_a_workers_clock_is_off_by_what_lies_outside_of_the_question_and_its_answer(now, offset):
    assert worker("w@h", {"declared": {"a": "b"}, "now": now}, 100.0, 102.0).clock_offset == offset


@pytest.mark.parametrize("answer", [None, "rubbish", [], {"error": "unknown command"}, {"declared": ["x"]}])
def test_a_worker_that_says_nothing_of_use_is_there_all_the_same(answer):
    found = worker("w@h", answer, 1.0, 2.0)
    assert (found.kind, found.name, found.declared, found.clock_offset) == ("worker", "w@h", {}, None)


def test_only_texts_are_taken():
    assert worker("w", {"declared": {"a": "1", "b": 2, "c": None}}, 1.0, 2.0).declared == {"a": "1"}
