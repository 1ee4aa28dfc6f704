"""How the totals were: what is kept of it, and what is found."""

from array import array

from services.monitor.history import EVERY, REACH, History


def test_what_is_found_is_how_it_was_at_that_moment() -> None:
    history = History(0.0)
    history.remember(array("d", [1]), 2.0, 10.0)
    history.remember(array("d", [1, 5]), 11.0, 20.0)
    assert history.at(-5) == (array("d"), 0.0)
    assert history.at(1.9) == (array("d"), 0.0), "it may have changed until 2"
    assert history.at(2.0) == (array("d", [1]), 2.0)
    assert history.at(7.0) == (array("d", [1]), 7.0), "nothing changed between"
    assert history.at(10.5) == (array("d", [1]), 10.0)
    assert history.at(30.0) == (array("d", [1, 5]), 20.0)


def test_a_copy_is_kept_and_not_what_becomes_of_it() -> None:
    history, totals = History(0.0), array("d", [1])
    history.remember(totals, 1.0, 5.0)
    totals[0] = 2
    assert history.at(3.0)[0][0] == 1


def test_few_are_kept_and_every_window_begins_near_enough() -> None:
    history, now, most = History(0.0), 0.0, 0
    for step in range(4_000):
        now += (5.0, 4.0, 6.5, 30.0)[step % 4 if step % 50 == 0 else step % 3]
        assert history.is_due(now)
        history.remember(array("d", [now]), now, now)
        most = max(most, len(history))
        if now > 2 * REACH:
            for window in (60, 300, 900, 3600):
                _, at = history.at(now - window)
                assert window <= now - at <= window * (1 + 1 / 12) + 6.5
    assert most <= 75
    assert history.reaches_to <= now - REACH


def test_it_is_due_after_a_while_and_not_before() -> None:
    history = History(100.0)
    assert not history.is_due(100.0 + EVERY / 2)
    assert history.is_due(100.0 + EVERY)
