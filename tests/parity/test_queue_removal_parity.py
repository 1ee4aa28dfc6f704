"""A queue that nobody takes from any more is emptied into somebody's hands and goes, on every bus."""

import pytest

from contracts.topology import QueueKind
from services.runtime.bus.base import BusUnavailable, Delivery, UnroutableMessage
from tests.support.buses import Inbox, World, frame, frames, headers_set, hold

KINDS = pytest.mark.parametrize("kind", [QueueKind.WORK, QueueKind.SINGLE])

ALSO_SIGNED = True


async def keep(_: Delivery) -> None:
    raise AssertionError("nothing is left in it")


@KINDS
async def test_what_is_left_is_handed_over_in_order_and_nothing_new_comes(world: World, kind: QueueKind) -> None:
    bus, left = await world.started(), Inbox()
    queue = world.queue("work", world.key(), world.key("other.*"), kind=kind)
    await bus.declare(queue)
    await bus.publish(
        [*frames(world.key(), 25), frame(world.key("other.one"), "last", message_id="m", headers={"a": "b"})]
    )
    await bus.remove(queue, left)
    assert left.bodies == [*(str(number) for number in range(25)), "last"]
    last = left.deliveries[-1]
    assert (last.message_id, last.routing_key, headers_set(last)) == ("m", world.name("other.one"), {"a": "b"})
    assert (last.queue, last.type) == (queue.name, "test.message.v1")
    for key in ("work", "other.one"):
        with pytest.raises(UnroutableMessage):
            await bus.publish([frame(world.key(key))])


async def test_a_queue_that_is_not_there_is_no_error(world: World) -> None:
    bus = await world.started()
    await bus.remove(world.queue("never"), keep)
    queue = world.queue()
    await bus.declare(queue)
    await bus.remove(queue, keep)
    await bus.remove(queue, keep)
    await bus.declare(world.queue("another"))  # and the bus still works


@KINDS
async def test_what_a_failing_receiver_did_not_get_stays(world: World, kind: QueueKind) -> None:
    bus, left = await world.started(), Inbox()
    queue = world.queue(kind=kind)
    await bus.declare(queue)
    await bus.publish(frames(world.key(), 5))

    async def fail_at_two(delivery: Delivery) -> None:
        if delivery.body == b"2":
            raise ValueError("the third")
        await left(delivery)

    with pytest.raises(ValueError, match="the third"):
        await bus.remove(queue, fail_at_two)
    assert left.bodies == ["0", "1"]
    with pytest.raises(UnroutableMessage):
        await bus.publish([frame(world.key())])
    await bus.remove(queue, left)
    assert left.bodies == ["0", "1", "2", "3", "4"]
    assert [delivery.redeliveries for delivery in left.deliveries] == [0, 0, 1, 0, 0]


@KINDS
async def test_a_removed_queue_can_be_declared_again(world: World, kind: QueueKind) -> None:
    bus, inbox = await world.started(), Inbox()
    queue = world.queue(kind=kind)
    for round_ in ("first", "second"):
        await bus.declare(queue)
        await bus.publish([frame(world.key(), round_)])
        await bus.remove(queue, inbox)
    assert inbox.bodies == ["first", "second"]
    subscription = bus.subscribe(queue, inbox, prefetch=5)
    await subscription.start()
    await bus.publish([frame(world.key(), "taken")])
    await inbox.wait_for(3)
    assert inbox.bodies == ["first", "second", "taken"]


async def test_a_queue_may_be_declared_with_other_settings_once_it_was_removed(world: World) -> None:
    bus, inbox = await world.started(), Inbox()
    await bus.declare(world.queue(delivery_limit=3))
    await bus.remove(world.queue(delivery_limit=3), keep)
    await bus.declare(world.queue(delivery_limit=7))
    await bus.publish([frame(world.key(), "arrives")])
    await bus.remove(world.queue(delivery_limit=7), inbox)
    assert inbox.bodies == ["arrives"]


async def test_what_is_left_can_become_dead_letters(world: World) -> None:
    async def bury(delivery: Delivery) -> None:
        await delivery.dead_letter(world.name("removed"), "its agent is gone")

    bus, graves = world.bus(), Inbox()
    bus.subscribe(world.queue("graves", world.dead("removed")), graves, prefetch=10)
    await bus.start()
    queue = world.queue()
    await bus.declare(queue)
    await bus.publish(frames(world.key(), 3))
    await bus.remove(queue, bury)
    await graves.wait_for(3)
    assert graves.bodies == ["0", "1", "2"]
    assert {delivery.headers["x-conclave-queue"] for delivery in graves.deliveries} == {queue.name}


async def test_what_the_receiver_does_not_settle_is_gone_too(world: World) -> None:
    bus, left = await world.started(), Inbox(hold)
    queue = world.queue()
    await bus.declare(queue)
    await bus.publish(frames(world.key(), 3))
    await bus.remove(queue, left)
    assert left.bodies == ["0", "1", "2"]
    for delivery in left.deliveries:  # and settling it later does nothing
        await delivery.ack()
        await delivery.retry()
    await bus.declare(queue)
    await bus.remove(queue, keep)


async def test_what_a_consumer_left_behind_is_handed_over(world: World) -> None:
    queue = world.queue(kind=QueueKind.SINGLE)
    gone, held = world.bus(), Inbox(hold)
    gone.subscribe(queue, held, prefetch=2)
    await gone.start()
    await gone.publish(frames(world.key(), 4))
    await held.wait_for(2)
    await gone.close()
    bus, left = await world.started(), Inbox()
    await bus.remove(queue, left)
    assert left.bodies == ["0", "1", "2", "3"]
    assert [delivery.redeliveries for delivery in left.deliveries] == [1, 1, 0, 0]


async def test_a_subscription_that_ended_does_not_bring_its_queue_back(world: World) -> None:
    bus, inbox, left = await world.started(), Inbox(), Inbox()
    queue = world.queue()
    subscription = bus.subscribe(queue, inbox, prefetch=5)
    await subscription.start()
    await bus.publish([frame(world.key(), "taken")])
    await inbox.wait_for(1)
    await subscription.stop()
    await bus.publish([frame(world.key(), "left")])
    await bus.remove(queue, left)
    assert (inbox.bodies, left.bodies) == (["taken"], ["left"])
    with pytest.raises(UnroutableMessage):
        await bus.publish([frame(world.key())])


async def test_removing_needs_a_connection(world: World) -> None:
    with pytest.raises(BusUnavailable):
        await world.bus().remove(world.queue(), keep)
