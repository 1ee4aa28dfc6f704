"""A connection that is lost while its consumer goes to the end of the line."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts.topology import QueueKind
from services.runtime.bus.base import BusUnavailable
from services.runtime.bus.rabbit import RabbitBus
from tests.integration.transport.conftest import Users
from tests.support.amqp_proxy import AmqpProxy
from tests.support.bus_faults import PATIENCE
from tests.support.buses import Inbox, World, delete_queues, frames, rabbit_world

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
async def world(users: Users) -> AsyncIterator[World]:
    world = rabbit_world(users.root)
    yield world
    await world.close()
    await delete_queues(users.root, [queue.name for queue in world.queues])


async def test_while_it_is_away_it_says_so_and_has_one_consumer_afterwards(users: Users, world: World) -> None:
    queue = world.queue(kind=QueueKind.SINGLE)
    publisher = await world.started()
    async with AmqpProxy(users.root) as proxy:
        bus, inbox = RabbitBus(proxy.url), Inbox()
        bus.subscribe(queue, inbox, prefetch=10)
        await bus.start()
        refused = 0
        for moment in (0.0, 0.001, 0.002, 0.003, 0.005, 0.3):
            await publisher.publish(frames(world.key(), 5, f"{moment}."))
            await inbox.wait_until(lambda before=moment: {f"{before}.{n}" for n in range(5)} <= set(inbox.bodies))  # type: ignore[misc]
            stepping = asyncio.create_task(bus.step_back(queue))
            await asyncio.sleep(moment)
            proxy.cut()
            (outcome,) = await asyncio.gather(stepping, return_exceptions=True)
            assert outcome is None or isinstance(outcome, BusUnavailable)
            refused += outcome is not None
            await proxy.connected_again()
            async with asyncio.timeout(PATIENCE):
                while not bus.connected or bus.not_consuming():
                    await asyncio.sleep(0.01)
        assert refused, "no cut came in the middle"

        next_inbox = Inbox()
        next_in_line = world.bus()
        next_in_line.subscribe(queue, next_inbox, prefetch=10)
        await next_in_line.start()
        await bus.step_back(queue)
        await publisher.publish(frames(world.key(), 5, "then."))
        # By name: what was acked just before a cut may come once more, to either.
        last = {f"then.{number}" for number in range(5)}
        await next_inbox.wait_until(lambda: last <= set(next_inbox.bodies))
        assert not last & set(inbox.bodies)
        await bus.close()
