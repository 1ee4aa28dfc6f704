"""Timers: what is due is published to its shard, once in a while and not at every look."""

import asyncio

import pytest

from contracts.execution import WakeExecutions, WakeUp
from contracts.history import ExecutionStatus, Header, wake_of_restored
from contracts.topology import shard_key
from services.orchestrator import timers
from services.orchestrator.timers import Recovery, Timers, wake_messages
from tests.support.memory_store import MemoryStore


class NotingOutbox:
    def __init__(self) -> None:
        self.sent: list[WakeExecutions] = []

    async def send(self, outgoing: object) -> None:
        self.sent += [one.message for one in outgoing]  # type: ignore[attr-defined]


def header(execution_id: str, wake_at: float | None, status: ExecutionStatus = ExecutionStatus.RUNNING) -> Header:
    return Header(
        execution_id=execution_id, n=1, status=status, workflow_name="w", started_at=0, ended_at=None, wake_at=wake_at
    )


async def test_what_is_due_is_fired_to_its_shard_and_not_again_at_once() -> None:
    store, outbox = MemoryStore(), NotingOutbox()
    await store.write_headers([header("due", 10), header("later", 99), header("never", None)])
    looking = Timers(store, outbox, clock=lambda: 50.0)  # type: ignore[arg-type]
    assert await looking.fire() == 1
    assert await looking.fire() == 0
    (message,) = outbox.sent
    assert (message.reply_key, message.wake_ups[0].due) == (shard_key("due"), 10)
    await store.write_headers([header("due", 20)])
    assert await looking.fire() == 1


async def test_executions_that_stay_due_do_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "_AT_ONCE", 3)
    store, outbox = MemoryStore(), NotingOutbox()
    await store.write_headers([header(f"e{i}", float(i)) for i in range(10)])
    looking = Timers(store, outbox, clock=lambda: 50.0)  # type: ignore[arg-type]
    assert [await looking.fire() for _ in range(4)] == [3, 3, 3, 1]


async def test_what_was_restored_is_due_at_once_and_its_running_steps_are_sent_again() -> None:
    store, outbox = MemoryStore(), NotingOutbox()
    restored = wake_of_restored(40.0)
    await store.write_headers([header("restored", restored), header("due", 0.0), header("later", 99)])
    assert await Timers(store, outbox, clock=lambda: 50.0).fire() == 2  # type: ignore[arg-type]
    fired = {one.execution_id: (one.due, one.restart) for message in outbox.sent for one in message.wake_ups}
    assert fired == {"restored": (restored, True), "due": (0.0, False)}


async def test_what_was_restored_is_sent_again_once_over_a_bus_that_keeps_nothing_too() -> None:
    store, outbox = MemoryStore(), NotingOutbox()
    await store.write_headers([header("restored", wake_of_restored(40.0)), header("running", 99)])
    recovery = Recovery(store, outbox, clock=lambda: 50.0)  # type: ignore[arg-type]
    await recovery.start()
    async with asyncio.timeout(10):
        while not outbox.sent:
            await asyncio.sleep(0)
    await recovery.stop()
    fired = [(one.execution_id, one.restart) for message in outbox.sent for one in message.wake_ups]
    assert fired == [("running", True)]


def test_wake_ups_of_one_shard_travel_together() -> None:
    wake_ups = [WakeUp(execution_id=f"e{i}", due=1) for i in range(50)]
    messages = wake_messages(wake_ups)
    assert sum(len(message.wake_ups) for message in messages) == 50
    assert all(shard_key(one.execution_id) == message.reply_key for message in messages for one in message.wake_ups)
