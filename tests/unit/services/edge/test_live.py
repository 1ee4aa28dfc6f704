"""Following an execution live: nothing lost, nothing twice, whatever becomes of the broadcast."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, cast

import pytest

from contracts.envelope import wrap
from contracts.execution import ExecutionsAdvanced
from contracts.history import (
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    LogEntry,
    StepDispatched,
    StepSucceeded,
)
from services.edge.live import WAITING_BYTES, WAITING_ENTRIES, Follower, LiveFeed
from services.runtime.bus.base import Delivery
from services.runtime.service import Received
from services.runtime.store.base import StoreUnavailable
from tests.support.memory_store import MemoryStore

PATIENCE = 20.0
LONG = 3600.0


def entry(n: int, execution_id: str = "exec-1", *, last: bool = False) -> LogEntry:
    event: Event
    if n == 1:
        event = ExecutionStarted(definition_hash="d", request_hash="r", workflow_name="test")
    elif last:
        event = ExecutionEnded(status=ExecutionStatus.COMPLETED)
    else:
        event = StepSucceeded(step=f"s{n}", attempt=1, output=n)
    return LogEntry(execution_id=execution_id, n=n, at=float(n), applied=(f"m{n}",), events=(event,))


def entries(count: int, execution_id: str = "exec-1") -> list[LogEntry]:
    """A whole log."""
    return [entry(n, execution_id, last=n == count) for n in range(1, count + 1)]


@dataclass
class Arrived:
    """A delivery, as far as the feed looks at it."""

    body: bytes


async def broadcast(feed: LiveFeed, *some: LogEntry) -> None:
    envelope = wrap(ExecutionsAdvanced(entries=some), sender="orchestrator")
    delivery = Arrived(envelope.model_dump_json().encode())
    assert list(await feed.advanced(Received(envelope, cast(Delivery, delivery)))) == []


class Reader:
    """A client: collects what it is given, in a task of its own."""

    def __init__(self, feed: LiveFeed, execution_id: str, position: int, first: Sequence[LogEntry]) -> None:
        self.numbers: list[int] = []
        self.may_read = asyncio.Event()
        self.may_read.set()
        self._stack = AsyncExitStack()
        self.follower = self._stack.enter_context(feed.following(execution_id, position))
        self.task = asyncio.create_task(self._read(feed, first))

    async def _read(self, feed: LiveFeed, first: Sequence[LogEntry]) -> None:
        async with self._stack:
            async for one in feed.entries(self.follower, first):
                self.numbers.append(one.n)
                await self.may_read.wait()

    async def ended(self) -> list[int]:
        async with asyncio.timeout(PATIENCE):
            await self.task
        return self.numbers

    async def has(self, count: int) -> list[int]:
        await until(lambda: len(self.numbers) >= count)
        return list(self.numbers)

    async def idle(self) -> None:
        await until(lambda: self.follower.idle)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if reached():
                return
            await asyncio.sleep(0)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def feed(store: MemoryStore) -> AsyncIterator[LiveFeed]:
    """A feed that never polls by itself while a test lasts."""
    made = LiveFeed(store, poll_seconds=LONG)
    await made.start()
    yield made
    await made.stop()


async def test_the_log_first_and_then_live(feed: LiveFeed, store: MemoryStore) -> None:
    log = entries(6)
    reader = Reader(feed, "exec-1", 0, log[:3])
    assert await reader.has(3) == [1, 2, 3]
    await reader.idle()
    for one in log[3:]:
        await broadcast(feed, one)
    assert await reader.ended() == [1, 2, 3, 4, 5, 6]
    assert store.calls["read_log"] == 0, "what was broadcast need not be read"
    assert feed.followers == 0


async def test_a_broadcast_during_the_first_read_is_neither_lost_nor_doubled(feed: LiveFeed) -> None:
    log = entries(4)
    reader = Reader(feed, "exec-1", 0, log[:3])
    await broadcast(feed, *log[1:])  # it has not read a thing yet
    assert await reader.ended() == [1, 2, 3, 4]


async def test_only_the_followed_execution_is_offered(feed: LiveFeed) -> None:
    reader = Reader(feed, "exec-1", 0, entries(3)[:1])
    await reader.idle()
    await broadcast(feed, *entries(3, "exec-2"))
    await broadcast(feed, entry(2), entry(3, last=True))
    assert await reader.ended() == [1, 2, 3]


async def test_a_gap_is_filled_from_the_log(feed: LiveFeed, store: MemoryStore) -> None:
    log = entries(6)
    for one in log:
        await store.append([one])
    reader = Reader(feed, "exec-1", 0, log[:2])
    await reader.idle()
    await broadcast(feed, log[4])  # 3 and 4 were lost
    assert await reader.ended() == [1, 2, 3, 4, 5, 6]
    assert store.calls["read_log"] == 1


@pytest.mark.parametrize("seed", range(20))
async def test_any_order_losses_and_repetitions(seed: int, store: MemoryStore) -> None:
    """Broadcasts are shuffled, lost and doubled; the log is appended to before each. Every client sees it all."""
    chance = random.Random(seed)
    feed = LiveFeed(store, poll_seconds=0.01)
    await feed.start()
    log = entries(40)
    await store.append(log[:1])
    readers = [Reader(feed, "exec-1", 0, log[:1]) for _ in range(5)]
    late: list[LogEntry] = []
    for one in log[1:]:
        await store.append([one])
        late.append(one)
        if chance.random() < 0.5:
            chance.shuffle(late)
            await broadcast(feed, *[x for x in late if chance.random() < 0.7], *late[:1])
            late = late[: chance.randrange(3)]
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    for reader in readers:
        assert await reader.ended() == list(range(1, 41))
    await feed.stop()


async def test_a_broadcast_that_nothing_follows_is_found_by_the_poll(store: MemoryStore) -> None:
    feed = LiveFeed(store, poll_seconds=0.01)
    await feed.start()
    log = entries(3)
    reader = Reader(feed, "exec-1", 0, log[:1])
    await reader.idle()
    for one in log:
        await store.append([one])
    assert await reader.ended() == [1, 2, 3]
    await feed.stop()


async def test_one_poll_reads_for_everyone(store: MemoryStore) -> None:
    asked: list[int] = []

    async def watch(operation: str, moment: str) -> None:
        if operation == "read_log" and moment == "before":
            asked.append(1)

    feed = LiveFeed(store, poll_seconds=0.01)
    readers = [Reader(feed, f"exec-{i}", 0, [entry(1, f"exec-{i}")]) for i in range(50)]
    for reader in readers:
        await reader.idle()
    store.hook = watch
    await feed._find_missed()
    assert len(asked) == 1
    await feed.stop()
    for reader in readers:
        assert await reader.ended() == [1]


async def test_the_poll_reads_for_whoever_is_furthest_behind(store: MemoryStore) -> None:
    feed = LiveFeed(store, poll_seconds=0.01)
    log = entries(3)
    for one in log[:2]:
        await store.append([one])
    ahead = Reader(feed, "exec-1", 0, log[:2])
    behind = Reader(feed, "exec-1", 0, log[:1])
    await ahead.idle()
    await behind.idle()
    await feed.start()
    assert await behind.has(2) == [1, 2]
    await store.append([log[2]])
    assert await behind.ended() == await ahead.ended() == [1, 2, 3]
    await feed.stop()


async def test_a_poll_that_fails_is_followed_by_another(store: MemoryStore) -> None:
    failures = iter([StoreUnavailable("away"), RuntimeError("a bug"), TimeoutError()])

    async def fail(operation: str, moment: str) -> None:
        error = next(failures, None)
        if error is not None and moment == "before":
            raise error

    feed = LiveFeed(store, poll_seconds=0.001)
    await feed.start()
    reader = Reader(feed, "exec-1", 0, entries(2)[:1])
    await reader.idle()
    for one in entries(2):
        await store.append([one])
    store.hook = fail
    assert await reader.ended() == [1, 2]
    assert next(failures, "none left") == "none left"
    await feed.stop()


async def test_a_stream_waits_for_a_store_that_is_away(store: MemoryStore) -> None:
    feed = LiveFeed(store, poll_seconds=0.001)
    log = entries(5)
    for one in log:
        await store.append([one])
    refused = 0

    async def away(operation: str, moment: str) -> None:
        nonlocal refused
        if moment == "before" and refused < 3:
            refused += 1
            raise StoreUnavailable("away")

    store.hook = away
    reader = Reader(feed, "exec-1", 0, log[:1])
    await reader.idle()
    await broadcast(feed, log[3])
    assert await reader.ended() == [1, 2, 3, 4, 5]
    assert refused == 3
    await feed.stop()


async def test_a_slow_client_is_read_for_instead_of_queued_for(feed: LiveFeed, store: MemoryStore) -> None:
    count = WAITING_ENTRIES * 4
    log = entries(count)
    reader = Reader(feed, "exec-1", 0, log[:1])
    reader.may_read.clear()
    await reader.has(1)
    for one in log:
        await store.append([one])
        await broadcast(feed, one)
    assert len(reader.follower._waiting) == WAITING_ENTRIES
    reader.may_read.set()
    assert await reader.ended() == list(range(1, count + 1))
    assert store.calls["read_log"] == 1


def test_what_waits_is_bounded_in_bytes_too() -> None:
    follower = Follower("exec-1", 0)
    follower.offer(entry(1), WAITING_BYTES - 10)
    follower.offer(entry(2), 11)
    follower.offer(entry(3), WAITING_BYTES + 1)
    assert list(follower._waiting) == [1]
    assert follower.take() is None, "the rest has to be read"
    follower.offer(entry(1), WAITING_BYTES)
    taken = follower.take()
    assert taken is not None, "what was taken makes room again"
    assert [one.n for one in taken] == [1]


def test_what_was_given_before_takes_no_room() -> None:
    follower = Follower("exec-1", 5)
    for n in range(1, 6):
        follower.offer(entry(n), WAITING_BYTES)
    follower.offer(entry(6), WAITING_BYTES)
    taken = follower.take()
    assert taken is not None
    assert [one.n for one in taken] == [6]


def test_take_gives_what_follows_without_a_gap() -> None:
    follower = Follower("exec-1", 3)
    for n in (5, 4, 2, 4, 3, 6):
        follower.offer(entry(n), 100)
    taken = follower.take()
    assert taken is not None
    assert [one.n for one in taken] == [4, 5, 6]
    assert follower.take() == []
    follower.offer(entry(5), 100)
    assert follower.take() is None


async def test_stopping_ends_every_stream(store: MemoryStore) -> None:
    feed = LiveFeed(store, poll_seconds=LONG)
    await feed.start()
    readers = [Reader(feed, "exec-1", 0, entries(5)[:2]) for _ in range(3)]
    for reader in readers:
        await reader.idle()
    assert feed.followers == 3
    await feed.stop()
    for reader in readers:
        assert await reader.ended() == [1, 2]
    assert feed.followers == 0


async def test_a_client_that_goes_away_is_forgotten(feed: LiveFeed) -> None:
    reader = Reader(feed, "exec-1", 0, entries(5)[:2])
    await reader.idle()
    reader.task.cancel()
    await asyncio.gather(reader.task, return_exceptions=True)
    assert feed.followers == 0
    assert not feed._followers, "nothing is kept of it"
    await broadcast(feed, entry(3))
    assert not feed._followers


async def test_events_of_one_entry_stay_together(feed: LiveFeed) -> None:
    events: tuple[Any, ...] = (
        StepSucceeded(step="a", attempt=1),
        StepDispatched(step="b", attempt=1, deadline=1.0),
        ExecutionEnded(status=ExecutionStatus.FAILED),
    )
    with feed.following("exec-1", 1) as follower:
        last = LogEntry(execution_id="exec-1", n=2, at=1.0, applied=("m",), events=events)
        seen = [one async for one in feed.entries(follower, [last])]
    assert seen == [last]
