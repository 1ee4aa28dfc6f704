from itertools import count
from typing import Any

from contracts.history import ExecutionStatus
from contracts.monitoring_health import EndedExecution
from services.monitor.ending_rates import EndingRates
from services.monitor.unusual import Tally

COMPLETED, FAILED, CANCELLED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED
START = 1_800_000_000.0

numbers = count()


def end(at: float, status: ExecutionStatus = COMPLETED, name: str = "w", **fields: Any) -> EndedExecution:
    given = {"execution_id": f"e{next(numbers)}", "workflow_name": name, "status": status, "at": at, **fields}
    return EndedExecution(**given)


def rates_of(*ends: EndedExecution, recent: float = 300.0, usual: float = 3_600.0) -> EndingRates:
    rates = EndingRates(recent, usual)
    for one in ends:
        rates.ended(one)
    return rates


def steadily(begin: float, seconds: float, every: float, status: ExecutionStatus = COMPLETED) -> list[EndedExecution]:
    return [end(begin + i * every, status) for i in range(int(seconds / every))]


def test_an_end_that_is_told_twice_is_counted_once() -> None:
    one = end(START)
    rates = rates_of(one)
    assert rates.ended(one) is False
    assert rates.ended(one.model_copy(update={"at": START + 50})) is False
    assert [window.completed for window in rates.windows(START + 1)] == [1, 1, 1, 1]


def test_windows_count_what_ended_in_them_by_how() -> None:
    ends = [end(START - 3_000, FAILED), end(START - 600), end(START - 200, CANCELLED), end(START - 30), end(START)]
    windows = rates_of(*ends).windows(START)
    assert [(one.window, one.completed, one.failed, one.cancelled) for one in windows] == [
        (60.0, 2, 0, 0),
        (300.0, 2, 0, 1),
        (900.0, 3, 0, 1),
        (3_600.0, 3, 1, 1),
    ]


def test_a_workflow_fails_more_often_than_usual_and_is_mended() -> None:
    rates = rates_of(*steadily(START, 3_600, 10))
    now = START + 3_600
    rates.judge(now)
    assert rates.failing(now) == {}
    for i in range(10):
        rates.ended(end(now + i, FAILED, errors={"go": "Broken"}))
    rates.judge(now + 10)
    ((key, (failing, recent)),) = rates.failing(now + 10).items()
    assert key == (None, "w")
    assert failing.since == now + 10
    assert failing.usual < 0.01
    # The good ones of the five minutes before are part of it.
    assert recent == Tally(38, 10)
    assert rates.errors_of(key) == {"Broken": 10}
    # A quarter failed: so it takes more than a few good ones in a row.
    for i in range(10):
        rates.ended(end(now + 20 + i))
    rates.judge(now + 30)
    assert rates.failing(now + 30)
    for i in range(10):
        rates.ended(end(now + 40 + i))
    rates.judge(now + 50)
    assert rates.failing(now + 50) == {}
    # What failed before it was mended does not make it fail anew.
    rates.ended(end(now + 55))
    rates.judge(now + 56)
    assert rates.failing(now + 56) == {}


def test_what_fails_for_long_does_not_become_usual() -> None:
    rates = rates_of(*steadily(START, 3_600, 10))
    now = START + 3_600
    for one in steadily(now, 7_200, 10, FAILED):
        rates.ended(one)
        rates.judge(one.at)
    after = now + 7_200
    ((failing, recent),) = rates.failing(after).values()
    assert failing.since < now + 300
    assert failing.usual < 0.01
    assert recent.rate == 1.0


def test_what_always_failed_half_the_time_is_not_unusual() -> None:
    ends = [end(START + 10 * i, FAILED if i % 2 else COMPLETED) for i in range(720)]
    rates = rates_of(*ends[:360])
    for one in ends[360:]:
        rates.ended(one)
        rates.judge(one.at)
        assert rates.failing(one.at) == {}


def test_cancelled_executions_say_nothing_about_failures() -> None:
    rates = rates_of(*(end(START + i, CANCELLED) for i in range(50)), *(end(START + i, FAILED) for i in range(2)))
    rates.judge(START + 60)
    assert rates.failing(START + 60) == {}
    (view,) = rates.workflows(START + 60, 10)
    assert (view.recent_ended, view.recent_failed) == (2, 2)


def test_a_failing_workflow_that_nobody_uses_any_more_is_forgotten() -> None:
    rates = rates_of(*(end(START + i, FAILED) for i in range(5)))
    rates.judge(START + 10)
    assert rates.failing(START + 10)
    rates.judge(START + 300)
    assert rates.failing(START + 300)
    rates.judge(START + 305)
    assert rates.failing(START + 305) == {}


def test_what_failed_more_than_usual_does_not_become_usual_when_it_is_over() -> None:
    rates = rates_of(*steadily(START, 1_800, 10))
    now = START + 1_800
    for one in steadily(now, 60, 2, FAILED):
        rates.ended(one)
        rates.judge(one.at)
    ((first, _),) = rates.failing(now + 60).values()
    rates.judge(now + 600)
    assert rates.failing(now + 600) == {}
    (view,) = rates.workflows(now + 900, 1)
    assert view.usual_failure_rate is not None
    assert view.usual_failure_rate < 0.05
    for one in steadily(now + 900, 20, 2, FAILED):
        rates.ended(one)
    rates.judge(now + 920)
    ((second, _),) = rates.failing(now + 920).values()
    assert second.usual < 0.05
    assert first.usual < 0.05


def test_how_it_was_at_its_worst_stays_known_while_it_is_mended() -> None:
    rates = rates_of(*(end(START + i, FAILED) for i in range(20)))
    rates.judge(START + 20)
    rates.ended(end(START + 310))
    rates.judge(START + 315)
    ((failing, recent),) = rates.failing(START + 315).values()
    assert (failing.worst, recent) == (Tally(20, 20), Tally(5, 4))


def test_what_is_learnt_of_before_is_judged_as_it_was_then() -> None:
    rates = EndingRates(300.0, 3_600.0)
    bursts = [*steadily(START, 900, 10), *steadily(START + 900, 40, 2, FAILED), *steadily(START + 1_700, 20, 2, FAILED)]
    for one in bursts:
        rates.learn(one)
    rates.judge(START + 1_720)
    ((failing, recent),) = rates.failing(START + 1_720).values()
    assert failing.usual < 0.05, "the first burst is not usual"
    assert (failing.worst, recent) == (Tally(10, 10), Tally(10, 10))


def test_windows_of_a_workflow_are_right_whatever_the_minute() -> None:
    ends = [end(START - 1 - 10 * i) for i in range(95)]
    for now in (START, START + 2, START + 31, START + 58):
        rates = rates_of(*ends)
        (view,) = rates.workflows(now, 1)
        for window in view.windows[:3]:
            true = sum(one.at > now - window.window for one in ends)
            assert true - 1 <= window.completed <= true, (now, window)
        assert view.windows[3].completed == 95
        assert view.windows[:3] == rates.windows(now)[:3]


def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    rates = rates_of(*(end(START + i, name=f"w{i}") for i in range(3_000)))
    views = rates.workflows(START + 3_000, 5_000)
    assert len(views) == 500
    assert [view.workflow_name for view in views[:3]] == ["w2999", "w2998", "w2997"]


def test_stored_workflows_are_told_apart_by_their_ids_and_failing_ones_come_first() -> None:
    bad = [end(START + i, FAILED, workflow_id="wf-1") for i in range(5)]
    good = [end(START + 10 + i, workflow_id="wf-2") for i in range(5)]
    rates = rates_of(*bad, *good)
    rates.judge(START + 20)
    assert [view.workflow_id for view in rates.workflows(START + 20, 10)] == ["wf-1", "wf-2"]


def test_the_slowest_are_those_of_the_last_hour() -> None:
    early = [end(START + i, duration=1_000.0 + i) for i in range(30)]
    late = [end(START + 3_590 + i, duration=float(i)) for i in range(30)]
    rates = rates_of(*early, *late)
    assert [one.duration for one in rates.slowest(START + 3_640, 5)] == [29.0, 28.0, 27.0, 26.0, 25.0]
    rates = rates_of(*early)
    assert [one.duration for one in rates.slowest(START + 60, 3)] == [1_029.0, 1_028.0, 1_027.0]


def test_percentiles_of_durations() -> None:
    (view,) = rates_of(*(end(START, duration=float(i)) for i in range(1, 101))).workflows(START + 1, 1)
    assert (view.duration_p50, view.duration_p95) == (51.0, 96.0)


def test_recent_failures_come_latest_first() -> None:
    rates = rates_of(*(end(START + i, FAILED, errors={"s": f"E{i}"}) for i in range(60)), end(START + 100))
    assert [one.errors for one in rates.recent_failures(3)] == [{"s": "E59"}, {"s": "E58"}, {"s": "E57"}]
    assert len(rates.recent_failures(1_000)) == 50
