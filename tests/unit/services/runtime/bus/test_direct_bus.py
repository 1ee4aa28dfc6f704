"""What is the direct bus's own; what it shares with the others is in tests/parity."""

import asyncio
from collections import Counter

from contracts import topology
from contracts.topology import Queue
from services.runtime.bus.base import Delivery
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from tests.support.buses import Inbox, frame, frames

KEY = topology.command("work")
QUEUE = Queue("work", (KEY,))


async def test_a_handler_never_runs_inside_publish() -> None:
    """A publish that called handlers would nest here until the stack overflows."""
    depth = deepest = 0

    async def pass_on(delivery: Delivery) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        number = int(delivery.body)
        if number < 5_000:
            await bus.publish([frame(KEY, str(number + 1))])
        depth -= 1
        await delivery.ack()

    bus, inbox = DirectBus(DirectBroker()), Inbox(pass_on)
    bus.subscribe(QUEUE, inbox, prefetch=1)
    await bus.start()
    await bus.publish([frame(KEY, "0")])
    await inbox.wait_for(5_001)
    assert deepest == 1


async def test_consumers_get_their_turn_while_somebody_publishes_without_a_pause() -> None:
    bus, inbox = DirectBus(DirectBroker()), Inbox()
    bus.subscribe(QUEUE, inbox, prefetch=1)
    await bus.start()
    for number in range(1_000):
        await bus.publish([frame(KEY, str(number))])
    assert len(inbox.deliveries) > 300


async def test_tens_of_thousands_of_messages() -> None:
    broker = DirectBroker()
    inbox = Inbox()
    for _ in range(4):
        bus = DirectBus(broker)
        bus.subscribe(QUEUE, inbox, prefetch=100)
        await bus.start()
    for batch in range(50):
        await bus.publish(frames(KEY, 500, prefix=f"{batch}."))
    await inbox.wait_for(25_000)
    assert max(inbox.counts.values()) == 1
    assert len(inbox.counts) == 25_000


async def test_two_brokers_know_nothing_of_each_other() -> None:
    here, there = Inbox(), Inbox()
    for inbox in (here, there):
        bus = DirectBus(DirectBroker())
        bus.subscribe(QUEUE, inbox, prefetch=1)
        await bus.start()
    await bus.publish([frame(KEY)])
    await there.wait_for(1)
    assert here.deliveries == []


async def test_a_dead_letter_that_nobody_takes_yet_is_kept() -> None:
    async def fail(_: Delivery) -> None:
        raise ValueError("poison")

    address = topology.dead("crashed.worker")
    bus, inbox, graves = DirectBus(DirectBroker()), Inbox(fail), Inbox()
    bus.subscribe(Queue("work", (KEY,), delivery_limit=1, dead_letter=address), inbox, prefetch=1)
    await bus.start()
    await bus.publish([frame(KEY, "a"), frame(KEY, "b")])
    await inbox.wait_for(4)
    await bus.subscribe(Queue("graves", (address,)), graves, prefetch=1).start()
    await graves.wait_for(2)
    assert graves.bodies == ["a", "b"]


async def test_closing_inside_a_handler_gives_its_message_back() -> None:
    broker = DirectBroker()
    left = asyncio.Event()

    async def leave(_: Delivery) -> None:
        await bus.stop_consuming()
        await bus.close()
        left.set()

    bus = DirectBus(broker)
    bus.subscribe(QUEUE, leave, prefetch=5)
    await bus.start()
    await bus.publish([frame(KEY)])
    await asyncio.wait_for(left.wait(), 5)

    after, inbox = DirectBus(broker), Inbox()
    after.subscribe(QUEUE, inbox, prefetch=5)
    await after.start()
    (delivery,) = await inbox.wait_for(1)
    assert delivery.redeliveries == 1


async def test_two_consumers_of_a_closing_bus_do_not_hand_messages_to_each_other() -> None:
    broker = DirectBroker()
    bus, held = DirectBus(broker), Inbox(lambda _: asyncio.sleep(0))
    for _ in range(2):
        bus.subscribe(QUEUE, held, prefetch=5)
    await bus.start()
    await bus.publish(frames(KEY, 10))
    await held.wait_for(10)
    await bus.close()

    after, inbox = DirectBus(broker), Inbox()
    after.subscribe(QUEUE, inbox, prefetch=20)
    await after.start()
    await inbox.wait_for(10)
    assert Counter(delivery.redeliveries for delivery in inbox.deliveries) == {1: 10}
