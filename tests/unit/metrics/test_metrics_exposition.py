"""The page that Prometheus reads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics.collector import Collector, ProcessFigures
from runtime.metrics.exposition import CONTENT_TYPE, render

SCHEDULER = {"scheduler": "box:7"}


def samples(*processes: ProcessFigures):
    """(name, labels without ``le``'s order) → value; the page is read by Prometheus's own parser."""
    page = render(processes).decode()
    families = list(text_string_to_metric_families(page))
    assert len({family.name for family in families}) == len(families)
    found = [(sample.name, frozenset(sample.labels.items()), sample.value) for f in families for sample in f.samples]
    assert len({key[:2] for key in found}) == len(found), "a sample twice is an error to Prometheus"
    return {(name, labels): value for name, labels, value in found}


def of(labels, **figures):
    return frozenset({**labels, **figures}.items())


def figures(fill) -> ProcessFigures:
    collector = Collector()
    fill(collector)
    return ProcessFigures(SCHEDULER, collector.snapshot())


def test_names_labels_and_units():
    def fill(c: Collector):
        c.gauge("executor.open_slots.heavy", 3)
        c.incr("ti_successes", 2)
        c.timing("scheduler.executor_heartbeat_duration.heavy", 0.25)

    found = samples(figures(fill))
    heavy = of(SCHEDULER, executor="heavy")
    assert found["hybrid_executor_open_slots", heavy] == 3
    assert found["hybrid_ti_successes_total", of(SCHEDULER)] == 2
    name = "hybrid_scheduler_executor_heartbeat_duration_seconds"
    assert (found[f"{name}_count", heavy], found[f"{name}_sum", heavy], found[f"{name}_max", heavy]) == (1, 0.25, 0.25)
    buckets = {label: found[f"{name}_bucket", of(SCHEDULER, executor="heavy", le=label)] for label in ("0.1", "0.5")}
    assert buckets == {"0.1": 0, "0.5": 1}
    assert found[f"{name}_bucket", of(SCHEDULER, executor="heavy", le="+Inf")] == 1


def test_processes_are_told_apart():
    one = figures(lambda c: c.incr("ti.start"))
    other = ProcessFigures({"component": "api-server box:8"}, one.snapshot)
    found = samples(one, other)
    assert {labels for name, labels in found if name == "hybrid_ti_start_total"} == {of(SCHEDULER), of(other.labels)}


def test_a_foreign_figure_gets_the_label_of_an_executor_that_its_name_ends_in():
    def fill(c: Collector):
        c.gauge("executor.open_slots.heavy", 1)
        c.incr("backend.errors.heavy")
        c.incr("backend.errors.light")

    found = samples(figures(fill))
    assert found["hybrid_backend_errors_total", of(SCHEDULER, executor="heavy")] == 1
    assert found["hybrid_backend_errors_light_total", of(SCHEDULER)] == 1


def test_foreign_figures_cannot_push_ours_out_nor_break_the_page():
    def fill(c: Collector):
        c.gauge("ti.start", 99)
        c.gauge("ti_start", 98)
        c.incr("ti.start")
        c.gauge('1 näme {with="all"}\n of it', 1)
        c.gauge("x.y", 1)
        c.gauge("x_y", 2)
        c.timing("x.y", 1)

    found = samples(figures(fill))
    assert found["hybrid_ti_start_total", of(SCHEDULER)] == 1
    assert ("hybrid_ti_start", of(SCHEDULER)) not in found
    assert found["hybrid_x_y", of(SCHEDULER)] == 1


def test_label_values_are_escaped():
    found = samples(ProcessFigures({"scheduler": 'a"b\\c\nd'}, {"gauges": {"g": 1}}))
    assert found["hybrid_g", frozenset({("scheduler", 'a"b\\c\nd')})] == 1


@pytest.mark.parametrize(
    "snapshot",
    [
        None,
        [],
        {},
        {"gauges": None, "counters": 3},
        {"gauges": {"g": "x"}, "timings": {"t": {}}},
        {"timings": {"t": {"count": 1, "sum": 1, "max": 1, "buckets": [1]}}},
    ],
)
def test_a_row_that_another_version_wrote_is_left_out(snapshot):
    """Buckets of another length, say, while a deployment is upgraded."""
    good = figures(lambda c: c.incr("ti.start"))
    assert ("hybrid_ti_start_total", of(SCHEDULER)) in samples(ProcessFigures({"scheduler": "x:1"}, snapshot), good)


def test_nobody_lives():
    assert samples() == {}
    assert CONTENT_TYPE.startswith("text/plain")
