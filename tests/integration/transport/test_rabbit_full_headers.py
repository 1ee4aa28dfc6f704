"""A message whose headers fill a frame of AMQP: to bury it must not cost the connection."""

import aio_pika
import pytest

from contracts.topology import QueueKind
from services.runtime.bus.delivering import DETAIL, DETAIL_LIMIT
from tests.support.buses import Inbox, frame, rabbit_world

pytestmark = pytest.mark.rabbitmq


@pytest.mark.parametrize("size", [100_000, 126_000, 129_500])
async def test_it_becomes_a_dead_letter_and_the_next_is_handled(rabbit_url: str, size: int) -> None:
    """RabbitMQ closes the connection over a frame that is too large. The message would come back with the next one, and
    close that, and with it whatever else the service does."""
    world, dead = rabbit_world(rabbit_url), Inbox()
    work = world.queue()
    graves = world.queue("graves", world.dead("full"), kind=QueueKind.BROADCAST, delivery_limit=None)
    taken = Inbox(lambda delivery: delivery.dead_letter(world.dead("full").key, "x" * DETAIL_LIMIT))
    bus = world.bus()
    bus.subscribe(graves, dead, prefetch=10)
    bus.subscribe(work, taken, prefetch=10)
    await bus.start()
    connection = await aio_pika.connect(rabbit_url)
    async with connection:
        exchange = await (await connection.channel()).get_exchange(world.key().exchange.value)
        message = aio_pika.Message(b"full", headers={"filling": "y" * size, "a": "b"}, message_id="m", type="t")
        await exchange.publish(message, world.key().key)
    (letter,) = await dead.wait_for(1)
    assert (letter.body, letter.headers["a"], "filling" in letter.headers) == (b"full", "b", False)
    assert "1 of its headers had no room here" in letter.headers[DETAIL]
    await bus.publish([frame(world.key(), "next")])
    await dead.wait_for(2)
    assert taken.bodies == ["full", "next"]
    for queue in (work, graves):
        await bus.remove(queue, lambda delivery: delivery.ack())
    await world.close()
