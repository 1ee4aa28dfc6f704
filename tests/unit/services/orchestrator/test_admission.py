"""Who is let in, who is refused, who waits: over a store in memory."""

import asyncio
from typing import Any

import pytest

from contracts.envelope import new_id
from contracts.history import ExecutionStatus, Header
from services.orchestrator.admission import Admission, Known, StartReceipt
from services.orchestrator.engine import Cancel
from services.orchestrator.mailbox import Item, Mailbox
from services.runtime.store.base import StoreUnavailable
from tests.support.memory_store import MemoryStore

RUNNING, COMPLETED = ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED


class SettledDelivery:
    """Notes how it was settled."""

    def __init__(self) -> None:
        self.settled: list[str] = []

    async def ack(self) -> None:
        self.settled.append("ack")

    async def retry(self) -> None:
        self.settled.append("retry")


class Door:
    """An admission, and starts that come to it."""

    def __init__(self, limit: int) -> None:
        self.store = MemoryStore()
        self.mailbox = Mailbox()
        self.admission = Admission(self.store, self.mailbox, limit)
        self.let_in: list[str] = []

    async def open(self, *ids: str, status: ExecutionStatus = RUNNING, n: int = 1) -> None:
        await self.store.write_headers(
            [Header(execution_id=key, n=n, status=status, workflow_name="w", started_at=1.0) for key in ids]
        )

    def receipt(self) -> StartReceipt:
        delivery: Any = SettledDelivery()
        return StartReceipt(delivery, self.admission)

    def enter(self, count: int) -> list[StartReceipt]:
        receipts = [self.receipt() for _ in range(count)]
        for receipt in receipts:
            receipt.enter()
        return receipts

    def wait(self, *ids: str) -> None:
        for key in ids:
            receipt = self.receipt()
            self.admission.wait(f"message-{key}", Item(key, Cancel(""), receipt), receipt)

    async def taken(self) -> list[str]:
        if self.mailbox.drained.is_set():
            return []
        return [item.execution_id for item in self.mailbox.take(1000)]


async def settle(receipt: StartReceipt) -> None:
    if receipt.done(0):
        await receipt.settle()


async def test_there_is_room_up_to_the_limit_and_the_last_tenth_is_for_those_who_wait_for_an_answer() -> None:
    door = Door(20)
    door.enter(17)
    assert (door.admission.has_room(now=True), door.admission.has_room(now=False)) == (True, True)
    door.enter(1)
    assert (door.admission.has_room(now=True), door.admission.has_room(now=False)) == (True, False)
    door.enter(2)
    assert (door.admission.has_room(now=True), door.admission.has_room(now=False)) == (False, False)


async def test_a_limit_of_one_lets_one_in() -> None:
    door = Door(1)
    assert door.admission.has_room(now=False)
    door.enter(1)
    assert not door.admission.has_room(now=True)


async def test_what_was_let_in_counts_until_the_store_counts_it() -> None:
    door = Door(10)
    receipts = door.enter(4)
    await door.admission.count()
    assert door.admission.open == 4, "on their way"
    for receipt in receipts:
        await settle(receipt)
        await settle(receipt)
    assert door.admission.open == 4, "settled, and not counted yet"
    await door.open("a", "b", "c", "d")
    await door.admission.count()
    assert door.admission.open == 4, "counted by the store"
    await door.open("a", "b", "c", status=COMPLETED, n=2)
    await door.admission.count()
    assert door.admission.open == 1


async def test_one_that_settles_while_the_store_counts_is_not_lost() -> None:
    door = Door(10)
    (receipt,) = door.enter(1)

    async def settle_meanwhile(operation: str, moment: str) -> None:
        if moment == "after":
            await settle(receipt)

    door.store.hook = settle_meanwhile
    await door.admission.count()
    assert door.admission.open == 1


async def test_a_count_that_fails_changes_nothing() -> None:
    door = Door(10)
    for receipt in door.enter(3):
        await settle(receipt)

    async def away(operation: str, moment: str) -> None:
        raise StoreUnavailable("no server")

    door.store.hook = away
    with pytest.raises(StoreUnavailable):
        await door.admission.count()
    assert door.admission.open == 3


async def test_those_that_wait_are_let_in_first_come_first_served_as_there_is_room() -> None:
    door = Door(3)
    await door.open("a", "b")
    await door.admission.count()
    door.wait("x", "y", "z")
    assert not door.admission.has_room(now=False), "nobody overtakes those that wait"
    door.admission.let_in()
    assert (await door.taken(), door.admission.waiting) == (["x"], 2)
    await door.open("a", "b", status=COMPLETED, n=2)
    await door.admission.count()
    door.admission.let_in()
    assert (await door.taken(), door.admission.waiting) == (["y", "z"], 0)
    assert door.admission.open == 3


async def test_a_message_that_is_given_out_again_waits_once() -> None:
    door = Door(1)
    door.enter(1)
    door.wait("x", "y", "x")
    assert door.admission.waiting == 2


async def test_the_loop_counts_by_itself_and_lets_in_what_waits() -> None:
    door = Door(2)
    await door.open("a", "b")
    await door.admission.start()
    try:
        async with asyncio.timeout(20):
            while door.admission.open < 2:
                await asyncio.sleep(0.01)
            door.wait("x")
            await asyncio.sleep(0.2)
            assert await door.taken() == []
            await door.open("a", status=COMPLETED, n=2)
            await door.mailbox.something()
            assert await door.taken() == ["x"]
    finally:
        await door.admission.stop()


async def test_the_loop_survives_a_store_that_is_away() -> None:
    door = Door(2)
    failures = 3

    async def away_at_first(operation: str, moment: str) -> None:
        nonlocal failures
        if moment == "before" and failures:
            failures -= 1
            raise StoreUnavailable("no server")

    await door.open("a", "b")
    door.store.hook = away_at_first
    await door.admission.start()
    try:
        async with asyncio.timeout(20):
            while door.admission.open < 2:
                door.admission.refusal("x")
                await asyncio.sleep(0.01)
    finally:
        await door.admission.stop()
    assert failures == 0


async def test_a_refusal_says_when_to_come_back() -> None:
    door = Door(4)
    door.enter(4)
    refused = door.admission.refusal("x").refused
    assert (refused.code, refused.subject, refused.retry_after) == ("overloaded", "x", 60.0)
    for _ in range(4):
        door.admission.left()
    await door.admission.count()
    assert door.admission.refusal("x").refused.retry_after == 1.0, "four were done since, and two turned away"


async def test_stopping_forgets_what_waits() -> None:
    door = Door(1)
    door.enter(1)
    await door.admission.start()
    door.wait("x")
    await door.admission.stop()
    assert door.admission.waiting == 0


# ---- what exists already


async def test_known_are_executions_with_a_header() -> None:
    door = Door(1)
    await door.open("a")
    known = Known(door.store)
    assert [await known("a"), await known("b")] == [True, False]


async def test_questions_share_reads_of_the_store() -> None:
    door = Door(1)
    await door.open("a")
    known = Known(door.store)
    gate = asyncio.Event()

    async def slow(operation: str, moment: str) -> None:
        await gate.wait()

    door.store.hook = slow
    first = asyncio.create_task(known("a"))
    await asyncio.sleep(0)
    others = [asyncio.create_task(known(key)) for key in ["a", "b", "b", *(new_id() for _ in range(300))]]
    await asyncio.sleep(0.01)
    gate.set()
    answers = await asyncio.gather(first, *others)
    assert answers == [True, True, False, False, *[False] * 300]
    assert door.store.calls["read_headers"] <= 3


async def test_a_store_that_is_away_is_told_to_everyone_who_asked_and_the_next_may_succeed() -> None:
    door = Door(1)
    known = Known(door.store)

    async def away(operation: str, moment: str) -> None:
        raise StoreUnavailable("no server")

    door.store.hook = away
    answers = await asyncio.gather(*(known(key) for key in "abc"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    door.store.hook = None
    assert await known("a") is False
