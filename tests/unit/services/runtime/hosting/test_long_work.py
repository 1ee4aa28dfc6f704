"""Long work on a host: reports that leave it, time limits that start anew, cancellation that reaches the work."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.agents import AgentLimits
from contracts.execution import StepCommand, StepProgress, StepResult, StepsProgressed
from services.runtime.agent.base import BaseAgent
from services.runtime.agent.capability import capability
from services.runtime.agent.step_context import StepContext, WorkCancelled, current_step, report_progress
from services.runtime.bus.base import BusUnavailable
from services.runtime.hosting import progress
from services.runtime.hosting.cancellation import Cancellations
from services.runtime.hosting.performer import Performer
from services.runtime.hosting.progress import ProgressSender
from services.runtime.hosting.quarantine import Quarantine
from services.runtime.service import Outbox
from tests.support.committing import NotingBus

PATIENCE = 60.0


class Reports(BaseModel):
    """How often to report, and how many seconds to wait after each."""

    times: int = 0
    pause: float = 0.0


class Said(BaseModel):
    value: Any = None


class Digger(BaseAgent):
    """Works long, in every way that work can be long; notes what it sees."""

    agent_type = "digger"

    def __init__(self, agent_id: str, config: Any = None) -> None:
        super().__init__(agent_id, config)
        self.seen: list[str] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    @capability("dig")
    async def dig(self, request: Reports) -> Said:
        for number in range(request.times):
            report_progress(number / request.times, f"hole {number}")
            await asyncio.sleep(request.pause)
            if self.go_on.is_set():
                break
        return Said(value="dug")

    @capability("dig_without_rest")
    async def dig_without_rest(self, request: Reports) -> Said:
        for number in range(request.times):
            report_progress(number / request.times)
            await asyncio.sleep(0)
        return Said(value="dug")

    @capability("dig_in_thread")
    def dig_in_thread(self, request: Reports) -> Said:
        for number in range(request.times):
            report_progress(number / request.times, f"hole {number}")
            time.sleep(request.pause)
            if self.go_on.is_set():
                break
        return Said(value="dug")

    @capability("dig_for_ever")
    async def dig_for_ever(self, request: Reports) -> Said:
        self.begun.set()
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        return Said()

    @capability("dig_stubbornly")
    async def dig_stubbornly(self, request: Reports) -> Said:
        self.begun.set()
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            self.seen.append("would not stop")
        return Said(value="dug after all")

    @capability("report_until_stopped")
    def report_until_stopped(self, request: Reports) -> Said:
        try:
            while True:
                report_progress(0.5)
                self.begun.set()
                time.sleep(0.01)
        except WorkCancelled:
            self.seen.append("stopped at a report")
            self.go_on.set()
            raise

    @capability("look_until_stopped")
    def look_until_stopped(self, request: Reports) -> Said:
        step = current_step()
        assert step is not None
        called = threading.Event()
        with step.when_cancelled(called.set):
            self.begun.set()
            while not step.cancelled:
                time.sleep(0.01)
        self.seen.append(f"saw it, called: {called.is_set()}")
        self.go_on.set()
        return Said()

    @capability("sleep_in_thread")
    def sleep_in_thread(self, request: Reports) -> Said:
        """Blocks; what it says of its progress in the quarantine goes nowhere."""
        report_progress(0.1)
        time.sleep(request.pause)
        return Said(value="slept")


def command(step: str = "s", timeout: float = 30.0, **inputs: Any) -> StepCommand:
    return StepCommand(
        execution_id="e", step=step, attempt=1, inputs=inputs, timeout=timeout, reply_key=f"shard.{len(step)}"
    )


class Host:
    """The parts of a host that long work needs, over a bus that notes what leaves."""

    def __init__(self) -> None:
        self.bus = NotingBus()
        self.progress = ProgressSender(Outbox(self.bus, "host"))  # type: ignore[arg-type]
        self.cancellations = Cancellations()
        self.quarantine = Quarantine()
        self.performer = Performer(self.quarantine, self.progress, self.cancellations)
        self.agent = Digger("d")

    async def perform(self, action: str, one: StepCommand, *, alone: bool = False) -> StepResult:
        result, _ = await self.performer.perform(self.agent, action, one, alone=alone)
        return result

    @property
    def messages(self) -> list[StepsProgressed]:
        return [message for message in self.bus.messages if isinstance(message, StepsProgressed)]

    @property
    def reports(self) -> list[StepProgress]:
        return [report for message in self.messages for report in message.reports]

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.agent.begun.wait, PATIENCE)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    await host.agent.start()
    await host.progress.start()
    yield host
    await host.progress.stop()
    await host.quarantine.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def error_of(result: StepResult) -> tuple[str, bool]:
    assert not result.ok
    assert result.error is not None
    return result.error.type, result.error.retryable


# ---- progress


@pytest.mark.parametrize("action", ["dig", "dig_in_thread"])
async def test_reports_leave_with_who_and_how_far(host: Host, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    work = asyncio.create_task(host.perform(action, command(times=10_000, pause=0.05)))
    await until(lambda: len(host.reports) >= 3)  # of a thread that is ahead of the loop only the latest leaves
    host.agent.go_on.set()
    result = await work
    assert result.output == {"value": "dug"}
    assert [report.number for report in host.reports] == list(range(1, len(host.reports) + 1))
    first = host.reports[0]
    assert (first.execution_id, first.step, first.attempt, first.agent_id) == ("e", "s", 1, "d")
    assert (first.fraction, first.note, first.run_id) == (0.0, "hole 0", result.result_id)
    assert result.started_at is not None
    assert result.started_at <= first.at <= time.time()


async def test_the_first_report_leaves_at_once_and_then_only_the_latest(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.5)
    began = time.monotonic()
    assert (await host.perform("dig", command(times=40, pause=0.02))).ok
    took = time.monotonic() - began
    assert host.reports[0].fraction == 0.0
    assert 2 <= len(host.reports) <= 1 + took / 0.5 + 1  # those between were never sent
    fractions = [report.fraction for report in host.reports]
    assert fractions == sorted(set(fractions))


async def test_what_was_reported_last_is_not_sent_after_the_end(host: Host) -> None:
    assert (await host.perform("dig", command(times=5))).ok
    await asyncio.sleep(0.05)
    assert len(host.reports) <= 1


async def test_work_that_reports_at_every_turn_of_the_loop_is_heard(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    assert (await host.perform("dig_without_rest", command(times=200))).ok
    assert len(host.reports) > 20


async def test_reports_of_several_steps_leave_together_by_shard(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 60.0)
    steps = [command("a", times=1, pause=0.3), command("b", times=1, pause=0.3), command("cc", times=1, pause=0.3)]
    await asyncio.gather(*(host.perform("dig", one) for one in steps))
    assert sorted((message.reply_key, len(message.reports)) for message in host.messages) == [
        ("shard.1", 2),
        ("shard.2", 1),
    ]


async def test_reports_are_lost_while_the_broker_is_away_and_the_next_ones_leave(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    host.bus.failures = [BusUnavailable("away"), BusUnavailable("still away")]
    assert (await host.perform("dig", command(times=6, pause=0.05))).ok
    assert host.reports[0].number == 3


async def test_the_longer_work_takes_the_rarer_its_reports(host: Host) -> None:
    gaps = [progress.interval(elapsed, timeout=600.0) for elapsed in (0.0, 99.0, 1_000.0, 10_000.0, 1_000_000.0)]
    assert gaps == [1.0, 1.0, 10.0, 100.0, 300.0]  # and never rarer than half of its timeout


@pytest.mark.parametrize("action", ["dig", "dig_in_thread"])
async def test_every_report_has_the_time_limit_start_anew(host: Host, action: str) -> None:
    """Ten pauses, together more than the limit, and each so much less that a machine may stand still in it."""
    result = await host.perform(action, command(timeout=4.0, times=10, pause=0.5))
    assert result.output == {"value": "dug"}
    assert result.started_at is not None
    assert result.finished_at is not None
    assert result.finished_at - result.started_at > 4.0


@pytest.mark.parametrize("action", ["dig", "dig_in_thread"])
async def test_work_that_stops_reporting_is_timed_out(host: Host, action: str) -> None:
    result = await host.perform(action, command(timeout=0.2, times=2, pause=1.0))
    assert error_of(result) == ("Timeout", True)
    assert result.error is not None
    assert result.error.message == f"{action} did not finish within 0.2 s of its latest report of progress"


async def test_a_thread_whose_time_is_up_stops_at_its_next_report(host: Host) -> None:
    host.agent.register_capability("once_then_silent", _once_then_silent(host.agent))
    assert error_of(await host.perform("once_then_silent", command(timeout=0.1))) == ("Timeout", True)
    host.agent.go_on.set()
    await until(lambda: host.agent.seen == ["stopped at a report"])


def _once_then_silent(agent: Digger) -> Callable[[Reports], Said]:
    def once_then_silent(request: Reports) -> Said:
        report_progress(0.1)
        agent.go_on.wait(PATIENCE)
        try:
            report_progress(0.2)
        except WorkCancelled:
            agent.seen.append("stopped at a report")
            raise
        return Said()

    return once_then_silent


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan"), float("inf"), "half", None])
def test_a_fraction_outside_of_0_to_1_is_refused(fraction: Any) -> None:
    with pytest.raises(ValueError, match="fraction from 0 to 1"):
        report_progress(fraction)
    with pytest.raises(ValueError, match="fraction from 0 to 1"):
        StepContext("e", "s", 1).report(fraction)


def test_outside_of_a_step_a_report_does_nothing() -> None:
    assert current_step() is None
    report_progress(0.5, "nobody hears it")


def test_a_note_is_cut_to_what_a_report_may_hold() -> None:
    told: list[tuple[float, str]] = []
    StepContext("e", "s", 1, on_report=lambda *what: told.append(what)).report(1, "x" * 5_000 + "\ud800")
    assert told == [(1.0, "x" * 1_000)]


# ---- cancellation


async def test_cancelled_asynchronous_work_sees_it_and_its_result_says_so(host: Host) -> None:
    work = asyncio.create_task(host.perform("dig_for_ever", command()))
    await host.begun()
    host.cancellations.cancel(["e/s/1"])
    assert error_of(await work) == ("Cancelled", False)
    assert host.agent.seen == ["cancelled"]
    assert host.agent.status.value == "idle"


async def test_work_that_swallows_its_cancellation_is_cancelled_all_the_same(host: Host) -> None:
    work = asyncio.create_task(host.perform("dig_stubbornly", command()))
    await host.begun()
    host.cancellations.cancel(["e/s/1"])
    assert error_of(await work) == ("Cancelled", False)
    assert host.agent.seen == ["would not stop"]


@pytest.mark.parametrize(
    ("action", "saw"),
    [("report_until_stopped", "stopped at a report"), ("look_until_stopped", "saw it, called: True")],
)
async def test_a_thread_is_answered_for_at_once_and_ends_at_its_next_look(host: Host, action: str, saw: str) -> None:
    work = asyncio.create_task(host.perform(action, command()))
    await host.begun()
    host.cancellations.cancel(["e/s/1"])
    assert error_of(await work) == ("Cancelled", False)
    await until(lambda: host.agent.seen == [saw])


async def test_work_in_quarantine_is_killed(host: Host) -> None:
    work = asyncio.create_task(host.perform("sleep_in_thread", command(pause=600.0), alone=True))
    await until(lambda: host.quarantine._pool is not None)
    host.cancellations.cancel(["e/s/1"])
    assert error_of(await work) == ("Cancelled", False)
    assert host.quarantine._pool is None
    assert (await host.perform("sleep_in_thread", command("t"), alone=True)).output == {"value": "slept"}
    assert host.reports == []


async def test_a_command_that_comes_after_its_cancellation_never_runs(host: Host) -> None:
    host.cancellations.cancel(["e/s/1", "e/other/1"])
    assert error_of(await host.perform("dig_for_ever", command())) == ("Cancelled", False)
    assert not host.agent.begun.is_set()
    assert (await host.perform("dig", command("t"))).ok


async def test_a_command_that_waits_for_its_turn_is_answered_at_once(host: Host) -> None:
    host.agent.limit_by(AgentLimits(concurrency=1))
    first = asyncio.create_task(host.perform("dig_for_ever", command("first")))
    await host.begun()
    second = asyncio.create_task(host.perform("dig_for_ever", command("second")))
    await asyncio.sleep(0.05)
    host.cancellations.cancel(["e/second/1"])
    assert error_of(await second) == ("Cancelled", False)
    assert not first.done()
    host.cancellations.cancel(["e/first/1"])
    assert error_of(await first) == ("Cancelled", False)


async def test_waiting_for_a_turn_is_no_part_of_the_time_limit(host: Host) -> None:
    host.agent.limit_by(AgentLimits(concurrency=1))
    results = await asyncio.gather(
        *(host.perform("dig", command(step, timeout=4.5, times=1, pause=1.0)) for step in "abcde")
    )
    assert [result.ok for result in results] == [True] * 5


async def test_both_copies_of_an_attempt_are_cancelled(host: Host) -> None:
    copies = [asyncio.create_task(host.perform("dig_for_ever", command())) for _ in range(2)]
    await host.begun()
    await asyncio.sleep(0.05)
    host.cancellations.cancel(["e/s/1"])
    assert [error_of(await copy) for copy in copies] == [("Cancelled", False)] * 2


async def test_a_host_that_stops_is_obeyed_though_the_work_was_cancelled_too(host: Host) -> None:
    work = asyncio.create_task(host.perform("dig_for_ever", command()))
    await host.begun()
    host.cancellations.cancel(["e/s/1"])
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_work_that_has_ended_leaves_nothing_behind(host: Host) -> None:
    assert (await host.perform("dig", command())).ok
    host.cancellations.cancel(["e/s/1"])
    assert len(host.cancellations._under_way) == 0
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
