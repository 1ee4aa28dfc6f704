"""Thousands of messages over every bus: each arrives once and as it was sent, and nobody holds more than was agreed."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence

import pytest

from contracts.topology import QueueKind
from services.runtime.bus.base import Bus, Delivery, Frame
from tests.support.buses import Inbox, World, frame

PATIENCE = 60.0
MESSAGES = 3_000
AT_ONCE = 100
SIZES = (0, 1, 100, 5_000, 70_000)


def body_of(number: int) -> bytes:
    """Bytes that tell which message it is, of sizes that differ and with every value a byte can have."""
    size = SIZES[number % len(SIZES)] if number % 100 == 0 else SIZES[number % 3]
    seed = hashlib.sha256(str(number).encode()).digest()
    return f"{number}:".encode() + (seed * (size // len(seed) + 1))[:size]


def message(world: World, number: int) -> Frame:
    made = frame(
        world.key(),
        type=f"test.kind{number % 7}.v1",
        message_id=f"{world.prefix}-{number}",
        correlation_id=f"correlation-{number}",
        reply_to="" if number % 2 else f"reply-{number}",
    )
    return Frame(
        made.address, body_of(number), made.type, made.message_id, made.correlation_id, made.reply_to, made.headers
    )


def told(delivery: Delivery) -> tuple[object, ...]:
    return (delivery.body, delivery.type, delivery.message_id, delivery.correlation_id, delivery.reply_to)


class Worker:
    """Holds each delivery for a turn or two of the loop, and notes how many it holds at once."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []
        self.first_times = 0
        self.holds = 0
        self.most = 0

    async def __call__(self, delivery: Delivery) -> None:
        self.holds += 1
        self.most = max(self.most, self.holds)
        self.first_times += delivery.redeliveries == 0
        self.seen.append(told(delivery))
        await asyncio.sleep(0)
        self.holds -= 1
        await delivery.ack()


async def publish(bus: Bus, sent: Sequence[Frame]) -> None:
    for i in range(0, len(sent), AT_ONCE):
        await bus.publish(sent[i : i + AT_ONCE])


@pytest.mark.parametrize("prefetches", [(1, 50), (10, 10, 200)], ids=str)
async def test_communication_throughput(world: World, prefetches: tuple[int, ...]) -> None:
    queue = world.queue(kind=QueueKind.WORK)
    workers = [Worker() for _ in prefetches]
    for worker, prefetch in zip(workers, prefetches, strict=True):
        bus = world.bus()
        bus.subscribe(queue, worker, prefetch=prefetch)
        await bus.start()
    senders = [await world.started() for _ in range(2)]

    sent = [message(world, number) for number in range(MESSAGES)]
    await asyncio.gather(*(publish(sender, sent[i :: len(senders)]) for i, sender in enumerate(senders)))

    async with asyncio.timeout(PATIENCE):
        while sum(len(worker.seen) for worker in workers) < MESSAGES:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # for what should not come

    arrived = Counter(one for worker in workers for one in worker.seen)
    assert arrived == Counter((one.body, one.type, one.message_id, one.correlation_id, one.reply_to) for one in sent), (
        "each once, and as it was sent"
    )
    assert sum(worker.first_times for worker in workers) == MESSAGES
    for worker, prefetch in zip(workers, prefetches, strict=True):
        assert 1 <= worker.most <= prefetch, "every worker has a share, and never holds more than its prefetch"
    assert all(worker.holds == 0 for worker in workers)


async def test_communication_throughput_of_broadcasts(world: World) -> None:
    """Every subscriber has every event, once."""
    inboxes = [Inbox() for _ in range(3)]
    for number, inbox in enumerate(inboxes):
        bus = world.bus()
        feed = world.queue(f"feed{number}", world.event("thing.*"), kind=QueueKind.BROADCAST, delivery_limit=None)
        bus.subscribe(feed, inbox, prefetch=100)
        await bus.start()
    sender = await world.started()
    await publish(sender, [frame(world.event("thing.happened"), str(n)) for n in range(1_000)])
    for inbox in inboxes:
        await inbox.wait_for(1_000)
        assert sorted(map(int, inbox.bodies)) == list(range(1_000))


async def test_communication_throughput_with_a_consumer_that_stops_half_way(world: World) -> None:
    """What a consumer holds when it goes is given to the others: everything is handled, twice at most where it went."""
    queue = world.queue()
    done: list[bytes] = []
    held: list[Delivery] = []

    async def hold(delivery: Delivery) -> None:
        held.append(delivery)

    async def work(delivery: Delivery) -> None:
        done.append(delivery.body)
        await delivery.ack()

    leaving = world.bus()
    leaving.subscribe(queue, hold, prefetch=100)
    await leaving.start()
    sender = await world.started()
    await publish(sender, [frame(world.key(), str(number)) for number in range(2_000)])
    async with asyncio.timeout(PATIENCE):
        while len(held) < 100:
            await asyncio.sleep(0.01)
    staying = world.bus()
    staying.subscribe(queue, work, prefetch=100)
    await staying.start()
    async with asyncio.timeout(PATIENCE):
        while len(done) < 1_900:
            await asyncio.sleep(0.01)
    assert len(held) == 100, "prefetch is honoured however long the queue is"
    await leaving.stop_consuming()
    await leaving.close()
    async with asyncio.timeout(PATIENCE):
        while len(done) < 2_000:
            await asyncio.sleep(0.01)
    assert sorted(map(int, done)) == list(range(2_000))
