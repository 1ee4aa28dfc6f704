"""Medians, ranges, percentiles and ratios."""

import pytest

from benchmarks.compare_figures import comparison_of, latency, paced, percentile, ratios, speed, spread
from benchmarks.rounds import Round


def done(seconds: float, *latencies: float) -> Round:
    return Round("w", 100, seconds, latencies or (seconds,))


@pytest.mark.parametrize(
    ("percent", "wanted"), [(50, 2), (75, 3), (76, 4), (95, 4), (100, 4), (1, 1)], ids=lambda value: str(value)
)
def test_percentile_is_a_value_that_was_seen(percent: float, wanted: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == wanted


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_spread_keeps_the_order_of_rounds() -> None:
    assert spread([3.0, 1.0, 2.5]) == {"median": 2.5, "min": 1.0, "max": 3.0, "values": [3.0, 1.0, 2.5]}


def test_a_ratio_is_taken_within_a_round_and_only_where_both_have_one() -> None:
    mine = {1: done(1.0), 2: done(10.0), 3: done(1.0)}
    theirs = {2: done(20.0), 3: done(4.0), 4: done(1.0)}
    by_speed = ratios(paced(mine, {}, speed), paced(theirs, {}, speed))
    assert by_speed == {"median": 3.0, "min": 2.0, "max": 4.0, "values": [2.0, 4.0]}
    by_latency = ratios(paced(mine, {}, latency), paced(theirs, {}, latency))
    assert by_latency is not None
    assert by_latency["values"] == [0.5, 0.25]
    assert ratios({1: 1.0}, {2: 1.0}) is None


def test_a_machine_that_slows_down_between_two_turns_does_not_change_a_ratio() -> None:
    mine, theirs = {1: done(1.0)}, {1: done(8.0)}
    paces = {"w": {"mine": {1: done(2.0)}, "theirs": {1: done(8.0)}}}  # the second turn's machine was four times slower
    found = comparison_of({"w": {"mine": mine, "theirs": theirs}}, ["w"], ["theirs"], paces)
    assert found["w"]["mine"]["ratios"]["theirs"]["steps_per_second"]["median"] == 2.0
    assert found["w"]["mine"]["steps_per_second"]["median"] == 100


def test_a_comparison_has_no_ratio_to_itself_nor_to_who_is_absent() -> None:
    rounds = {"w": {"floor": {1: done(1.0)}, "other": {1: done(2.0, 1, 2, 30)}, "late": {2: done(1.0)}}}
    found = comparison_of(rounds, ["w", "never run"], ["floor", "absent"])
    assert list(found) == ["w"]
    assert found["w"]["floor"]["ratios"] == {}
    assert list(found["w"]["other"]["ratios"]) == ["floor"]
    assert found["w"]["late"]["ratios"] == {}
    assert found["w"]["other"]["steps_per_second"]["median"] == 50
    assert {name: values["median"] for name, values in found["w"]["other"]["latency_ms"].items()} == {
        "p50": 2,
        "p95": 30,
        "p99": 30,
    }
