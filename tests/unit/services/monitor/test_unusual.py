"""Failures more often than usual: against the exact binomial distribution, counted out here."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.unusual import CHANCE, LEAST_FAILED, MENDED, Tally, is_mended, is_unusual, usual_rate


def at_least(failed: int, count: int, rate: float) -> float:
    """The probability of so many failures or more."""
    return math.fsum(math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(failed, count + 1))


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0.001, 0.999))
def test_what_is_called_unusual_is_no_chance(count: int, failed: int, usual: float) -> None:
    recent = Tally(count, min(failed, count))
    if is_unusual(recent, usual):
        assert at_least(recent.failed, count, usual) <= CHANCE
        assert recent.failed >= LEAST_FAILED


@pytest.mark.parametrize(
    ("recent", "before", "unusual"),
    [
        (Tally(0, 0), Tally(0, 0), False),
        (Tally(2, 2), Tally(1_000, 0), False),  # two are too few, whatever was before
        (Tally(3, 3), Tally(0, 0), True),  # nothing but failures, and nothing is known: yes
        (Tally(5, 3), Tally(0, 0), False),
        (Tally(5, 4), Tally(0, 0), True),
        (Tally(100, 5), Tally(0, 0), False),
        (Tally(100, 20), Tally(0, 0), True),
        (Tally(100, 20), Tally(1_000, 200), False),  # that is how it always is
        (Tally(100, 40), Tally(1_000, 200), True),
        (Tally(100, 6), Tally(10_000, 0), True),
        (Tally(1_000_000, 52_000), Tally(1_000_000, 50_000), False),  # no chance, and yet nothing to call anybody for
        (Tally(1_000_000, 101_000), Tally(1_000_000, 50_000), True),
        (Tally(50, 50), Tally(10_000, 10_000), False),
    ],
)
def test_what_is_unusual(recent: Tally, before: Tally, unusual: bool) -> None:
    assert is_unusual(recent, usual_rate(before)) is unusual


def test_a_usual_rate_follows_what_was_counted_and_never_is_nothing() -> None:
    assert usual_rate(Tally(0, 0)) == pytest.approx(0.05)
    assert usual_rate(Tally(100_000, 30_000)) == pytest.approx(0.3, abs=0.001)
    assert 0 < usual_rate(Tally(1_000_000, 0)) < 0.0001


@given(st.floats(0.05, 0.9), st.integers(0, 200))
def test_what_is_called_mended_would_hardly_have_succeeded_so_often(rate: float, successes: int) -> None:
    assert is_mended(rate, successes) is ((1 - rate) ** successes < MENDED)


def test_what_failed_every_time_is_not_mended_by_one_success() -> None:
    assert [is_mended(1.0, successes) for successes in (0, 1, 2, 3)] == [False, False, True, True]
