"""Questions and answers over every bus."""

import asyncio
from collections.abc import Iterable

import pytest

from contracts import topology
from contracts.envelope import Message
from contracts.registry import AgentMail, AgentReply
from contracts.topology import QueueKind
from services.runtime.bus.base import BusUnavailable, Delivery, UnroutableMessage
from services.runtime.envelope_codec import Outgoing, UnreadableMessage, decode
from services.runtime.requests import ReplyTimeout, Requests
from services.runtime.service import Outbox, Received, Route, Service
from tests.support.buses import PATIENCE, Inbox, World, frame, hold


def mail(world: World, **body: object) -> Outgoing[AgentMail]:
    return Outgoing(AgentMail(agent_id=world.name("agent"), body=body))


def read(delivery: Delivery) -> Received[Message]:
    return Received(decode(delivery, {AgentMail.TYPE: AgentMail}), delivery)


def answering(world: World) -> Service:
    """A service that answers mail with its body, twice over."""

    async def answer(received: Received[AgentMail]) -> Iterable[Outgoing]:
        assert received.wants_reply
        number = received.message.body.get("number", 0)
        return [received.reply(AgentReply(agent_id=received.message.agent_id, body={"number": number * 2}))]

    queue = world.queue("agent", topology.agent_mail(world.name("agent")))
    return Service("answering", world.bus(), routes=[Route(queue, handlers={AgentMail: answer})])


async def asking(world: World) -> tuple[Service, Requests]:
    bus = world.bus()
    requests = Requests(bus, "asking")
    service = Service("asking", bus, resources=[requests])
    await service.start()
    return service, requests


async def test_a_question_is_answered(world: World) -> None:
    service = answering(world)
    await service.start()
    _, requests = await asking(world)
    answer = await requests.ask(mail(world, number=21), timeout=PATIENCE)
    assert answer == AgentReply(agent_id=world.name("agent"), body={"number": 42})
    assert requests.in_flight == 0


async def test_a_hundred_questions_at_once_get_their_own_answers(world: World) -> None:
    service = answering(world)
    await service.start()
    _, requests = await asking(world)
    answers = await asyncio.gather(*(requests.ask(mail(world, number=n), timeout=PATIENCE) for n in range(100)))
    assert [answer.body for answer in answers if isinstance(answer, AgentReply)] == [
        {"number": n * 2} for n in range(100)
    ]
    assert requests.in_flight == 0


async def test_two_services_that_ask_do_not_get_each_others_answers(world: World) -> None:
    service = answering(world)
    await service.start()
    _, first = await asking(world)
    _, second = await asking(world)
    one, two = await asyncio.gather(
        first.ask(mail(world, number=1), timeout=PATIENCE), second.ask(mail(world, number=2), timeout=PATIENCE)
    )
    assert isinstance(one, AgentReply)
    assert isinstance(two, AgentReply)
    assert (one.body, two.body) == ({"number": 2}, {"number": 4})


async def test_no_answer_is_a_timeout_and_a_late_one_is_dropped(world: World) -> None:
    bus, held = world.bus(), Inbox(hold)
    bus.subscribe(world.queue("agent", topology.agent_mail(world.name("agent"))), held, prefetch=10)
    await bus.start()
    _, requests = await asking(world)
    with pytest.raises(ReplyTimeout, match=r"agent\.mail\.v1"):
        await requests.ask(mail(world), timeout=0.2)
    assert requests.in_flight == 0

    outbox = Outbox(bus, "answering")
    (question,) = await held.wait_for(1)
    await outbox.send([read(question).reply(AgentReply(agent_id="late"))])

    # The next question is not given the late answer.
    asking_again = asyncio.create_task(requests.ask(mail(world), timeout=PATIENCE))
    _, question = await held.wait_for(2)
    await outbox.send([read(question).reply(AgentReply(agent_id="right"))])
    assert await asking_again == AgentReply(agent_id="right")


async def test_a_question_that_nobody_takes_is_unroutable(world: World) -> None:
    _, requests = await asking(world)
    with pytest.raises(UnroutableMessage):
        await requests.ask(mail(world), timeout=PATIENCE)
    assert requests.in_flight == 0


async def test_a_question_without_connection_is_unavailable(world: World) -> None:
    requests = Requests(world.bus(), "asking")
    with pytest.raises(BusUnavailable):
        await requests.ask(mail(world), timeout=PATIENCE)
    assert requests.in_flight == 0


async def test_an_answer_that_fails_its_contract_is_an_error_and_a_dead_letter(world: World) -> None:
    async def answer_badly(delivery: Delivery) -> None:
        bad = frame(
            topology.reply(delivery.reply_to),
            '{"type": "agent.reply.v1"}',
            type="agent.reply.v1",
            message_id=world.name("bad"),
            correlation_id=delivery.message_id,
        )
        await bus.publish([bad])
        await delivery.ack()

    bus, graves = world.bus(), Inbox()
    bus.subscribe(world.queue("agent", topology.agent_mail(world.name("agent"))), answer_badly, prefetch=10)
    graveyard = world.queue("graves", topology.dead("contract"), kind=QueueKind.BROADCAST, delivery_limit=None)
    bus.subscribe(graveyard, graves, prefetch=10)
    await bus.start()
    _, requests = await asking(world)
    with pytest.raises(UnreadableMessage, match="payload"):
        await requests.ask(mail(world), timeout=PATIENCE)
    await graves.wait_until(lambda: any(dead.message_id == world.name("bad") for dead in graves.deliveries))


async def test_stopping_fails_the_questions_that_wait(world: World) -> None:
    bus, held = world.bus(), Inbox(hold)
    bus.subscribe(world.queue("agent", topology.agent_mail(world.name("agent"))), held, prefetch=10)
    await bus.start()
    service, requests = await asking(world)
    waiting = asyncio.create_task(requests.ask(mail(world), timeout=PATIENCE))
    await held.wait_for(1)
    await service.stop()
    with pytest.raises(BusUnavailable):
        await waiting
    assert requests.in_flight == 0


async def test_asking_may_begin_when_the_bus_runs_already(world: World) -> None:
    service = answering(world)
    await service.start()
    bus = await world.started()
    requests = Requests(bus, "late")
    await requests.start()
    assert await requests.ask(mail(world, number=4), timeout=PATIENCE) == AgentReply(
        agent_id=world.name("agent"), body={"number": 8}
    )
    await requests.stop()
