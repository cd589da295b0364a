"""The lines, the datagrams, and a server that comes, goes and has no name."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from runtime.metrics.collector import Collector
from runtime.metrics.statsd import LONGEST_DATAGRAM, LONGEST_QUEUE, StatsD, datagrams, lines


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(20)
        yield listening


def test_lines_are_airflows():
    entries = [("g", "executor.open_slots.heavy", 3), ("c", "ti.start", 1), ("ms", "task.queued_duration", 12.5)]
    assert lines(entries, "hybrid") == [
        b"hybrid.task.queued_duration:12.5|ms",
        b"hybrid.ti.start:1|c",
        b"hybrid.executor.open_slots.heavy:3|g",
    ]
    assert lines([("c", "a", 1)], "") == [b"a:1|c"]


def test_counts_are_summed_gauges_keep_the_last_timings_are_all_sent():
    entries = [("c", "c", 2), ("g", "g", 5), ("ms", "t", 1.0), ("c", "c", 3), ("g", "g", 4), ("ms", "t", 1.0)]
    assert lines(entries, "p") == [b"p.t:1|ms", b"p.t:1|ms", b"p.c:5|c", b"p.g:4|g"]


def test_a_negative_gauge_is_no_change_by_so_much():
    assert lines([("g", "g", -2)], "p") == [b"p.g:0|g", b"p.g:-2|g"]


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (1e-9, "0"), (1e17, "100000000000000000"), (2.5, "2.5")])
def test_numbers_have_no_exponent(value, text):
    assert lines([("ms", "t", value)], "p") == [f"p.t:{text}|ms".encode()]


def test_a_name_cannot_break_the_format():
    assert lines([("c", "a:9|c\nb é|#x", 1)], "p") == [b"p.a_9_c_b____x:1|c"]


def test_datagrams_are_full_and_never_too_long():
    entries = [b"x" * length for length in (700, 699, 700, 1_400, 1_401, 1)]
    assert [len(one) for one in datagrams(entries)] == [LONGEST_DATAGRAM, 700, 1_400, 1]
    assert b"\n".join(datagrams(entries)) == b"\n".join(entry for entry in entries if len(entry) <= LONGEST_DATAGRAM)


def test_figures_arrive_within_a_flush_and_at_the_end(server):
    statsd = StatsD(*server.getsockname(), "hybrid")
    collector = Collector(statsd.send)
    collector.incr("ti.start", 2)
    assert server.recv(2_000) == b"hybrid.ti.start:2|c"
    collector.gauge("executor.open_slots.a", 1)
    statsd.close()
    statsd.close()
    assert server.recv(2_000) == b"hybrid.executor.open_slots.a:1|g"
    assert "statsd" not in {thread.name for thread in threading.enumerate()}


def test_many_figures_come_in_datagrams_that_fit(server):
    statsd = StatsD(*server.getsockname(), "hybrid")
    for number in range(500):
        statsd.send("ms", "task.queued_duration", number)
    statsd.close()
    taken: list[bytes] = []
    while len(taken) < 500:
        datagram = server.recv(65_536)
        assert len(datagram) <= LONGEST_DATAGRAM
        taken += datagram.split(b"\n")
    assert taken[499] == b"hybrid.task.queued_duration:499|ms"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "", "a" * 300, "ü" * 100])
def test_a_host_that_is_none_harms_nobody_and_fills_nothing(host):
    statsd = StatsD(host, 8125)
    for _ in range(LONGEST_QUEUE + 10):
        statsd.send("c", "c", 1)
    assert len(statsd._queue) <= LONGEST_QUEUE
    statsd.close()
    assert "statsd" not in {thread.name for thread in threading.enumerate()}


def test_the_host_is_looked_up_once_and_again_after_a_failure(server, monkeypatch):
    monkeypatch.setattr("runtime.metrics.statsd.FLUSH_SECONDS", 0.01)
    monkeypatch.setattr("runtime.metrics.statsd.LOOKUP_PAUSE", 0.0)
    real, answers, asked = socket.getaddrinfo, ["down", "up", "up"], []

    def lookup(host, port, **more):
        asked.append(host)
        if answers.pop(0) == "down":
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return real("127.0.0.1", server.getsockname()[1], **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    statsd = StatsD("statsd.example", 1, "p")
    seen = b""
    while b"p.up" not in seen:
        statsd.send("c", "up", 1)
        server.settimeout(0.05)
        try:
            seen = server.recv(2_000)
        except TimeoutError:
            continue
    server.settimeout(20)
    statsd.send("c", "again", 1)
    while b"again" not in server.recv(2_000):
        pass
    assert len(asked) == 2
    statsd.close()
