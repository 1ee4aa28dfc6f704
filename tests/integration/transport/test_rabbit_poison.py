"""Messages that AMQP carries and the library underneath cannot read: none of them keeps a service off the broker."""

import asyncio
import contextlib
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pamqp.encode
import pytest

from contracts.topology import QueueKind
from scripts.servers import Server
from services.runtime.bus.base import BusUnavailable
from tests.support.buses import PATIENCE, Inbox, frame, rabbit_world

pytestmark = pytest.mark.rabbitmq

NO_TEXT = "no text"


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process publishes from here on is not what it says."""

    def replace(name: str, by: Callable[[Any], bytes]) -> None:
        original = getattr(pamqp.encode, name)
        monkeypatch.setattr(pamqp.encode, name, by)
        for kind, encoder in pamqp.encode.METHODS.items():
            if encoder is original:
                monkeypatch.setitem(pamqp.encode.METHODS, kind, by)

    short = pamqp.encode.short_string
    replace("short_string", lambda text: short(text).replace(NO_TEXT.encode(), b"\xff" * len(NO_TEXT)))
    replace("timestamp", lambda _: struct.pack(">Q", 2**63))


@pytest.mark.parametrize(
    ("key", "properties"),
    [
        ("work.x", {"message_id": NO_TEXT}),
        ("work.x", {"type": NO_TEXT, "correlation_id": "c"}),
        ("work.x", {"headers": {NO_TEXT: "x"}}),
        ("work.x", {"headers": {"t": datetime.now(UTC)}}),
        ("work.x", {"timestamp": datetime.now(UTC)}),
        (f"work.{NO_TEXT}", {"message_id": "m"}),
    ],
    ids=["id", "type", "name of a header", "time in a header", "time", "routing key"],
)
async def test_it_is_taken_like_any_other(
    own_rabbit: Server, spoilt: None, key: str, properties: dict[str, Any]
) -> None:
    world, dead = rabbit_world(own_rabbit.url), Inbox()
    graves = world.queue("graves", world.dead("poison"), kind=QueueKind.BROADCAST, delivery_limit=None)
    work, bus, other = world.queue("work", world.key("work.#")), world.bus(), world.bus()
    taken = Inbox(lambda delivery: delivery.dead_letter(world.dead("poison").key, "no good"))
    # By a connection of its own: this queue goes with it, and what had just come into it.
    other.subscribe(graves, dead, prefetch=10)
    await other.start()
    bus.subscribe(work, taken, prefetch=10)
    await bus.start()
    connection = await aio_pika.connect(own_rabbit.url)
    exchange = await (await connection.channel()).get_exchange(world.key().exchange.value)
    await exchange.publish(aio_pika.Message(b"poison", **properties), world.key(key).key)
    await taken.wait_for(1)
    await dead.wait_for(1)
    await bus.publish([frame(world.key("work.x"), "next")])
    await dead.wait_for(2)
    assert dead.bodies == ["poison", "next"]
    assert set(taken.bodies) == {"poison", "next"}, "again and again until the connection is whole"
    assert taken.deliveries[0].routing_key == world.key(key).key.replace(NO_TEXT, "?" * len(NO_TEXT))
    await connection.close()
    await bus.remove(work, lambda delivery: delivery.ack())
    await world.close()


async def test_what_is_left_of_a_queue_may_be_poison_too(own_rabbit: Server, spoilt: None) -> None:
    world, left = rabbit_world(own_rabbit.url), Inbox()
    work, bus = world.queue("work", world.key("work.#")), world.bus()
    await bus.start()
    await bus.declare(work)
    connection = await aio_pika.connect(own_rabbit.url)
    exchange = await (await connection.channel()).get_exchange(world.key().exchange.value)
    await exchange.publish(aio_pika.Message(b"poison", message_id=NO_TEXT), world.key(f"work.{NO_TEXT}").key)
    await connection.close()
    async with asyncio.timeout(PATIENCE):
        while not left.deliveries:
            with contextlib.suppress(BusUnavailable):
                await bus.remove(work, left)
            await asyncio.sleep(0.1)
    assert left.bodies == ["poison"]
    await world.close()
