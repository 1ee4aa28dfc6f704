"""How often somebody may do something, told by a clock that the test moves."""

import pytest

from services.edge.access.rates import WINDOW, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1_000 * WINDOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_as_many_as_allowed_and_no_more(clock: Clock) -> None:
    rates = Rates(clock=clock)
    assert [rates.take("a", 3) for _ in range(3)] == [0, 0, 0]
    assert rates.take("a", 3) > 0


def test_others_are_not_affected(clock: Clock) -> None:
    rates = Rates(clock=clock)
    rates.take("a", 1)
    assert rates.take("a", 1) > 0
    assert rates.take("b", 1) == 0


@pytest.mark.parametrize("limit", [1, 2, 7, 600])
@pytest.mark.parametrize("into", [0.0, 0.4, 59.0])
def test_after_the_seconds_that_were_named_there_is_room(clock: Clock, limit: int, into: float) -> None:
    rates = Rates(clock=clock)
    clock.now += into
    while not (wait := rates.take("a", limit)):
        pass
    clock.now += wait - 1.001
    assert rates.full("a", limit) > 0, "no sooner than was said"
    clock.now += 1.001
    assert rates.take("a", limit) == 0


def test_no_minute_has_more_than_is_allowed_wherever_it_begins(clock: Clock) -> None:
    """A steady flood: of what gets through, no 60 seconds hold more than the limit, but for the estimate of how it was
    spread over the minute before."""
    rates, limit = Rates(clock=clock), 60
    let_in: list[float] = []
    for _ in range(3_000):
        clock.now += 0.1
        if rates.take("a", limit) == 0:
            let_in.append(clock.now)
    most = max(sum(1 for at in let_in if begin <= at < begin + WINDOW) for begin in let_in)
    assert limit <= most <= limit * 1.5
    assert len(let_in) <= limit * (3_000 * 0.1 / WINDOW + 1)


def test_what_was_refused_does_not_count(clock: Clock) -> None:
    rates = Rates(clock=clock)
    rates.take("a", 1)
    waits = [rates.take("a", 1) for _ in range(50)]
    clock.now += waits[0]
    assert rates.take("a", 1) == 0


def test_names_are_bounded(clock: Clock) -> None:
    rates = Rates(most=100, clock=clock)
    for i in range(10_000):
        rates.take(f"address-{i}", 10)
    assert len(rates._counts) == 100


def test_a_long_silence_forgets(clock: Clock) -> None:
    rates = Rates(clock=clock)
    for _ in range(5):
        rates.take("a", 5)
    clock.now += 2 * WINDOW
    assert [rates.take("a", 5) for _ in range(5)] == [0] * 5
