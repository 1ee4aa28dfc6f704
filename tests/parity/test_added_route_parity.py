"""A route that is taken up and dropped while its bus runs, over every bus."""

import asyncio
from collections.abc import Iterable
from typing import Any

from contracts import topology
from contracts.registry import AgentMail
from contracts.topology import Queue
from services.runtime.added_route import AddedRoute
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox, Received, Receiver, Route
from tests.support.buses import PATIENCE, World


async def test_a_dropped_route_has_settled_what_it_took_and_leaves_the_rest(world: World) -> None:
    agent = f"a-{world.prefix}"
    queue = Queue(world.name("added"), (topology.agent_mail(agent),))
    world.queues.append(queue)
    bus = await world.started()
    outbox = Outbox(bus, "test")
    begun: list[int] = []
    go_on = asyncio.Event()
    some = asyncio.Event()

    async def handle(received: Received[AgentMail]) -> Iterable[Outgoing[Any]]:
        begun.append(received.message.body["number"])
        if len(begun) == 3:
            some.set()
        await go_on.wait()
        return ()

    route = Route(queue, handlers={AgentMail: handle}, prefetch=3)
    first = AddedRoute(bus, Receiver(outbox), route)
    await first.start()
    await outbox.send(Outgoing(AgentMail(agent_id=agent, body={"number": number})) for number in range(10))
    async with asyncio.timeout(PATIENCE):
        await some.wait()
        dropping = asyncio.create_task(first.drop())
        await asyncio.sleep(0.2)
        assert not dropping.done()
        go_on.set()
        await dropping
        assert sorted(begun) == [0, 1, 2]
        await asyncio.sleep(0.2)
        assert len(begun) == 3
        second = AddedRoute(bus, Receiver(outbox), route)
        await second.start()
        while len(begun) < 10:
            await asyncio.sleep(0.01)
        await second.drop()
    assert sorted(begun) == list(range(10))


async def test_a_handler_that_fails_does_not_keep_its_route(world: World) -> None:
    agent = f"a-{world.prefix}"
    queue = Queue(world.name("added"), (topology.agent_mail(agent),), delivery_limit=3)
    world.queues.append(queue)
    bus = await world.started()
    outbox = Outbox(bus, "test")
    tries = asyncio.Event()

    async def fail(received: Received[AgentMail]) -> Iterable[Outgoing[Any]]:
        tries.set()
        raise LookupError("no such thing")

    route = AddedRoute(bus, Receiver(outbox), Route(queue, handlers={AgentMail: fail}))
    await route.start()
    await outbox.send([Outgoing(AgentMail(agent_id=agent, body={}))])
    async with asyncio.timeout(PATIENCE):
        await tries.wait()
        await route.drop()
