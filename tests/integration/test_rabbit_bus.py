"""RabbitBus and a RabbitMQ that goes away, comes back, hangs or refuses."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aio_pika
import aiormq
import pytest
from structlog.testing import capture_logs

from contracts.topology import Queue, QueueKind
from scripts.servers import LocalServer, Server, free_port
from services.runtime.bus import rabbit
from services.runtime.bus.base import Bus, BusError, BusUnavailable, Frame, UnroutableMessage
from services.runtime.bus.rabbit import RECONNECT_INTERVAL, RabbitBus
from tests.support.amqp_proxy import AmqpProxy
from tests.support.bus_faults import (
    AT_ONCE,
    CONFIRM_TIMEOUT,
    PATIENCE,
    fails_at_once,
    publish_through_a_kill,
    start,
    stop,
    until_published,
)
from tests.support.buses import Inbox, World, delete_queues, frame, frames, hold, rabbit_world

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
async def world(own_rabbit: Server) -> AsyncIterator[World]:
    own_rabbit.start()
    world = rabbit_world(own_rabbit.url)
    yield world
    await world.close()
    await start(own_rabbit)
    await delete_queues(own_rabbit.url, [queue.name for queue in world.queues])


async def only_these_go_on(tasks: set[asyncio.Task[Any]]) -> None:
    """aio-pika's last callbacks end a moment after its connection is closed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while not asyncio.all_tasks() <= tasks:
                await asyncio.sleep(0.01)
    assert asyncio.all_tasks() - tasks == set()


async def until_heard(bus: Bus, event: Frame, feed: Inbox) -> None:
    """Publish an event until somebody hears it: one that comes back later than its publisher hears only from then."""
    async with asyncio.timeout(PATIENCE):
        while not feed.deliveries:
            await bus.publish([event])
            await asyncio.sleep(0.1)


async def test_everything_goes_on_after_the_broker_was_restarted(own_rabbit: Server, world: World) -> None:
    """Consumers, bindings, exclusive queues and messages that waited: all are back, and nothing is lost."""
    bus, work, bound, feed = world.bus(), Inbox(), Inbox(), Inbox()
    waiting = world.queue("waiting")
    bus.subscribe(world.queue(), work, prefetch=10)
    bus.subscribe(world.queue("bound", world.key("a.*"), world.key("b.#")), bound, prefetch=10)
    bus.subscribe(
        world.queue("feed", world.event("#"), kind=QueueKind.BROADCAST, delivery_limit=None), feed, prefetch=5
    )
    late = Inbox()
    await bus.start()
    await bus.declare(waiting)
    subscription = bus.subscribe(world.queue("late"), late, prefetch=10)
    await subscription.start()
    await bus.publish([*frames(world.key("waiting"), 50, "w"), frame(world.key(), "before")])
    await work.wait_for(1)

    await stop(own_rabbit)
    async with asyncio.timeout(PATIENCE):
        while bus.connected:  # until what the broker said last has been read
            await asyncio.sleep(0.01)
    await start(own_rabbit)

    await until_published(bus, frame(world.key(), "after"))
    assert bus.connected
    keys = (world.key("a.x"), world.key("b"), world.key("b.y.z"), world.key("late"))
    for address in keys:
        await until_published(bus, frame(address, "after"))
    await work.wait_until(lambda: "after" in work.bodies)  # and "before" once more where its ack was not yet told
    await bound.wait_for(3)
    await late.wait_for(1)
    await until_heard(bus, frame(world.event("happened"), "after"), feed)
    assert (work.counts["after"], bound.counts["after"], late.bodies) == (1, 3, ["after"])
    assert set(feed.bodies) == {"after"}

    waited = Inbox()
    await bus.subscribe(waiting, waited, prefetch=100).start()
    await waited.wait_for(50)
    assert waited.counts == {f"w{number}": 1 for number in range(50)}


async def test_nothing_is_lost_when_the_broker_is_killed_under_load(own_rabbit: Server, world: World) -> None:
    """Every message whose publish was confirmed arrives; what was not confirmed is published again."""
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=50)
    await bus.start()
    # RabbitMQ 3.10 writes its list of quorum queues every half second: one that is younger when the broker is killed
    # comes back without a leader, and stays so. Enough of them for a broker that stands still meanwhile.
    await asyncio.sleep(5)
    await publish_through_a_kill(own_rabbit, world, bus, inbox)


async def test_publishing_while_the_broker_is_away_fails_at_once(own_rabbit: Server, world: World) -> None:
    bus = await world.started()
    await bus.declare(world.queue())
    await stop(own_rabbit)
    await fails_at_once(bus, world)


async def test_a_publish_under_way_fails_when_the_broker_dies(own_rabbit: Server, world: World) -> None:
    bus = await world.started()
    await bus.declare(world.queue())

    async def publish_on() -> None:
        while True:
            await bus.publish(frames(world.key(), 200))

    publishing = asyncio.create_task(publish_on())
    await asyncio.sleep(0.2)
    assert not publishing.done()
    await asyncio.to_thread(own_rabbit.kill)
    async with asyncio.timeout(AT_ONCE):
        with pytest.raises(BusUnavailable):
            await publishing


async def test_a_broker_that_hangs_is_unavailable_in_time(own_rabbit: Server, world: World) -> None:
    """It takes bytes and answers nothing, as a broker does that is out of disk."""
    if not isinstance(own_rabbit, LocalServer) or own_rabbit.pid is None:
        pytest.skip("not run: only a process of our own can be paused")
    bus, inbox = RabbitBus(own_rabbit.url, confirm_timeout=CONFIRM_TIMEOUT), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    os.killpg(own_rabbit.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(CONFIRM_TIMEOUT + AT_ONCE):
            with pytest.raises(BusUnavailable, match="did not confirm"):
                await bus.publish([frame(world.key(), "during")])
    finally:
        os.killpg(own_rabbit.pid, signal.SIGCONT)
    await until_published(bus, frame(world.key(), "after"))
    await inbox.wait_until(lambda: "after" in inbox.bodies)
    await bus.close()


async def test_what_was_held_over_a_reconnect_comes_back(own_rabbit: Server, world: World) -> None:
    bus, inbox = world.bus(), Inbox(hold)
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key(), "held", message_id="h")])
    (held,) = await inbox.wait_for(1)
    await stop(own_rabbit)
    await start(own_rabbit)
    _, again = await inbox.wait_for(2)
    await held.ack()
    await held.retry()
    await held.dead_letter("refused", "settled through a channel that is gone")
    assert (again.message_id, again.redeliveries) == ("h", 1)
    await again.ack()
    await until_published(bus, frame(world.key(), "next"))
    await inbox.wait_for(3)
    assert inbox.bodies == ["held", "held", "next"]


async def test_a_recovery_that_hangs_is_tried_again(own_rabbit: Server, world: World) -> None:
    """The broker takes the new connection and keeps it alive, but the answers on its channels do not come."""
    async with AmqpProxy(own_rabbit.url) as proxy:
        bus, inbox = RabbitBus(proxy.url), Inbox()
        bus.subscribe(world.queue(), inbox, prefetch=10)
        await bus.start()
        proxy.mute_channels = True
        proxy.cut()
        await proxy.connected_again()
        with pytest.raises(BusUnavailable):
            await bus.publish([frame(world.key(), "during")])
        proxy.mute_channels = False
        await until_published(bus, frame(world.key(), "after"))
        await inbox.wait_until(lambda: "after" in inbox.bodies)
        await bus.close()


async def test_starting_waits_for_the_broker(own_rabbit: Server, world: World) -> None:
    await stop(own_rabbit)
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(1)
    assert not starting.done()
    assert not bus.connected
    await start(own_rabbit)
    await asyncio.wait_for(starting, PATIENCE)
    assert bus.connected
    await bus.publish([frame(world.key())])
    await inbox.wait_for(1)


async def test_starting_waits_for_a_broker_that_takes_connections_and_closes_them() -> None:
    """As one does that is about to end, or a proxy before one that is away."""
    taken = asyncio.Semaphore(0)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        taken.release()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    bus = RabbitBus(f"amqp://guest:guest@127.0.0.1:{port}/")
    starting = asyncio.create_task(bus.start())
    for _ in range(3):
        await asyncio.wait_for(taken.acquire(), PATIENCE)
    assert not starting.done()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await bus.close()
    server.close()


@pytest.mark.parametrize("frames", [1, 2], ids=["one frame", "several frames"])
async def test_a_confirm_that_fails_without_a_reason_is_a_broker_that_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    """aiormq fails what waits on a lost connection with a bare Exception where it knows no reason."""

    async def lost(*_: object, **__: object) -> None:
        raise Exception

    bus = world.bus()
    await bus.start()
    monkeypatch.setattr(aiormq.Channel, "basic_publish", lost)
    with pytest.raises(BusUnavailable):
        await bus.publish([frame(world.key(), str(i)) for i in range(frames)])


async def test_starting_can_be_given_up() -> None:
    before = asyncio.all_tasks()
    bus = RabbitBus(f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(0.3)
    assert not starting.done()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await bus.close()
    await only_these_go_on(before)


@pytest.mark.parametrize("milliseconds", range(0, 60, 4))
async def test_giving_up_at_any_moment_leaves_nothing_behind(own_rabbit: Server, milliseconds: int) -> None:
    own_rabbit.start()
    before = asyncio.all_tasks()
    bus = RabbitBus(own_rabbit.url)
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(milliseconds / 1000)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    if starting.cancelled():
        assert not bus.connected
    await bus.close()
    await only_these_go_on(before)


@pytest.mark.parametrize("leave", [lambda bus: bus.stop_consuming(), lambda bus: bus.close()])
async def test_leaving_while_the_broker_is_away_is_quick(
    own_rabbit: Server,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    leave: Callable[[RabbitBus], Awaitable[None]],
) -> None:
    monkeypatch.setattr(rabbit, "CLOSE_TIMEOUT", PATIENCE)  # what it would take if it waited for the broker
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    bus.subscribe(world.queue("other"), inbox, prefetch=10)
    await bus.start()
    await stop(own_rabbit)
    async with asyncio.timeout(AT_ONCE):
        await leave(bus)
    await start(own_rabbit)
    other = await world.started()
    await other.publish([frame(world.key(), "waits")])
    await asyncio.sleep(2 * RECONNECT_INTERVAL)  # nobody consumes again
    assert inbox.bodies == []


@pytest.mark.parametrize("part", ["guest:wrong@", "nobody:guest@"])
async def test_a_refused_login_is_an_error_and_not_a_wait(own_rabbit: Server, part: str) -> None:
    own_rabbit.start()
    bus = RabbitBus(own_rabbit.url.replace("guest:guest@", part))
    with pytest.raises(BusError, match="refused") as caught:
        await asyncio.wait_for(bus.start(), PATIENCE)
    assert not isinstance(caught.value, BusUnavailable)
    assert "wrong" not in str(caught.value)


async def test_an_unknown_virtual_host_is_waited_for_and_named(own_rabbit: Server) -> None:
    own_rabbit.start()
    bus = RabbitBus(f"{own_rabbit.url}nowhere")
    with capture_logs() as logs:
        starting = asyncio.create_task(bus.start())
        async with asyncio.timeout(PATIENCE):
            while not (waiting := [entry for entry in logs if entry["event"] == "waiting for RabbitMQ"]):
                await asyncio.sleep(0.01)
        assert not starting.done()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    assert waiting[0]["url"].endswith("/nowhere")
    assert "does not open the virtual host" in waiting[0]["error"]
    assert "guest" not in waiting[0]["url"]


async def test_a_queue_that_exists_otherwise_is_an_error_and_not_a_wait(world: World) -> None:
    first = await world.started()
    await first.declare(world.queue(delivery_limit=7))
    bus = world.bus()
    bus.subscribe(world.queue(delivery_limit=8), Inbox(), prefetch=1)
    with pytest.raises(BusError, match=world.name("work")):
        await asyncio.wait_for(bus.start(), PATIENCE)


async def test_a_consumer_comes_back_when_its_queue_was_deleted(own_rabbit: Server, world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue("work", world.key("a.*"), world.key("b")), inbox, prefetch=10)
    await bus.start()
    await delete_queues(own_rabbit.url, [world.name("work")])
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await bus.publish([frame(world.key("a.x"), "after"), frame(world.key("b"), "after")])
                break
            except BusError:
                await asyncio.sleep(0.1)
    await inbox.wait_until(lambda: inbox.counts["after"] >= 2)


async def test_a_removed_queue_does_not_come_back_with_the_connection(own_rabbit: Server, world: World) -> None:
    """aio-pika declares again what was declared on its channels."""
    bus, inbox = world.bus(), Inbox()
    await bus.start()
    declared, taken_from = world.queue("declared"), world.queue("taken-from")
    await bus.declare(declared)
    subscription = bus.subscribe(taken_from, inbox, prefetch=5)
    await subscription.start()
    await subscription.stop()
    await bus.remove(declared, inbox)
    await bus.remove(taken_from, inbox)
    await bus.declare(world.queue("kept"))
    await stop(own_rabbit)
    await start(own_rabbit)
    await until_published(bus, frame(world.key("kept")))
    await asyncio.sleep(2 * RECONNECT_INTERVAL)
    for name in ("declared", "taken-from"):
        with pytest.raises(UnroutableMessage):
            await bus.publish([frame(world.key(name))])


async def test_queues_are_replicated_and_safe(own_rabbit: Server, world: World) -> None:
    """The arguments that the broker holds: it refuses a declaration that differs in any of them."""
    bus = await world.started()
    limited = world.queue("limited", delivery_limit=3, dead_letter=world.dead("end"))
    await bus.declare(limited)
    await bus.declare(world.queue("endless", delivery_limit=None))
    await bus.declare(world.queue("single", kind=QueueKind.SINGLE))
    expected = {
        "limited": {
            "x-queue-type": "quorum",
            "x-delivery-limit": 3,
            "x-dead-letter-exchange": "conclave.dead",
            "x-dead-letter-routing-key": world.name("end"),
        },
        "endless": {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000},
        "single": {
            "x-queue-type": "quorum",
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": "conclave.dead",
            "x-dead-letter-routing-key": "delivery-limit",
            "x-single-active-consumer": True,
        },
    }
    async with await aio_pika.connect(own_rabbit.url) as connection:
        for name, arguments in expected.items():
            channel = await connection.channel()
            await channel.declare_queue(world.name(name), durable=True, arguments=arguments)
            with pytest.raises(aio_pika.exceptions.ChannelPreconditionFailed):
                await channel.declare_queue(
                    world.name(name), durable=True, arguments={**arguments, "x-delivery-limit": 99}
                )


async def test_messages_are_json_and_persistent(own_rabbit: Server, world: World) -> None:
    bus = await world.started()
    queue: Queue = world.queue()
    await bus.declare(queue)
    await bus.publish([frame(world.key(), "{}", type="a.b.v1", message_id="m")])
    async with await aio_pika.connect(own_rabbit.url) as connection:
        channel = await connection.channel()
        message = await (await channel.get_queue(queue.name)).get()
        assert message.content_type == "application/json"
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert (message.type, message.message_id, message.body) == ("a.b.v1", "m", b"{}")
        await message.ack()


async def test_what_another_client_sends_is_taken(own_rabbit: Server, world: World) -> None:
    """No properties, headers that are no text, a header that looks like the broker's."""
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    async with await aio_pika.connect(own_rabbit.url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("conclave.commands")
        await exchange.publish(aio_pika.Message(b"\xff bare"), world.key().key)
        odd = {"number": 7, "nested": {"a": [1]}, "text": "yes", "x-death": "no list", "x-delivery-count": "no number"}
        await exchange.publish(aio_pika.Message(b"odd", headers=odd), world.key().key)
    bare, odd_one = await inbox.wait_for(2)
    assert (bare.body, bare.type, bare.correlation_id, bare.reply_to) == (b"\xff bare", "", "", "")
    assert (dict(bare.headers), bare.redeliveries, bare.died_in) == ({}, 0, "")
    assert (dict(odd_one.headers), odd_one.redeliveries, odd_one.died_in) == ({"text": "yes"}, 0, "")
