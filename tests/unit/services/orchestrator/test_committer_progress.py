"""Reports of progress and cancelled work in the committer: what is stored, what wakes, what hosts are told."""

import pytest

from contracts.execution import ExecutionCancelled, StepProgress, StepsCancelled, WakeExecutions
from services.orchestrator.engine import Cancel, Limits
from services.orchestrator.mailbox import Item, Receipt
from services.orchestrator.timers import Timers
from services.runtime.bus.base import BusUnavailable
from services.runtime.service import Outbox
from services.runtime.store.base import StoreUnavailable
from tests.support.committing import Desk, NotingDelivery, result

LEASE = 110.0
LIMITS = Limits(default_timeout=10, lease=100)


def report(number: int, execution_id: str = "e", delivery: NotingDelivery | None = None) -> Item:
    message = StepProgress(
        execution_id=execution_id, step="s", attempt=1, run_id="r", number=number, fraction=0.5, at=1.0
    )
    return Item(execution_id, message, Receipt(delivery or NotingDelivery(), 1))


def kinds(desk: Desk, execution_id: str = "e") -> list[str]:
    return [event.kind for entry in desk.store.log_of(execution_id) for event in entry.events]


class Clockwork:
    """The real timers beside a committer: what they publish is committed."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.fired = 0

    async def pass_to(self, now: float) -> None:
        """Move the clock second by second and commit the wake-ups that are due."""
        while self.desk.now < now:
            self.desk.now = min(now, self.desk.now + 10.0)
            timers = Timers(self.desk.store, Outbox(self.desk.bus, "t"), clock=lambda: self.desk.now)  # type: ignore[arg-type]
            if await timers.fire():
                self.fired += 1
                (message,) = [m for m in self.desk.bus.messages if isinstance(m, WakeExecutions)]
                self.desk.bus.messages.remove(message)
                await self.desk.committer.commit([Item(w.execution_id, w) for w in message.wake_ups])


async def test_a_step_that_reports_beyond_its_lease_is_left_alone_and_one_that_stops_is_not() -> None:
    desk = Desk(LIMITS)
    clockwork = Clockwork(desk)
    began = desk.now
    await desk.committer.commit([desk.started("e", desk.plan("s"))])
    for number in range(1, 13):
        await clockwork.pass_to(began + 50 * number)
        await desk.committer.commit([report(number)])
    assert desk.bus.commands() == ["e/s/1"]
    assert desk.now - began > 5 * LEASE
    assert kinds(desk) == ["execution_started", "step_dispatched", *["step_progressed"] * 12]
    # The header was not written with every report: it wakes early, is found not due, and is moved on.
    assert clockwork.fired == desk.store.calls["write_headers"] - 1 <= 6
    silent_since = desk.now
    await clockwork.pass_to(silent_since + LEASE - 10)
    assert desk.bus.commands() == ["e/s/1"]
    await clockwork.pass_to(silent_since + LEASE)
    assert desk.bus.commands() == ["e/s/1", "e/s/1"]
    await clockwork.pass_to(silent_since + 2 * LEASE)
    assert kinds(desk)[-3:] == ["step_resent", "step_failed", "execution_ended"]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_report_that_changes_nothing_is_acked(ended: bool) -> None:
    desk = Desk(LIMITS)
    await desk.committer.commit([desk.started("e", desk.plan("s")), report(1)])
    if ended:
        await desk.committer.commit([result("e", "s")])
    entries = len(desk.store.log_of("e"))
    late = NotingDelivery()
    await desk.committer.commit([report(2 if ended else 1, delivery=late)])
    assert late.settled == ["ack"]
    assert len(desk.store.log_of("e")) == entries


async def test_a_report_of_an_unknown_execution_is_a_dead_letter() -> None:
    desk = Desk(LIMITS)
    lost = NotingDelivery()
    await desk.committer.commit([report(1, "never", lost)])
    assert lost.settled == ["unknown-execution"]


async def test_a_cancel_tells_the_hosts_and_an_ordinary_end_does_not() -> None:
    desk = Desk(LIMITS)
    plan = desk.plan("s", "t", "u")
    named = desk.plan("s", agent_type="b", agent_id="bob")
    await desk.committer.commit([desk.started("e", plan), desk.started("f", named), desk.started("g", desk.plan("s"))])
    await desk.committer.commit([result("e", "t"), result("g", "s")])
    await desk.committer.commit([Item("e", Cancel("enough")), Item("f", Cancel())])
    told = {m.agent_type: m.command_ids for m in desk.bus.messages if isinstance(m, StepsCancelled)}
    assert told == {"a": ("e/s/1", "e/u/1"), "b": ("f/s/1",)}
    assert sum(isinstance(m, StepsCancelled) for m in desk.bus.messages) == 2


async def test_a_step_that_starts_and_is_cancelled_in_one_batch_is_given_up_too() -> None:
    desk = Desk(LIMITS)
    await desk.committer.commit([desk.started("e", desk.plan("s")), Item("e", Cancel())])
    assert desk.bus.commands() == []
    assert [m.command_ids for m in desk.bus.messages if isinstance(m, StepsCancelled)] == [("e/s/1",)]


async def test_cancelled_work_is_told_of_again_until_the_broker_has_it() -> None:
    desk = Desk(LIMITS)
    await desk.committer.commit([desk.started("e", desk.plan("s"))])
    desk.bus.failures = [BusUnavailable("away"), BusUnavailable("still away")]
    delivery = NotingDelivery()
    await desk.committer.commit([Item("e", Cancel(), Receipt(delivery, 1))])
    assert [m.command_ids for m in desk.bus.messages if isinstance(m, StepsCancelled)] == [("e/s/1",)]
    assert delivery.settled == ["ack"]


async def test_a_replica_that_never_saw_the_cancel_tells_of_it_when_it_comes_again() -> None:
    desk = Desk(LIMITS)
    await desk.committer.commit([desk.started("e", desk.plan("s"))])

    async def dies(operation: str, moment: str) -> None:
        if operation == "append" and moment == "after":
            desk.store.hook = None
            raise StoreUnavailable("the answer was lost")

    desk.store.hook = dies
    await desk.committer.commit([Item("e", Cancel())])
    told = [type(m) for m in desk.bus.messages if isinstance(m, StepsCancelled | ExecutionCancelled)]
    assert sorted(told, key=str) == sorted([StepsCancelled, ExecutionCancelled], key=str)
    # The same cancel once more, from an asker who had no answer: everything is told again, under the same ids.
    desk.states.forget(["e"])
    await desk.committer.commit([Item("e", Cancel())])
    assert [m.command_ids for m in desk.bus.messages if isinstance(m, StepsCancelled)] == [("e/s/1",)] * 2
