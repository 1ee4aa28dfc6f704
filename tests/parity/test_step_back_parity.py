"""Giving others a turn with a queue of which one consumer at a time is active."""

import asyncio

import pytest

from contracts.topology import Queue, QueueKind
from services.runtime.bus.base import Bus
from tests.support.buses import PATIENCE, Inbox, World, frame, frames, hold

ALSO_SIGNED = True


@pytest.fixture
def queue(world: World) -> Queue:
    return world.queue("shard", kind=QueueKind.SINGLE)


async def subscribed(world: World, queue: Queue, inbox: Inbox, prefetch: int = 10) -> Bus:
    bus = world.bus()
    bus.subscribe(queue, inbox, prefetch=prefetch)
    await bus.start()
    return bus


async def test_the_next_in_line_has_the_messages_then(world: World, queue: Queue) -> None:
    inboxes = [Inbox(), Inbox(), Inbox()]
    line = [await subscribed(world, queue, inbox) for inbox in inboxes]
    for turn in range(7):
        await line[2].publish(frames(world.key("shard"), 5, f"{turn}."))
        await inboxes[turn % 3].wait_for(5 * (turn // 3 + 1))
        await line[turn % 3].step_back(queue)
        assert [bus.not_consuming() for bus in line] == [()] * 3
    taken = [[f"{turn}.{number}" for turn in turns for number in range(5)] for turns in ((0, 3, 6), (1, 4), (2, 5))]
    assert [inbox.bodies for inbox in inboxes] == taken
    assert {delivery.redeliveries for inbox in inboxes for delivery in inbox.deliveries} == {0}


async def test_one_that_stands_by_goes_to_the_end_of_the_line_too(world: World, queue: Queue) -> None:
    inboxes = [Inbox(), Inbox(), Inbox()]
    line = [await subscribed(world, queue, inbox) for inbox in inboxes]
    await line[1].step_back(queue)
    await line[0].step_back(queue)
    await line[0].publish([frame(world.key("shard"), "1")])
    await inboxes[2].wait_for(1)
    assert [len(inbox.deliveries) for inbox in inboxes] == [0, 0, 1]


async def test_who_is_alone_goes_on(world: World, queue: Queue) -> None:
    inbox = Inbox()
    bus = await subscribed(world, queue, inbox)
    for turn in range(1, 4):
        await bus.step_back(queue)
        assert bus.not_consuming() == ()
        await bus.publish(frames(world.key("shard"), 30))
        await inbox.wait_for(30 * turn)
    assert set(inbox.counts.values()) == {3}


async def test_what_is_in_hand_stays_there_until_it_is_settled(world: World, queue: Queue) -> None:
    first, second = Inbox(hold), Inbox()
    bus = await subscribed(world, queue, first, prefetch=5)
    other = await subscribed(world, queue, second)
    await bus.publish(frames(world.key("shard"), 8))
    held = await first.wait_for(5)
    await bus.step_back(queue)
    await second.wait_for(3)
    assert second.bodies == ["5", "6", "7"]

    for delivery in held[:4]:
        await delivery.ack()
    await held[4].retry()
    await second.wait_for(4)
    await bus.close()
    await other.publish([frame(world.key("shard"), "last")])
    await second.wait_for(5)
    assert second.bodies == ["5", "6", "7", "4", "last"]
    assert [delivery.redeliveries for delivery in second.deliveries] == [0, 0, 0, 1, 0]


async def test_a_full_consumer_takes_more_when_its_turn_comes_again(world: World, queue: Queue) -> None:
    first, second = Inbox(hold), Inbox()
    bus = await subscribed(world, queue, first, prefetch=2)
    other = await subscribed(world, queue, second)
    await bus.publish(frames(world.key("shard"), 2))
    held = await first.wait_for(2)
    await bus.step_back(queue)
    await bus.publish(frames(world.key("shard"), 2, "second "))
    await second.wait_for(2)
    await other.step_back(queue)
    for delivery in held:
        await delivery.ack()
    await bus.publish(frames(world.key("shard"), 2, "again "))
    await first.wait_for(4)
    assert first.bodies == ["0", "1", "again 0", "again 1"]


async def test_nothing_is_lost_when_turns_change_under_load(world: World, queue: Queue) -> None:
    inboxes = [Inbox(), Inbox()]
    line = [await subscribed(world, queue, inbox, prefetch=50) for inbox in inboxes]
    publisher = await world.started()
    missing: set[str] = set()
    over = asyncio.Event()

    async def publish() -> None:
        for round_ in range(40):
            await publisher.publish(frames(world.key("shard"), 20, f"{round_}."))

    async def watch() -> None:
        while not over.is_set():
            missing.update(name for bus in line for name in bus.not_consuming())
            await asyncio.sleep(0)

    async def take_turns() -> None:
        for turn in range(8):
            await line[turn % 2].step_back(queue)

    watching = asyncio.create_task(watch())
    await asyncio.gather(publish(), take_turns())
    sent = {f"{round_}.{number}" for round_ in range(40) for number in range(20)}
    async with asyncio.timeout(PATIENCE):
        while inboxes[0].counts.keys() | inboxes[1].counts.keys() != sent:
            await asyncio.sleep(0.02)
    over.set()
    await watching
    assert missing == set()
    deliveries = [delivery for inbox in inboxes for delivery in inbox.deliveries]
    firsts = [delivery for delivery in deliveries if delivery.redeliveries == 0]
    assert len({delivery.body for delivery in firsts}) == len(firsts), "twice only as a redelivery"


@pytest.mark.parametrize("stops_first", [False, True])
async def test_who_stops_meanwhile_is_out_of_the_line(world: World, queue: Queue, stops_first: bool) -> None:
    first, second = Inbox(), Inbox()
    bus = await subscribed(world, queue, first)
    other = await subscribed(world, queue, second)
    both = [bus.stop_consuming, lambda: bus.step_back(queue)]
    await asyncio.gather(*(one() for one in (both if stops_first else both[::-1])))
    for turn in range(1, 4):
        await other.publish(frames(world.key("shard"), 5))
        await second.wait_for(5 * turn)
        await other.step_back(queue)
    assert first.bodies == []


async def test_where_nothing_is_taken_nothing_is_done(world: World, queue: Queue) -> None:
    inbox = Inbox()
    bus = await world.started()
    await bus.step_back(queue)
    await bus.declare(queue)
    await bus.step_back(queue)
    await bus.publish([frame(world.key("shard"))])
    subscription = bus.subscribe(queue, inbox, prefetch=1)
    await bus.step_back(queue)
    await subscription.start()
    await inbox.wait_for(1)
    await subscription.stop()
    await bus.step_back(queue)
    assert bus.not_consuming() == ()
    await bus.close()
    await bus.step_back(queue)
