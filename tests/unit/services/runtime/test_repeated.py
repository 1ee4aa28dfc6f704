"""What fails again and again is said once, at once when its reason is new, then now and then, and when it is over."""

from typing import Any

import structlog
from structlog.testing import capture_logs

from services.runtime.repeated import EVERY, Repeated

log = structlog.get_logger("test")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def fail_each_second(trouble: Repeated, clock: Clock, seconds: int) -> list[dict[str, Any]]:
    with capture_logs() as lines:
        for second in range(seconds):
            trouble.failed(ConnectionError(f"no answer in {second} s"), queue="q")
            clock.now += 1
    return lines  # type: ignore[return-value]


def test_a_long_outage_has_a_line_now_and_then_that_says_how_often_and_for_how_long() -> None:
    clock = Clock()
    lines = fail_each_second(Repeated(log, "could not fire", still="still cannot", clock=clock), clock, 75)
    first, second, third = lines
    assert first == {
        "event": "could not fire",
        "error": "ConnectionError: no answer in 0 s",
        "queue": "q",
        "log_level": "warning",
    }
    assert [line["event"] for line in (second, third)] == ["still cannot"] * 2
    assert (second["failures"], second["seconds"]) == (31, EVERY)
    assert (third["failures"], third["seconds"]) == (61, 2 * EVERY)


def test_another_reason_is_said_at_once_and_once() -> None:
    trouble = Repeated(log, "could not fire", clock=Clock())
    with capture_logs() as lines:
        for _ in range(20):
            trouble.failed(ConnectionError("refused"))
            trouble.failed(PermissionError("who are you?"))
    assert [line["error"] for line in lines] == ["ConnectionError: refused", "PermissionError: who are you?"]


def test_reasons_that_are_new_each_time_do_not_flood_either() -> None:
    trouble = Repeated(log, "could not fire", clock=Clock())
    with capture_logs() as lines:
        for number in range(200):
            trouble.failed(ConnectionError(chr(0x4E00 + number)))
    assert len(lines) == 10


def test_its_end_is_said_once_and_the_next_outage_is_a_new_one() -> None:
    clock = Clock()
    trouble = Repeated(log, "could not fire", clock=clock)
    fail_each_second(trouble, clock, 5)
    with capture_logs() as lines:
        trouble.worked()
        trouble.worked()
        trouble.failed(ConnectionError("no answer in 9 s"))
    assert [line["event"] for line in lines] == ["works again", "could not fire"]
    assert (lines[0]["log_level"], lines[0]["after"]) == ("info", "could not fire")
    assert (lines[0]["failures"], lines[0]["seconds"]) == (5, 5.0)


def test_what_never_failed_says_nothing() -> None:
    with capture_logs() as lines:
        Repeated(log, "could not fire").worked()
    assert lines == []
