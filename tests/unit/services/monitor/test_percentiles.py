"""Percentiles from buckets: by hand as Prometheus's documentation has it, and against the observations themselves."""

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.percentiles import Distribution, merged

BOUNDS = (0.1, 0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    ("bounds", "counts", "q", "expected"),
    [
        # 10 observations, 4 in (0.1, 0.5]: the median is the 5th, the third quarter of those 4.
        (BOUNDS, (2, 4, 3, 1, 0), 0.5, 0.1 + 0.4 * 3 / 4),
        # The 9th is the last of the 3 in (0.5, 1].
        (BOUNDS, (2, 4, 3, 1, 0), 0.9, 1.0),
        # The 9.9th, nine tenths into the one in (1, 2].
        (BOUNDS, (2, 4, 3, 1, 0), 0.99, 1.9),
        # In the lowest bucket, which begins at 0.
        (BOUNDS, (4, 0, 0, 0, 0), 0.5, 0.05),
        # Empty buckets lie between.
        (BOUNDS, (1, 0, 0, 1, 0), 0.75, 1.5),
        # Above the highest bound: at least that.
        (BOUNDS, (1, 0, 0, 0, 9), 0.5, 2.0),
        # A lowest bucket whose bound is not above 0 has no width to go by.
        ((-1.0, 1.0), (5, 5, 0), 0.25, -1.0),
        ((-1.0, 1.0), (0, 5, 0), 0.5, 0.0),
        ((1.0,), (4, 0), 1.0, 1.0),
    ],
)
def test_by_hand(bounds: tuple[float, ...], counts: tuple[float, ...], q: float, expected: float) -> None:
    assert Distribution(bounds, counts).quantile(q) == pytest.approx(expected)


def test_without_observations_or_bounds_nothing_is_known() -> None:
    assert Distribution(BOUNDS, (0, 0, 0, 0, 0)).quantile(0.5) is None
    assert Distribution((), (7.0,), 3.5).quantile(0.5) is None
    assert Distribution().mean is None
    assert Distribution((), (7.0,), 3.5).mean == 0.5


def observed(values: list[float], bounds: tuple[float, ...]) -> Distribution:
    counts = [0.0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    return Distribution(bounds, tuple(counts), sum(values))


values = st.lists(st.floats(0, 3, exclude_min=True), min_size=1, max_size=200)
bounds = st.lists(st.floats(0.001, 2.5), min_size=1, max_size=20, unique=True).map(lambda found: tuple(sorted(found)))


@given(values, bounds, st.sampled_from((0.5, 0.9, 0.95, 0.99)))
def test_an_estimate_is_in_the_bucket_of_the_observation_itself(
    seen: list[float], bounds: tuple[float, ...], q: float
) -> None:
    estimate = observed(seen, bounds).quantile(q)
    exact = sorted(seen)[min(math.ceil(q * len(seen)), len(seen)) - 1]
    bucket = bisect_left(bounds, exact)
    assert estimate is not None
    if bucket == len(bounds):
        assert estimate == bounds[-1]
    else:
        assert (bounds[bucket - 1] if bucket else 0.0) <= estimate <= bounds[bucket]


@given(values, values, bounds)
def test_merged_is_as_if_all_had_been_observed_together(
    one: list[float], other: list[float], bounds: tuple[float, ...]
) -> None:
    together = merged([observed(one, bounds), observed(other, bounds)])
    assert together.counts == observed(one + other, bounds).counts
    assert together.sum == pytest.approx(sum(one) + sum(other))


def test_where_bounds_differ_an_observation_stays_below_the_bound_of_its_bucket() -> None:
    together = merged([Distribution((1.0, 4.0), (1, 2, 3), 20.0), Distribution((2.0, 4.0), (5, 0, 1), 9.0)])
    assert together == Distribution((1.0, 2.0, 4.0), (1, 5, 2, 4), 29.0)
