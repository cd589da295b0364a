"""What a collector keeps, and what it takes no harm from."""

from __future__ import annotations

import json
import threading

import pytest

from runtime.metrics.collector import BUCKETS, DROPPED, LONGEST_NAME, Collector


def test_a_gauge_is_its_last_value_and_a_counter_the_sum():
    collector = Collector()
    for value in (3, 1):
        collector.gauge("open", value)
        collector.incr("happened", value)
    assert collector.snapshot() == {"gauges": {"open": 1}, "counters": {"happened": 4}, "timings": {}}


def test_a_timing_has_count_sum_longest_and_buckets():
    collector = Collector()
    for seconds in (0.0005, 0.001, 0.3, 1_000.0):
        collector.timing("took", seconds)
    timing = collector.snapshot()["timings"]["took"]
    assert (timing["count"], timing["sum"], timing["max"]) == (4, 1000.3015, 1000.0)
    assert timing["buckets"] == [2, 0, 0, 0, 1, 0, 0, 0, 0, 1], "bounds are inclusive; the last is for all above"
    assert len(timing["buckets"]) == len(BUCKETS) + 1


def test_a_time_before_its_beginning_is_none():
    """Two hosts' clocks can make less than nothing of a short time."""
    collector = Collector()
    collector.timing("took", -0.2)
    assert collector.snapshot()["timings"]["took"]["sum"] == 0


def test_a_snapshot_is_a_copy_and_goes_through_json():
    collector = Collector()
    collector.gauge("g", 1)
    collector.timing("t", 1)
    before = collector.snapshot()
    collector.gauge("g", 2)
    collector.timing("t", 1)
    assert (before["gauges"]["g"], before["timings"]["t"]["count"]) == (1, 1)
    assert json.loads(collector.to_json()) == collector.snapshot()


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.gauge("g", "much"),
        lambda c: c.gauge("g", float("nan")),
        lambda c: c.gauge("g", float("inf")),
        lambda c: c.gauge("g", 10**400),
        lambda c: c.gauge(None, 1),
        lambda c: c.gauge([], 1),
        lambda c: c.gauge("", 1),
        lambda c: c.gauge("x" * (LONGEST_NAME + 1), 1),
        lambda c: c.incr("c", -1),
        lambda c: c.incr("c", None),
        lambda c: c.timing("t", None),
        lambda c: c.timing(7, 1.0),
    ],
)
def test_rubbish_is_dropped_and_counted(call):
    collector = Collector()
    call(collector)
    assert collector.snapshot() == {"gauges": {}, "counters": {DROPPED: 1}, "timings": {}}


def test_names_are_bounded_and_known_ones_go_on():
    collector = Collector(most_names=3)
    for name in ("a", "b", "c", "d", "e"):
        collector.gauge(name, 1)
        collector.incr(name)
        collector.timing(name, 1)
    shown = collector.snapshot()
    assert (set(shown["gauges"]), set(shown["counters"]), set(shown["timings"])) == ({"a"}, {"a", DROPPED}, {"a"})
    collector.gauge("a", 9)
    assert collector.snapshot()["gauges"]["a"] == 9


def test_threads_lose_no_count():
    collector = Collector()

    def count():
        for _ in range(5_000):
            collector.incr("c")
            collector.timing("t", 0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = collector.snapshot()
    assert shown["counters"]["c"] == 20_000
    assert (shown["timings"]["t"]["count"], shown["timings"]["t"]["sum"]) == (20_000, 10_000)


def test_what_is_taken_is_forwarded_timings_in_milliseconds():
    told = []
    collector = Collector(lambda *entry: told.append(entry), most_names=3)
    collector.gauge("g", 2)
    collector.incr("c", 3)
    collector.timing("t", 0.25)
    collector.gauge("too many", 1)
    collector.gauge("g", float("nan"))
    assert told == [("g", "g", 2), ("c", "c", 3), ("ms", "t", 250)]
