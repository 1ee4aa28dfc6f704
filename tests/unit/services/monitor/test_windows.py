"""Windows over what processes counted: what is added, what is seen of it for how long, and how much is kept."""

import tracemalloc

from contracts.monitoring import MetricFamily, MetricKind, ProcessReported
from services.monitor.percentiles import Distribution
from services.monitor.windows import MOST_KEPT, MOST_TOTALS, Windows
from tests.support.process_reports import Clock, counter, gauge, report

DONE = "done_total"


def done(**series: float) -> tuple[MetricFamily, ...]:
    return (counter(DONE, series),)


def times(counts: tuple[float, ...], total: float, bounds: tuple[float, ...] = (1.0, 2.0)) -> tuple[MetricFamily, ...]:
    series = (((), (*counts, total)),)
    return (MetricFamily(name="took_seconds", kind=MetricKind.HISTOGRAM, bounds=bounds, series=series),)


def by_kind(windows: Windows, seconds: float = 60) -> dict[str, float]:
    return {place[0]: figure for place, figure in windows.over(seconds).sums(DONE, "kind").items()}


# ---- what is added


def test_only_what_came_since_the_last_report_is_added() -> None:
    windows = Windows(Clock())
    windows.add(("edge", "one"), done(a=3), from_zero=True)
    windows.add(("edge", "one"), done(a=3), from_zero=False)
    windows.add(("edge", "one"), done(a=10, b=1), from_zero=False)
    assert by_kind(windows) == {"a": 10, "b": 1}


def test_the_first_report_of_a_process_from_before_is_where_it_starts() -> None:
    windows = Windows(Clock())
    windows.add(("edge", "old"), done(a=1_000), from_zero=False)
    assert by_kind(windows) == {}
    windows.add(("edge", "old"), done(a=1_004, b=2), from_zero=False)
    assert by_kind(windows) == {"a": 4, "b": 2}


def test_a_series_that_begins_anew_counts_from_zero() -> None:
    windows = Windows(Clock())
    windows.add(("edge", "one"), (*done(a=7), *times((1, 1, 0), 2.5)), from_zero=True)
    windows.add(("edge", "one"), (*done(a=2), *times((1, 0, 0), 0.5)), from_zero=True)
    assert by_kind(windows) == {"a": 9}
    assert windows.over(60).distribution("took_seconds") == Distribution((1.0, 2.0), (2, 1, 0), 3.0)


def test_a_sum_that_falls_is_no_new_beginning() -> None:
    windows = Windows(Clock())
    windows.add(("edge", "one"), times((1, 1, 0), 2.5), from_zero=True)
    windows.add(("edge", "one"), times((2, 1, 0), 1.5), from_zero=True)
    assert windows.over(60).distribution("took_seconds") == Distribution((1.0, 2.0), (2, 1, 0), 1.5)


def test_processes_are_added_up_whatever_the_order_of_their_labels() -> None:
    windows = Windows(Clock())
    for instance, labels, values in (("one", ("kind", "how"), ("a", "x")), ("two", ("how", "kind"), ("x", "a"))):
        family = MetricFamily(name=DONE, kind=MetricKind.COUNTER, labels=labels, series=((values, (2.0,)),))
        windows.add(("edge", instance), [family], from_zero=True)
    windows.add(("edge", "three"), done(a=1), from_zero=True)
    found = windows.over(60)
    assert found.sums(DONE, "kind") == {("a",): 5}
    assert found.sums(DONE, "how") == {("x",): 4, ("",): 1}
    assert found.total(DONE) == 5
    assert found.total("nothing_total") == 0


def test_versions_with_other_buckets_are_shown_together() -> None:
    windows = Windows(Clock())
    windows.add(("edge", "old"), times((1, 0, 0), 0.5), from_zero=True)
    windows.add(("edge", "new"), times((0, 2, 0, 1), 12.0, bounds=(0.5, 2.0, 4.0)), from_zero=True)
    assert windows.over(60).distribution("took_seconds") == Distribution((0.5, 1.0, 2.0, 4.0), (0, 1, 2, 0, 1), 12.5)


def test_gauges_are_as_last_reported() -> None:
    windows = Windows(Clock())
    windows.add(("edge", "one"), [gauge("busy", {"a": 2, "b": 1})], from_zero=True)
    windows.add(("edge", "two"), [gauge("busy", {"a": 5})], from_zero=False)
    assert windows.gauge("busy", "kind") == {("a",): 7, ("b",): 1}
    assert windows.gauge("busy", of=max) == {(): 5}
    windows.add(("edge", "one"), [gauge("busy", {"a": 1})], from_zero=True)
    assert windows.gauge("busy") == {(): 6}
    windows.forget(("edge", "two"))
    assert windows.gauge("busy") == {(): 1}


# ---- for how long it is seen


def test_it_leaves_each_window_when_it_is_older() -> None:
    clock = Clock()
    windows = Windows(clock)
    windows.add(("edge", "one"), done(a=5), from_zero=True)
    for _ in range(800):  # a little over an hour
        clock.now += 5
        windows.add(("edge", "one"), done(a=5), from_zero=True)
        seen = {window for window in (60, 300, 900, 3600) if by_kind(windows, window)}
        for window in seen:
            assert clock.now <= window * (1 + 1 / 12)
        assert seen >= {window for window in (60, 300, 900, 3600) if clock.now < window}
    assert not seen


def test_each_says_how_much_of_it_is_covered() -> None:
    clock = Clock(500.0)
    windows = Windows(clock)
    clock.now += 20
    windows.add(("edge", "one"), done(a=1), from_zero=True)
    assert [windows.over(window).seconds for window in (60, 3600)] == [20, 20]
    clock.now += 300
    assert (windows.over(60).seconds, by_kind(windows, 60)) == (60, {})
    assert (windows.over(300).seconds, by_kind(windows, 300)) == (300, {})
    assert (windows.over(900).seconds, by_kind(windows, 900)) == (320, {"a": 1})


def test_silence_between_reports_costs_no_precision() -> None:
    clock = Clock()
    windows = Windows(clock)
    windows.add(("edge", "one"), done(a=1), from_zero=True)
    clock.now = 100
    windows.add(("edge", "one"), done(a=3), from_zero=True)
    clock.now = 130
    assert by_kind(windows, 60) == {"a": 2}, "the first was 130 s ago"


# ---- how much is kept


def test_what_a_process_counted_outlives_it() -> None:
    windows = Windows(Clock())
    windows.add(("edge", "one"), done(a=3), from_zero=True)
    windows.forget(("edge", "one"))
    windows.forget(("edge", "one"))
    assert by_kind(windows) == {"a": 3}
    windows.add(("edge", "two"), done(a=1), from_zero=True)
    assert by_kind(windows) == {"a": 4}


def test_series_that_nobody_reports_go_when_no_window_shows_them() -> None:
    clock = Clock()
    windows = Windows(clock, most_totals=2)
    windows.add(("edge", "gone"), done(old=3), from_zero=True)
    windows.add(("edge", "here"), done(new=1), from_zero=True)
    windows.forget(("edge", "gone"))
    for step in range(2, 800):
        clock.now += 5
        windows.add(("edge", "here"), done(new=step), from_zero=True)
        if clock.now < 3600:
            assert windows.series == 2
    assert windows.series == 1
    windows.add(("edge", "here"), done(new=800, newer=6), from_zero=True)
    assert windows.left_out == 0
    assert by_kind(windows, 3600)["newer"] == 6


def test_a_series_that_is_reported_again_stays() -> None:
    clock = Clock()
    windows = Windows(clock)
    windows.add(("edge", "gone"), done(a=3), from_zero=True)
    windows.forget(("edge", "gone"))
    windows.add(("edge", "next"), done(a=1), from_zero=True)
    for _ in range(800):
        clock.now += 5
        windows.add(("edge", "next"), done(a=1), from_zero=True)
    windows.add(("edge", "next"), done(a=2), from_zero=True)
    assert (windows.series, by_kind(windows)) == (1, {"a": 1})


def test_what_there_is_no_room_for_is_left_out_and_said() -> None:
    windows = Windows(Clock(), most_kept=3)
    windows.add(("edge", "one"), done(a=1, b=1), from_zero=True)
    windows.add(("edge", "two"), (*done(a=5, b=5), gauge("busy", {"x": 1, "y": 1})), from_zero=True)
    assert windows.left_out == 3, "both gauges, and one of the counters"
    assert by_kind(windows) == {"a": 6, "b": 1}
    windows.forget(("edge", "one"))
    windows.add(("edge", "two"), done(a=6, b=50), from_zero=True)
    assert windows.left_out == 0
    assert by_kind(windows) == {"a": 7, "b": 1}, "b may be from long ago"
    windows.add(("edge", "two"), done(a=6, b=51), from_zero=True)
    assert by_kind(windows) == {"a": 7, "b": 2}


def big(number: int, prefix: str = "") -> tuple[MetricFamily, ...]:
    """2,000 series as Prometheus counts them: 80 histograms of 15 buckets, sum and count, and the rest counters."""
    bounds = tuple(float(bound) for bound in range(1, 15))
    rows = tuple(((f"{prefix}{i}", "run"), (*[float(number)] * 15, 1.5 * number)) for i in range(80))
    histogram = MetricFamily(
        name="took_seconds", kind=MetricKind.HISTOGRAM, labels=("kind", "action"), bounds=bounds, series=rows
    )
    return histogram, counter(DONE, {f"{prefix}{i}": number for i in range(640)})


def read(number: int, prefix: str = "") -> tuple[MetricFamily, ...]:
    """As they come: not one object is shared between two reports."""
    return ProcessReported.model_validate_json(report(metrics=big(number, prefix)).model_dump_json()).metrics


def test_a_hundred_processes_of_two_thousand_series_stay_within_bounds() -> None:
    clock = Clock()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    windows = Windows(clock)
    for number in range(1, 3):
        for i in range(100):
            windows.add(("edge", f"process {i}"), read(number), from_zero=True)
            clock.now += 0.05
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert (windows.left_out, windows.series) == (0, 720)
    assert by_kind(windows, 3600) == {str(i): 200 for i in range(640)}
    assert windows.over(3600).distribution("took_seconds").count == 100 * 80 * 15 * 2
    assert held < 60_000_000


def test_however_many_series_there_are_memory_is_bounded() -> None:
    clock = Clock()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    windows = Windows(clock)
    for i in range(250):  # as many again as there is room for, all different
        windows.add(("edge", f"process {i}"), read(1, f"{i}."), from_zero=True)
        clock.now += 5
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert windows.left_out > 100_000
    assert sum(windows.over(3600).sums(DONE).values()) + windows.left_out >= 250 * 640
    assert held < 60_000_000
    assert MOST_KEPT * 100 + MOST_TOTALS * 8 * 100 <= 100_000_000, "what the documents say"


def test_long_labels_take_room_as_what_they_are() -> None:
    windows = Windows(Clock(), most_kept=3)
    windows.add(("edge", "one"), (counter(DONE, {"a" * 300: 1, "c" * 200: 1, "b": 1}),), from_zero=True)
    assert (by_kind(windows), windows.left_out) == ({"a" * 300: 1}, 2), "an a takes the room of three"
    windows.forget(("edge", "one"))
    windows.add(("edge", "two"), (gauge("hot", {"a" * 300: 1, "b": 1}),), from_zero=True)
    assert (windows.gauge("hot"), windows.left_out) == ({}, 2)
    windows.add(("edge", "two"), (gauge("hot", {"a" * 300: 1}),), from_zero=True)
    assert (windows.gauge("hot"), windows.left_out) == ({(): 1}, 0)
    windows.forget(("edge", "two"))
    windows.add(("edge", "one"), (counter(DONE, {str(i): 1 for i in range(3)}),), from_zero=True)
    assert windows.left_out == 0, "all that room is free again"
