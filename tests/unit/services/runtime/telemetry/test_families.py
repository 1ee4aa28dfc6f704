"""What of a registry goes into a report."""

import math

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary

from contracts.monitoring import MetricFamily, MetricKind, ProcessReported
from services.runtime.telemetry.families import families_of
from tests.support.process_reports import report


def families(registry: CollectorRegistry) -> dict[str, MetricFamily]:
    """As they arrive."""
    sent = report(metrics=families_of(registry)).model_dump_json()
    return {family.name: family for family in ProcessReported.model_validate_json(sent).metrics}


def test_counters_and_gauges_with_what_is_not_zero() -> None:
    registry = CollectorRegistry()
    counted = Counter("c", "c", ["kind", "how"], registry=registry)
    counted.labels("never", "x")
    counted.labels("often", "y").inc(3)
    Counter("none", "none", registry=registry)
    Gauge("g", "g", registry=registry).set(-2)
    Gauge("truth", "t", registry=registry).set_function(lambda: True)
    assert families(registry) == {
        "c_total": MetricFamily(
            name="c_total", kind=MetricKind.COUNTER, labels=("kind", "how"), series=((("often", "y"), (3.0,)),)
        ),
        "g": MetricFamily(name="g", kind=MetricKind.GAUGE, series=(((), (-2.0,)),)),
        "truth": MetricFamily(name="truth", kind=MetricKind.GAUGE, series=(((), (1.0,)),)),
    }


def test_each_bucket_of_a_histogram_has_its_own_observations() -> None:
    registry = CollectorRegistry()
    took = Histogram("h_seconds", "h", ["kind"], buckets=(1, 2, 4, 8), registry=registry)
    took.labels("unused")
    for seconds in (0.5, 3, 3, 9):
        took.labels("used").observe(seconds)
    Histogram("empty_seconds", "e", registry=registry)
    assert families(registry) == {
        "h_seconds": MetricFamily(
            name="h_seconds",
            kind=MetricKind.HISTOGRAM,
            labels=("kind",),
            bounds=(1.0, 2.0, 4.0, 8.0),
            series=((("used",), (1.0, 0.0, 2.0, 0.0, 1.0, 15.5)),),
        )
    }


def test_observations_of_nothing_are_observations() -> None:
    registry = CollectorRegistry()
    Histogram("h_seconds", "h", buckets=(1,), registry=registry).observe(0)
    assert families(registry)["h_seconds"].series == (((), (1.0, 0.0, 0.0)),)


def test_a_summary_is_a_histogram_without_bounds() -> None:
    registry = CollectorRegistry()
    sizes = Summary("s_bytes", "s", ["handler"], registry=registry)
    sizes.labels("/a").observe(3)
    sizes.labels("/a").observe(4)
    found = families(registry)["s_bytes"]
    assert (found.kind, found.bounds, found.series) == (MetricKind.HISTOGRAM, (), ((("/a",), (2.0, 7.0)),))


def test_what_cannot_be_reported_is_left_out_and_the_rest_is_not() -> None:
    registry = CollectorRegistry()
    level = Gauge("g", "g", ["kind"], registry=registry)
    for kind, value in (("nan", math.nan), ("inf", math.inf), ("huge", 1e300), ("fine", 1)):
        level.labels(kind).set(value)
    lost = Histogram("h_seconds", "h", registry=registry)
    lost.observe(math.inf)
    Info("i", "i", registry=registry).info({"version": "1"})
    Enum("e", "e", states=["a", "b"], registry=registry)
    assert {name: family.series for name, family in families(registry).items()} == {"g": ((("fine",), (1.0,)),)}
