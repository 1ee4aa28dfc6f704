"""A service that stops: it takes no more, ends what it has in hand, and nothing of that comes again, on every bus."""

import asyncio
from collections.abc import Iterable

import pytest

from contracts import topology
from contracts.registry import AgentMail, AgentReply
from services.runtime.bus.base import Delivery
from services.runtime.envelope_codec import Outgoing
from services.runtime.requests import Requests
from services.runtime.service import Received, Route, Service
from tests.support.buses import PATIENCE, Inbox, World, frames, hold


def mail(world: World, name: str, **body: object) -> Outgoing[AgentMail]:
    return Outgoing(AgentMail(agent_id=world.name(name), body=body))


def reply_to(received: Received[AgentMail], **body: object) -> Outgoing:
    return received.reply(AgentReply(agent_id=received.message.agent_id, body=body))


async def test_work_in_hand_gets_the_answer_that_it_waits_for(world: World) -> None:
    """In this order: it is told to stop, the answer comes, the work ends, and only then the service."""
    questions, goes_on = asyncio.Event(), asyncio.Event()

    async def answer(received: Received[AgentMail]) -> Iterable[Outgoing]:
        questions.set()
        await goes_on.wait()
        return [reply_to(received, number=42)]

    clerk_queue = world.queue("clerk", topology.agent_mail(world.name("clerk")))
    clerk = Service("clerk", world.bus(), routes=[Route(clerk_queue, handlers={AgentMail: answer})])
    await clerk.start()

    bus = world.bus()
    requests = Requests(bus, "worker")

    async def work(received: Received[AgentMail]) -> Iterable[Outgoing]:
        told = await requests.ask(mail(world, "clerk"), timeout=PATIENCE)
        return [reply_to(received, number=told.body["number"] + 1)]

    worker_queue = world.queue("worker", topology.agent_mail(world.name("worker")))
    worker = Service("worker", bus, routes=[Route(worker_queue, handlers={AgentMail: work})], resources=[requests])
    await worker.start()

    asker_bus = world.bus()
    asker = Requests(asker_bus, "asker")
    await Service("asker", asker_bus, resources=[asker]).start()
    asking = asyncio.create_task(asker.ask(mail(world, "worker"), timeout=PATIENCE))
    await asyncio.wait_for(questions.wait(), PATIENCE)

    stopping = asyncio.create_task(worker.stop())
    async with asyncio.timeout(PATIENCE):
        while bus.not_consuming() != (worker_queue.name,):
            await asyncio.sleep(0.01)
    assert not stopping.done()
    goes_on.set()
    await stopping
    assert (await asking) == AgentReply(agent_id=world.name("worker"), body={"number": 43})
    left = Inbox()
    again = world.bus()
    again.subscribe(worker_queue, left, prefetch=10)
    await again.start()
    await again.measure([worker_queue])
    assert left.deliveries == []


async def test_stopping_under_load_hands_over_without_a_redelivery(world: World) -> None:
    """What is prefetched is handled by whoever has it, and the rest by the next, each once."""
    queue, total = world.queue(), 600
    taken: list[Inbox] = []

    async def one_after_another(turns: asyncio.Lock, inbox: Inbox, delivery: Delivery) -> None:
        async with turns:
            await asyncio.sleep(0.001)
        await inbox(delivery)

    publisher = await world.started()
    await publisher.declare(queue)
    await publisher.publish(frames(world.key(), total))
    while sum(len(inbox.deliveries) for inbox in taken) < total:
        left = total - sum(len(inbox.deliveries) for inbox in taken)
        inbox, turns, bus = Inbox(), asyncio.Lock(), world.bus(drain_timeout=PATIENCE)
        taken.append(inbox)
        bus.subscribe(queue, lambda d, i=inbox, t=turns: one_after_another(t, i, d), prefetch=150)
        await bus.start()
        await inbox.wait_for(min(20, left))
        await bus.stop_consuming()
        assert len(inbox.deliveries) >= min(150, left)
        await bus.close()
    bodies = [body for inbox in taken for body in inbox.bodies]
    assert sorted(bodies, key=int) == [str(number) for number in range(total)]
    assert {delivery.redeliveries for inbox in taken for delivery in inbox.deliveries} == {0}


@pytest.mark.parametrize("added", [False, True])
async def test_what_is_acked_last_thing_does_not_come_again(world: World, added: bool) -> None:
    """However much it is: a broker may take only so many settlements ahead. Nor where the subscription was added while
    the bus ran."""
    queue, bus, inbox = world.queue(), world.bus(), Inbox(hold)
    if added:
        await bus.start()
        await bus.subscribe(queue, inbox, prefetch=500).start()
    else:
        bus.subscribe(queue, inbox, prefetch=500)
        await bus.start()
    await bus.publish(frames(world.key(), 500))
    await inbox.wait_for(500)
    await bus.stop_consuming()
    kept = inbox.deliveries[0]
    for delivery in inbox.deliveries[1:]:
        await delivery.ack()
    await bus.close()
    await kept.ack()  # too late
    next_bus, next_inbox = world.bus(), Inbox()
    next_bus.subscribe(queue, next_inbox, prefetch=500)
    await next_bus.start()
    await next_inbox.wait_for(1)
    assert (await next_bus.measure([queue]))[queue.name].ready == 0
    await next_bus.stop_consuming()
    assert next_inbox.counts == {"0": 1}
    assert next_inbox.deliveries[0].redeliveries == 1
