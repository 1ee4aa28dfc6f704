from hypothesis import given
from hypothesis import strategies as st

from services.runtime.security.replays import Replays

WINDOW, LASTING = 300.0, 86_400.0


def replays(limit: int = 1_000) -> Replays:
    return Replays(WINDOW, LASTING, limit)


def test_within_the_window_a_repeat_passes_and_later_it_does_not() -> None:
    seen = replays()
    times = (0.0, 1.0, 300.0, 301.0, 5_000.0)
    assert [seen.is_replay("q", b"m", now, redelivered=False) for now in times] == [False, False, False, True, True]


def test_what_the_broker_delivers_again_is_no_replay() -> None:
    seen = replays()
    assert not seen.is_replay("q", b"m", 0.0, redelivered=False)
    assert not seen.is_replay("q", b"m", 10_000.0, redelivered=True)
    assert seen.is_replay("q", b"m", 10_001.0, redelivered=False)


def test_a_message_comes_to_every_queue_for_the_first_time() -> None:
    seen = replays()
    assert not seen.is_replay("one", b"m", 0.0, redelivered=False)
    assert not seen.is_replay("two", b"m", 1_000.0, redelivered=False)
    assert seen.is_replay("one", b"m", 1_000.0, redelivered=False)
    # Where the name ends and the message begins is part of it.
    assert not seen.is_replay("on", b"em", 1_000.0, redelivered=False)


def test_the_oldest_are_forgotten_first_and_no_more_are_kept_than_may_be() -> None:
    seen = replays(limit=10)
    for number in range(15):
        assert not seen.is_replay("q", b"%d" % number, float(number), redelivered=False)
    assert len(seen) == 10
    again = [seen.is_replay("q", b"%d" % number, 1_000.0, redelivered=False) for number in range(14, 4, -1)]
    assert again == [True] * 10
    assert not seen.is_replay("q", b"0", 1_000.0, redelivered=False)


def test_what_is_too_old_to_be_taken_is_forgotten() -> None:
    seen = replays()
    for number in range(100):
        seen.is_replay("q", b"%d" % number, 0.0, redelivered=False)
    for number in range(100, 160):
        seen.is_replay("q", b"%d" % number, LASTING + 1, redelivered=False)
    assert len(seen) == 60


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 500)), max_size=60))
def test_it_says_what_a_plain_record_says(steps: list[tuple[int, float]]) -> None:
    seen, first, now = replays(), dict[int, int](), 0.0
    for message, later in steps:
        now += later
        is_replay = message in first and now - first[message] > WINDOW
        first.setdefault(message, int(now))
        assert seen.is_replay("q", b"%d" % message, now, redelivered=False) is is_replay
