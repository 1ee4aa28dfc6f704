"""When to come back, from what was done and what was turned away lately."""

from services.runtime.pacing import LATEST, SOONEST, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pace(done: int, turned_away: int) -> Pace:
    made = Pace(Clock())
    made.done(done)
    for _ in range(turned_away):
        made.turned_away()
    return made


def test_as_many_turned_away_as_done_may_come_back_soonest() -> None:
    assert pace(10, 0).retry_after() == SOONEST
    assert pace(10, 10).retry_after() == SOONEST


def test_ten_times_more_is_spread_over_ten_seconds() -> None:
    assert pace(10, 100).retry_after() == 10
    assert pace(10, 101).retry_after() == 11


def test_it_is_never_later_than_the_latest() -> None:
    assert pace(1, 1000).retry_after() == LATEST


def test_where_nothing_gets_done_it_is_unknown() -> None:
    assert pace(0, 5).retry_after() == LATEST
    assert pace(0, 5).retry_after(unknown=7) == 7


def test_what_was_long_ago_counts_no_more() -> None:
    clock = Clock()
    made = Pace(clock)
    for _ in range(1000):
        made.turned_away()
    clock.now += 60
    made.done(10)
    assert made.retry_after() == SOONEST
    clock.now += 60
    assert made.retry_after(unknown=3) == 3
