"""What RabbitMQ can do behind a consumer's back, how it shows, and that it passes; and measuring under its users."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import aio_pika
import aiormq
import pytest

from contracts import topology
from contracts.topology import Queue
from services.runtime.bus import rabbit_measuring
from services.runtime.bus.base import Bus, BusUnavailable, Delivery, QueueFigures
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.rabbit_topology import queue_arguments
from tests.integration.transport.conftest import Users
from tests.support.amqp_proxy import AmqpProxy
from tests.support.bus_faults import PATIENCE, until_published
from tests.support.buses import ANSWERS_WITHIN, Inbox, World, delete_queues, frame, frames, rabbit_world

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
async def world(users: Users) -> AsyncIterator[World]:
    world = rabbit_world(users.root)
    yield world
    await world.close()
    await delete_queues(users.root, [queue.name for queue in world.queues])


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.005)


async def made_by_root(users: Users, queue: Queue) -> None:
    connection = await aio_pika.connect(users.root)
    async with connection:
        channel = await connection.channel()
        made = await channel.declare_queue(queue.name, durable=True, arguments=queue_arguments(queue))
        for binding in queue.bindings:
            await made.bind(binding.exchange.value, binding.key)


async def test_a_consumer_whose_queue_is_deleted_is_missed_and_comes_back(users: Users, world: World) -> None:
    bus, inbox, other = world.bus(), Inbox(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    bus.subscribe(world.queue("other"), other, prefetch=10)
    await bus.start()
    assert bus.not_consuming() == ()
    deleting = asyncio.create_task(delete_queues(users.root, [world.name("work")]))
    await until(lambda: bus.not_consuming() == (world.name("work"),))
    assert bus.connected
    await deleting
    await until(lambda: bus.not_consuming() == ())
    await until_published(bus, frame(world.key(), "after"))
    await bus.publish([frame(world.key("other"), "after")])
    await inbox.wait_for(1)
    await other.wait_for(1)
    assert (inbox.bodies, other.bodies) == (["after"], ["after"])


async def test_one_that_may_not_make_its_queue_waits_for_somebody_to_make_it(users: Users) -> None:
    queue = topology.agent_type_queue("data_agent")
    bus, inbox = RabbitBus(users.of("data_agent"), confirm_timeout=ANSWERS_WITHIN), Inbox()
    bus.subscribe(queue, inbox, prefetch=10)
    await bus.start()
    assert bus.not_consuming() == ()
    await delete_queues(users.root, [queue.name])
    await until(lambda: bus.not_consuming() == (queue.name,))
    for _ in range(20):
        assert bus.not_consuming() == (queue.name,)
        await asyncio.sleep(0.1)
    await made_by_root(users, queue)
    await until(lambda: bus.not_consuming() == ())
    publisher = RabbitBus(users.of("orchestrator"), confirm_timeout=ANSWERS_WITHIN)
    await publisher.start()
    await publisher.publish([frame(topology.agent_work("data_agent", None, "query"), "after")])
    await inbox.wait_for(1)
    assert inbox.bodies == ["after"]
    await publisher.close()
    await bus.close()


async def test_a_connection_that_is_cut_consumes_from_nothing_until_it_is_back(users: Users, world: World) -> None:
    async with AmqpProxy(users.root) as proxy:
        bus, inbox = RabbitBus(proxy.url), Inbox()
        names = [world.queue(name).name for name in ("a", "b")]
        for queue in world.queues:
            bus.subscribe(queue, inbox, prefetch=10)
        await bus.start()
        assert bus.not_consuming() == ()
        proxy.mute_channels = True  # a new connection is taken, and nothing is answered on it
        proxy.cut()
        await until(lambda: bus.not_consuming() == tuple(names))
        await proxy.connected_again()
        for _ in range(50):
            assert bus.not_consuming() == tuple(names)
            await asyncio.sleep(0.02)
        proxy.mute_channels = False
        proxy.cut()
        await until(lambda: bus.not_consuming() == ())
        await until_published(bus, frame(world.key("a"), "after"))
        await inbox.wait_for(1)
        await bus.close()


async def test_what_nobody_settled_is_there_whatever_was_settled_around_cuts(users: Users, world: World) -> None:
    """Acks that speak for many never speak for what is in hand, nor for messages of a connection that is gone."""
    queue, total = world.queue(), 600
    chance = random.Random(7)
    settled: set[bytes] = set()
    kept: set[bytes] = set()

    async def settle_some(delivery: Delivery) -> None:
        await asyncio.sleep(chance.random() * 0.02)
        if delivery.body in kept or int(delivery.body) % 29 == 3:
            kept.add(delivery.body)
            return
        if delivery.redeliveries == 0 and chance.random() < 0.1:
            await delivery.retry()
            return
        settled.add(delivery.body)
        await delivery.ack()

    async with AmqpProxy(users.root) as proxy:
        bus = RabbitBus(proxy.url)
        bus.subscribe(queue, settle_some, prefetch=60)
        publisher = world.bus()
        await publisher.start()
        await publisher.declare(queue)
        await publisher.publish(frames(world.key(), total))
        await bus.start()
        for cut in range(1, 5):
            await until(lambda most=cut * 100: len(settled) >= most)  # type: ignore[misc]
            proxy.cut()
            await proxy.connected_again()
        await until(lambda: len(settled) + len(kept) == total)
        await bus.stop_consuming()
        await bus.close()
    left = Inbox()
    publisher = world.bus()
    publisher.subscribe(queue, left, prefetch=100)
    await publisher.start()
    await left.wait_for(len(kept))
    assert len(kept) == len([number for number in range(total) if number % 29 == 3])
    assert kept <= {delivery.body for delivery in left.deliveries}


async def test_a_channel_that_the_broker_closes_comes_back_alone(world: World) -> None:
    bus, inbox, other = world.bus(), Inbox(), Inbox()
    subscription = bus.subscribe(world.queue(), inbox, prefetch=10)
    bus.subscribe(world.queue("other"), other, prefetch=10)
    await bus.start()
    channel = await subscription.channel.get_underlay_channel()  # type: ignore[attr-defined]
    await channel.basic_ack(4711)  # of no message, for which RabbitMQ closes the channel
    missed: set[tuple[str, ...]] = set()
    async with asyncio.timeout(PATIENCE):
        while len(missed) < 2 or bus.not_consuming():
            missed.add(bus.not_consuming())
            await asyncio.sleep(0)  # it is back within a few milliseconds
    assert missed == {(), (world.name("work"),)}
    await until_published(bus, frame(world.key(), "after"))
    await inbox.wait_for(1)
    assert inbox.bodies == ["after"]


async def test_every_service_may_measure_what_others_take_from(users: Users, world: World) -> None:
    root = await world.started()
    queues = [
        topology.orchestrator_commands(),
        *topology.orchestrator_shards(),
        topology.agent_type_queue("data_agent"),
    ]
    for queue in queues:
        await root.declare(queue)
    for user in ("edge", "auditor", "data_agent"):
        bus = RabbitBus(users.of(user))
        await bus.start()
        wanted = {queue.name: QueueFigures(0, None, 0) for queue in queues}
        async with asyncio.timeout(PATIENCE):
            while (seen := await bus.measure(queues)) != wanted:
                # All may be asked; of a consumer of another test that is gone the broker may know a moment later.
                assert seen.keys() == wanted.keys()
                await asyncio.sleep(0.02)
        await bus.close()


async def test_measuring_what_is_missing_leaves_the_broker_in_peace(
    users: Users, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error in its log for a queue, however often it is asked for, and nothing else under way is disturbed."""
    monkeypatch.setattr(rabbit_measuring, "FIRST_REST", 600.0)  # it is not asked for again, however long this takes
    monkeypatch.setattr(rabbit_measuring, "LONGEST_REST", 600.0)
    bus, inbox = world.bus(), Inbox()
    here, missing = world.queue(), world.queue("missing")
    bus.subscribe(here, inbox, prefetch=50)
    await bus.start()

    async def publish_on() -> None:
        for number in range(40):
            await bus.publish(frames(world.key(), 10, f"{number}."))

    publishing = asyncio.create_task(publish_on())
    for _ in range(40):
        assert (await bus.measure([missing, here])).keys() == {here.name}
    await publishing
    await inbox.wait_for(400)
    assert len(inbox.counts) == 400
    log = users.server._log.read_text(errors="replace")
    assert log.count(f"no queue '{missing.name}'") == 1


async def test_somebody_elses_exclusive_queue_is_not_asked_for(users: Users, world: World) -> None:
    owner, other = RabbitBus(users.root), await world.started()
    queue = topology.reply_queue(world.name("reply"))
    owner.subscribe(queue, Inbox(), prefetch=5)
    await owner.start()
    assert (await owner.measure([queue]))[queue.name] == QueueFigures(0, None, 1)
    assert await other.measure([queue]) == {}
    assert "RESOURCE_LOCKED" not in users.server._log.read_text(errors="replace")
    await owner.close()


async def test_measuring_over_a_connection_that_is_cut_says_so(users: Users, world: World) -> None:
    async with AmqpProxy(users.root) as proxy:
        bus: Bus = RabbitBus(proxy.url)
        await bus.start()
        queue = world.queue()
        await bus.declare(queue)
        proxy.mute_channels = True
        proxy.cut()
        with pytest.raises(BusUnavailable):
            await bus.measure([queue])
        proxy.mute_channels = False
        await until(lambda: bus.connected)
        assert set(await bus.measure([queue])) == {queue.name}
        await bus.close()


async def test_a_question_that_is_given_up_leaves_no_channel_behind(world: World) -> None:
    bus = await world.started()
    queue = world.queue()
    await bus.declare(queue)
    connection: aiormq.abc.AbstractConnection = bus._connection.transport.connection  # type: ignore[attr-defined]
    before = len([one for one in connection.channels.values() if one is not None])
    for _ in range(20):
        measuring = asyncio.create_task(bus.measure([queue] * 50))
        await asyncio.sleep(0.01)
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
    await until(lambda: len([one for one in connection.channels.values() if one is not None]) == before)
