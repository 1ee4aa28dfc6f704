"""Metrics without locks say what those with locks say."""

import random

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from services.runtime.telemetry.unlocked import unlocked, unlocked_histogram

BOUNDS = (0.1, 1.0, 10.0)


def test_a_histogram_says_the_same() -> None:
    chance = random.Random(6)
    values = [*BOUNDS, 0.0, 11.0, *(chance.expovariate(1.0) for _ in range(500))]
    with_locks, without = CollectorRegistry(), CollectorRegistry()
    usual = Histogram("h", "h", ["l"], buckets=BOUNDS, registry=with_locks).labels("x")
    ours = unlocked_histogram(Histogram("h", "h", ["l"], buckets=BOUNDS, registry=without).labels("x"))
    for value in values:
        usual.observe(value)
        ours.observe(value)
    assert _figures(with_locks) == _figures(without)
    assert without.get_sample_value("h_count", {"l": "x"}) == len(values)


def test_a_counter_and_a_gauge_say_the_same() -> None:
    with_locks, without = CollectorRegistry(), CollectorRegistry()
    usual = Counter("c", "c", ["l"], registry=with_locks), Gauge("g", "g", registry=with_locks)
    count = unlocked(Counter("c", "c", ["l"], registry=without).labels("x"))
    gauge = unlocked(Gauge("g", "g", registry=without))
    usual[0].labels("x").inc(3)
    usual[1].dec(2)
    count.value += 3
    gauge.value -= 2
    assert _figures(with_locks) == _figures(without)
    assert without.get_sample_value("c_total", {"l": "x"}) == 3


def test_it_goes_on_from_what_was_counted_and_is_shared_by_all_who_count() -> None:
    """Services of one process count into the same series, some of them by prometheus_client's own methods."""
    registry = CollectorRegistry()
    counter, gauge = Counter("c", "c", registry=registry), Gauge("g", "g", registry=registry)
    histogram = Histogram("h", "h", buckets=BOUNDS, registry=registry)
    counter.inc(5)
    gauge.set(7)
    histogram.observe(0.5)
    for _ in range(2):
        unlocked(counter).value += 1
        unlocked(gauge).value += 1
        unlocked_histogram(histogram).observe(0.5)
    counter.inc()
    histogram.observe(20.0)
    assert registry.get_sample_value("c_total") == 8
    assert registry.get_sample_value("g") == 9
    assert registry.get_sample_value("h_bucket", {"le": "1.0"}) == 3
    assert registry.get_sample_value("h_count") == 4
    assert registry.get_sample_value("h_sum") == 21.5


def _figures(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return [
        f"{line.rsplit(' ', 1)[0]} {float(line.rsplit(' ', 1)[1]):.6f}"
        for line in lines
        if line[0] != "#" and "_created" not in line
    ]
