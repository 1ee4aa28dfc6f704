"""What every bus does with messages that go well: who gets them, how often and in which order."""

import asyncio
from itertools import pairwise

import pytest

from contracts import topology
from contracts.topology import Address, QueueKind
from services.runtime.bus.base import BusError, BusUnavailable, Delivery, UnroutableMessage
from tests.support.buses import Inbox, World, frame, frames, headers_set, hold

ALSO_SIGNED = True


async def test_communication_initialization(world: World) -> None:
    bus = world.bus()
    assert not bus.connected
    with pytest.raises(BusUnavailable):
        await bus.publish([frame(topology.event("anything"))])
    await bus.start()
    assert bus.connected
    # The dead letters exist from the start: publishing to them is not unroutable.
    for reason in topology.DEAD_LETTER_REASONS:
        await bus.publish([frame(topology.dead(reason))])
    await bus.close()
    assert not bus.connected
    with pytest.raises(BusUnavailable):
        await bus.publish([frame(topology.event("anything"))])


async def test_message_delivery(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    sent = frame(
        world.key(),
        '{"größe": "ß"}',
        type="step.run.v1",
        message_id="m1",
        correlation_id="c1",
        reply_to="reply.here",
        headers={"trace": "abc", "name": "Zoë"},
    )
    await bus.publish([sent])
    (got,) = await inbox.wait_for(1)
    assert got.body == sent.body
    assert (got.type, got.message_id, got.correlation_id, got.reply_to) == ("step.run.v1", "m1", "c1", "reply.here")
    assert headers_set(got) == {"trace": "abc", "name": "Zoë"}
    assert (got.queue, got.routing_key) == (world.name("work"), world.name("work"))
    assert (got.redeliveries, got.died_in) == (0, "")


async def test_empty_fields_arrive_empty(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key(), "", type="", message_id="m")])
    (got,) = await inbox.wait_for(1)
    assert (got.body, got.type, got.correlation_id, got.reply_to, headers_set(got)) == (b"", "", "", "", {})


async def test_handler_registration(world: World) -> None:
    bus, early, late = world.bus(), Inbox(), Inbox()
    bus.subscribe(world.queue("early"), early, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key("early"), "1")])
    await early.wait_for(1)

    subscription = bus.subscribe(world.queue("late"), late, prefetch=10)
    with pytest.raises(UnroutableMessage):
        await bus.publish([frame(world.key("late"), "too soon")])
    await subscription.start()
    await subscription.start()  # twice is once
    await bus.publish([frame(world.key("late"), "2")])
    await late.wait_for(1)
    assert (early.bodies, late.bodies) == (["1"], ["2"])

    await subscription.stop()
    await subscription.stop()
    await bus.publish([frame(world.key("late"), "3")])
    await subscription.start()
    await late.wait_for(2)
    assert late.bodies == ["2", "3"]


async def test_what_the_first_message_causes_finds_every_queue(world: World) -> None:
    """What waits in a service's first queue is taken while the service still begins with its last."""
    names = [f"taken{i}" for i in range(8)]
    setup = world.bus()
    await setup.start()
    await setup.declare(world.queue("first"))
    await setup.publish([frame(world.key("first"), "caused")])
    bus, inbox, faults = world.bus(), Inbox(), list[Exception]()

    async def cause(delivery: Delivery) -> None:
        try:
            await bus.publish([frame(world.key(name), name) for name in (*names, "declared")])
        except UnroutableMessage as error:
            faults.append(error)
        await delivery.ack()

    bus.subscribe(world.queue("first"), cause, prefetch=1)
    for name in names:
        bus.subscribe(world.queue(name), inbox, prefetch=1)
    await bus.start([world.queue("declared")])
    await inbox.wait_for(len(names))
    assert not faults
    assert sorted(inbox.bodies) == names
    assert (await bus.measure([world.queue("declared")]))[world.name("declared")].ready == 1


async def test_a_subscription_cannot_start_before_its_bus(world: World) -> None:
    with pytest.raises(BusUnavailable):
        await world.bus().subscribe(world.queue(), Inbox(), prefetch=1).start()


@pytest.mark.parametrize(
    ("pattern", "taken", "not_taken"),
    [
        ("a.b", ["a.b"], ["a", "a.c", "a.b.c", "x.a.b"]),
        ("a.*", ["a.b", "a.c"], ["a", "a.b.c", "b.a"]),
        ("*.b", ["a.b", "x.b"], ["b", "a.x.b"]),
        ("a.*.c", ["a.b.c"], ["a.c", "a.b.b.c"]),
        ("#", ["a", "a.b", "a.b.c"], []),
        ("a.#", ["a", "a.b", "a.b.c"], ["b", "ab"]),
        ("#.c", ["c", "a.c", "a.b.c"], ["a", "c.a"]),
        ("a.#.c", ["a.c", "a.b.c", "a.b.b.c", "a.c.c"], ["a", "c", "a.c.b", "b.a.c"]),
        ("*.#", ["a", "a.b"], []),
        ("#.*.c", ["a.c", "a.b.c"], ["c"]),
        ("a.#.b.#", ["a.b", "a.x.b.y", "a.b.b"], ["a", "a.x"]),
        ("a*", [], ["a", "ab", "a.b"]),
    ],
)
async def test_topic_wildcards(world: World, pattern: str, taken: list[str], not_taken: list[str]) -> None:
    """``*`` is exactly one word, ``#`` any number of them; other queues must not hear it."""
    bus, inbox, other = world.bus(), Inbox(), Inbox()
    end = world.event("the-end")
    bus.subscribe(world.queue("feed", world.event(pattern), end, kind=QueueKind.BROADCAST), inbox, prefetch=100)
    bus.subscribe(world.queue("other", world.event("nothing"), end, kind=QueueKind.BROADCAST), other, prefetch=100)
    await bus.start()
    await bus.publish([frame(world.event(key), key) for key in [*taken, *not_taken]])
    await bus.publish([frame(end, "the-end")])
    await inbox.wait_until(lambda: "the-end" in inbox.bodies)
    await other.wait_until(lambda: "the-end" in other.bodies)
    assert sorted(inbox.bodies) == sorted([*taken, "the-end"])
    assert other.bodies == ["the-end"]


async def test_two_bindings_that_match_bring_one_copy(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue("work", world.key("a.*"), world.key("a.#"), world.key("a.b")), inbox, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key("a.b"), "once"), frame(world.key("a.c.d"), "end")])
    await inbox.wait_until(lambda: "end" in inbox.bodies)
    assert inbox.bodies == ["once", "end"]


async def test_competing_consumers_share_a_queue(world: World) -> None:
    first, second = Inbox(hold), Inbox(hold)
    for inbox in (first, second):
        bus = world.bus()
        bus.subscribe(world.queue(), inbox, prefetch=5)
        await bus.start()
    await bus.publish(frames(world.key(), 10))
    await first.wait_for(5)
    await second.wait_for(5)
    assert (first.counts + second.counts) == {str(number): 1 for number in range(10)}


async def test_two_consumers_on_one_connection_share_a_queue(world: World) -> None:
    bus, first, second = world.bus(), Inbox(hold), Inbox(hold)
    bus.subscribe(world.queue(), first, prefetch=2)
    bus.subscribe(world.queue(), second, prefetch=4)
    await bus.start()
    await bus.publish(frames(world.key(), 6))
    await first.wait_for(2)
    await second.wait_for(4)
    assert (first.counts + second.counts) == {str(number): 1 for number in range(6)}


async def test_a_slow_consumer_stops_nobody(world: World) -> None:
    stuck, quick = Inbox(hold), Inbox()
    for inbox in (stuck, quick):
        bus = world.bus()
        bus.subscribe(world.queue(), inbox, prefetch=1)
        await bus.start()
    await bus.publish(frames(world.key(), 20))
    await quick.wait_for(19)
    assert len(stuck.deliveries) == 1
    assert (stuck.counts + quick.counts) == {str(number): 1 for number in range(20)}


async def test_prefetch_is_honoured(world: World) -> None:
    """Three meet at a barrier, thirty in all; a fourth in hand would be seen, and with two nobody would go on."""
    held: set[str] = set()
    most = 0
    barrier = asyncio.Barrier(3)

    async def receive(delivery: Delivery) -> None:
        nonlocal most
        held.add(delivery.message_id)
        most = max(most, len(held))
        await barrier.wait()
        held.remove(delivery.message_id)
        await delivery.ack()

    bus, inbox = world.bus(), Inbox(receive)
    bus.subscribe(world.queue(), inbox, prefetch=3)
    await bus.start()
    await bus.publish(frames(world.key(), 30))
    await inbox.wait_for(30)
    assert most == 3


async def test_unsettled_messages_fill_the_prefetch(world: World) -> None:
    bus, inbox = world.bus(), Inbox(hold)
    bus.subscribe(world.queue(), inbox, prefetch=2)
    await bus.start()
    await bus.publish(frames(world.key(), 4))
    await inbox.wait_for(2)
    await inbox.deliveries[0].ack()
    await inbox.wait_for(3)
    assert inbox.bodies == ["0", "1", "2"]


async def test_order_is_that_of_publishing(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=50)
    await bus.start()
    for batch in range(10):
        await bus.publish(frames(world.key(), 30, prefix=f"{batch}:"))
    await inbox.wait_for(300)
    assert inbox.bodies == [f"{batch}:{number}" for batch in range(10) for number in range(30)]


async def test_a_thousand_messages_arrive_once_each(world: World) -> None:
    inbox = Inbox()
    for _ in range(3):
        bus = world.bus()
        bus.subscribe(world.queue(), inbox, prefetch=20)
        await bus.start()
    await asyncio.gather(*(bus.publish(frames(world.key(), 100, prefix=f"{n}-")) for n in range(10)))
    await inbox.wait_for(1000)
    assert inbox.counts == {f"{n}-{number}": 1 for n in range(10) for number in range(100)}


async def test_a_large_message_arrives_whole(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=1)
    await bus.start()
    body = "".join(map(str, range(250_000)))
    await bus.publish([frame(world.key(), body)])
    await inbox.wait_for(1)
    assert inbox.bodies == [body]


async def test_messages_wait_in_a_declared_queue(world: World) -> None:
    publisher = await world.started()
    await publisher.declare(world.queue())
    await publisher.publish(frames(world.key(), 5))
    await publisher.close()

    consumer, inbox = world.bus(), Inbox()
    consumer.subscribe(world.queue(), inbox, prefetch=10)
    await consumer.start()
    await inbox.wait_for(5)
    assert inbox.bodies == ["0", "1", "2", "3", "4"]


async def test_declaring_again_changes_nothing_and_differently_is_refused(world: World) -> None:
    bus = await world.started()
    await bus.declare(world.queue(delivery_limit=5))
    await bus.declare(world.queue(delivery_limit=5))
    with pytest.raises(BusError, match=world.name("work")):
        await bus.declare(world.queue(delivery_limit=6))
    await bus.publish(frames(world.key(), 1))  # and the bus still works
    await bus.declare(world.queue("another"))


async def test_an_unroutable_message_is_an_error(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    nowhere: list[Address] = [
        world.key("nowhere"),
        topology.agent_work(world.name("agent"), None, "act"),
        topology.shard(world.name("shard")),
        world.dead("reason"),
    ]
    for address in nowhere:
        with pytest.raises(UnroutableMessage, match=address.key) as caught:
            await bus.publish([frame(world.key(), "before"), frame(address), frame(world.key(), "after")])
        assert caught.value.address == address
        assert caught.value.message_type == "test.message.v1"
    await inbox.wait_for(8)
    assert inbox.counts == {"before": 4, "after": 4}


async def test_nobody_need_listen_to_events_and_replies(world: World) -> None:
    bus = await world.started()
    await bus.publish([frame(world.event("happened")), frame(topology.reply(world.name("gone")))])


async def test_a_reply_reaches_the_queue_of_that_name(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(topology.reply_queue(world.name("reply")), inbox, prefetch=10)
    await bus.start()
    await bus.publish([frame(topology.reply(world.name("reply")), "answer")])
    await inbox.wait_for(1)
    assert inbox.bodies == ["answer"]


async def test_a_broadcast_reaches_each_subscriber(world: World) -> None:
    inboxes = [Inbox(), Inbox(), Inbox()]
    for number, inbox in enumerate(inboxes):
        bus = world.bus()
        queue = world.queue(f"feed{number}", world.event("#"), kind=QueueKind.BROADCAST, delivery_limit=None)
        bus.subscribe(queue, inbox, prefetch=10)
        await bus.start()
    await bus.publish([frame(world.event("one"), "1"), frame(world.event("two.deep"), "2")])
    for inbox in inboxes:
        await inbox.wait_for(2)
        assert inbox.bodies == ["1", "2"]


async def test_a_broadcast_queue_goes_with_its_subscriber(world: World) -> None:
    publisher = await world.started()
    queue = world.queue("feed", world.event("#"), kind=QueueKind.BROADCAST, delivery_limit=None)
    first, second = Inbox(), Inbox()
    bus = world.bus()
    bus.subscribe(queue, first, prefetch=10)
    await bus.start()
    await publisher.publish([frame(world.event("x"), "1")])
    await first.wait_for(1)
    await bus.close()

    await publisher.publish([frame(world.event("x"), "nobody is there")])
    bus = world.bus()
    bus.subscribe(queue, second, prefetch=10)
    await bus.start()
    await publisher.publish([frame(world.event("x"), "2")])
    await second.wait_for(1)
    assert (first.bodies, second.bodies) == (["1"], ["2"])


async def test_a_broadcast_queue_goes_with_its_subscription(world: World) -> None:
    bus, inbox = await world.started(), Inbox()
    queue = world.queue("feed", world.event("#"), kind=QueueKind.BROADCAST, delivery_limit=None)
    subscription = bus.subscribe(queue, inbox, prefetch=10)
    await subscription.start()
    await subscription.stop()
    await bus.publish([frame(world.event("x"), "nobody is there")])
    again = bus.subscribe(queue, inbox, prefetch=10)
    await again.start()
    await bus.publish([frame(world.event("x"), "somebody is")])
    await inbox.wait_for(1)
    assert inbox.bodies == ["somebody is"]


async def test_a_broadcast_queue_belongs_to_one_connection(world: World) -> None:
    first, second = await world.started(), await world.started()
    queue = world.queue("feed", world.event("#"), kind=QueueKind.BROADCAST, delivery_limit=None)
    await first.subscribe(queue, Inbox(), prefetch=1).start()
    with pytest.raises(BusError):
        await second.subscribe(queue, Inbox(), prefetch=1).start()


async def test_a_single_consumer_is_active_until_it_leaves(world: World) -> None:
    queue = world.queue("shard", kind=QueueKind.SINGLE)
    first_bus, first = world.bus(), Inbox()
    first_bus.subscribe(queue, first, prefetch=10)
    await first_bus.start()
    second_bus, second = world.bus(), Inbox()
    second_bus.subscribe(queue, second, prefetch=10)
    await second_bus.start()

    await second_bus.publish(frames(world.key("shard"), 30, "a"))
    await first.wait_for(30)
    await first_bus.close()
    await second_bus.publish(frames(world.key("shard"), 30, "b"))
    await second.wait_for(30)
    assert first.bodies == [f"a{number}" for number in range(30)]
    assert second.bodies == [f"b{number}" for number in range(30)]


async def test_the_next_single_consumer_gets_what_was_not_settled(world: World) -> None:
    queue = world.queue("shard", kind=QueueKind.SINGLE)
    first_bus, first = world.bus(), Inbox(hold)
    first_bus.subscribe(queue, first, prefetch=5)
    await first_bus.start()
    second_bus, second = world.bus(), Inbox()
    second_bus.subscribe(queue, second, prefetch=10)
    await second_bus.start()
    await second_bus.publish(frames(world.key("shard"), 8))
    await first.wait_for(5)
    await first_bus.close()
    await second.wait_for(8)
    assert second.bodies == [str(number) for number in range(8)]
    assert [delivery.redeliveries for delivery in second.deliveries] == [1] * 5 + [0] * 3


async def test_a_handler_may_publish_to_its_own_queue(world: World) -> None:
    async def receive(delivery: Delivery) -> None:
        number = int(delivery.body)
        if number < 60:
            await bus.publish([frame(world.key(), str(number + 1))])
        await delivery.ack()

    bus, inbox = world.bus(), Inbox(receive)
    bus.subscribe(world.queue(), inbox, prefetch=2)
    await bus.start()
    await bus.publish([frame(world.key(), "0")])
    await inbox.wait_for(61)
    assert all(int(a) + 1 == int(b) for a, b in pairwise(inbox.bodies))
