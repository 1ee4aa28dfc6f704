"""What a capability can ask about its step, from wherever it runs; and the page that explains it."""

import asyncio
import pickle
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from services.runtime.agent.step_context import StepContext, WorkCancelled, current_step, report_progress, working_on

PAGE = Path(__file__).resolve().parents[5] / "docs" / "long_work.md"


def listening(told: list[tuple[float, str]]) -> StepContext:
    return StepContext("e", "s", 2, "c", lambda *what: told.append(what))


async def test_tasks_and_threads_of_a_capability_know_its_step_and_others_do_not() -> None:
    told: list[tuple[float, str]] = []

    async def task() -> None:
        report_progress(0.2, "task")

    with working_on(listening(told)):
        report_progress(0.1)
        await asyncio.create_task(task())
        await asyncio.to_thread(report_progress, 0.3, "thread")
        step = current_step()
        assert step is not None
        stranger = threading.Thread(target=report_progress, args=(0.9, "a thread of its own"))
        handed = threading.Thread(target=step.report, args=(0.4, "handed on"))
        for thread in (stranger, handed):
            thread.start()
            thread.join()
    report_progress(0.5, "after the step")
    assert told == [(0.1, ""), (0.2, "task"), (0.3, "thread"), (0.4, "handed on")]


def test_once_cancelled_every_report_says_so_and_reaches_nobody() -> None:
    told: list[tuple[float, str]] = []
    step = listening(told)
    assert not step.cancelled
    step.raise_if_cancelled()
    step.cancel()
    assert step.cancelled
    for call in (step.raise_if_cancelled, lambda: step.report(0.5)):
        with pytest.raises(WorkCancelled, match="e/s: nobody waits for attempt 2"):
            call()
    assert told == []


def test_whoever_wants_to_know_at_once_is_called_once_and_only_within_its_block() -> None:
    calls: list[str] = []
    step = StepContext("e", "s", 1)
    with step.when_cancelled(lambda: calls.append("left before")):
        pass
    with step.when_cancelled(lambda: calls.append("within")):
        step.cancel()
        step.cancel()
        assert calls == ["within"]
        with step.when_cancelled(lambda: calls.append("entered after")):
            assert calls == ["within", "entered after"]
    assert calls == ["within", "entered after"]


def test_one_that_fails_when_it_is_told_does_not_keep_the_others_from_it() -> None:
    calls: list[str] = []
    step = StepContext("e", "s", 1)
    with step.when_cancelled(lambda: 1 / 0), step.when_cancelled(lambda: calls.append("told")):
        step.cancel()
    assert calls == ["told"]


def test_in_another_process_it_still_says_which_step_it_is() -> None:
    copy = pickle.loads(pickle.dumps(listening([])))
    assert (copy.idempotency_key, copy.attempt, copy.correlation_id, copy.cancelled) == ("e/s", 2, "c", False)
    copy.report(0.5)


async def test_the_code_on_the_page_works() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), names)
    agent = names["Counter"]("c")
    await agent.start()
    told: list[tuple[float, str]] = []
    with working_on(listening(told)):
        assert await agent.perform("count", {"names": ["ab", "cde"]}) == {"letters": 5}
    assert told == [(0.0, "reading ab"), (0.5, "reading cde")]
