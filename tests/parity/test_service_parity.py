"""What a Service does with messages on every bus: reads, answers, refuses, and goes on whatever comes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from contracts import topology
from contracts.envelope import new_id, wrap
from contracts.execution import CancelExecution, Refused
from contracts.registry import AgentMail
from contracts.topology import QueueKind
from services.runtime.bus.delivering import DETAIL, QUEUE, REASON
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received, Refusal, Route, Service
from services.runtime.store.base import Unreadable
from tests.support.buses import Inbox, World, frame

GOOD = wrap(CancelExecution(execution_id="e1", reason="good"), sender="test").model_dump(mode="json")

# What is sent (body, type property), and what the dead letter says: reason, and words of its detail.
HOSTILE: dict[str, tuple[str, str, str, str]] = {
    "no JSON": ("{{{", "", "contract", "no envelope"),
    "no JSON under a known type": ("{{{", "execution.cancel.v1", "contract", "Invalid JSON"),
    "nothing": ("", "", "contract", "no envelope"),
    "no type": (json.dumps({"id": "x"}), "", "contract", "type"),
    "unknown type": (json.dumps({**GOOD, "type": "execution.explode.v1"}), "", "unknown-type", "execution.explode.v1"),
    "unknown version": (json.dumps({**GOOD, "type": "execution.cancel.v9"}), "", "unknown-type", "execution.cancel.v9"),
    "another queue's type": (
        json.dumps({**GOOD, "type": "step.run.v1"}),
        "",
        "unknown-type",
        "only: execution.cancel.v1",
    ),
    "failing its contract": (json.dumps({**GOOD, "payload": {"execution_id": "a b"}}), "", "contract", "execution_id"),
    "no payload": (json.dumps({k: v for k, v in GOOD.items() if k != "payload"}), "", "contract", "payload"),
    "no timestamp": (json.dumps({**GOOD, "timestamp": "yesterday"}), "", "contract", "timestamp"),
    "type and envelope differ": (json.dumps({**GOOD, "type": "x"}), "execution.cancel.v1", "contract", "'x'"),
    "nested without end": ('{"type":' + "[" * 100_000, "", "contract", "no envelope"),
}


@pytest.fixture
async def graves(world: World) -> Inbox:
    """Every dead letter of the service's queue."""
    graves = Inbox()
    bus = await world.started()
    reasons = [topology.dead(reason) for reason in ("contract", "unknown-type", "refused")]
    queue = world.queue("graves", *reasons, kind=QueueKind.BROADCAST)
    await bus.subscribe(queue, graves, prefetch=50).start()
    return graves


def stories(graves: Inbox, queue: str) -> list[tuple[str, str]]:
    return [
        (delivery.headers[REASON], delivery.headers[DETAIL])
        for delivery in graves.deliveries
        if delivery.headers.get(QUEUE) == queue
    ]


async def test_hostile_messages_are_dead_letters_with_their_reason_and_the_service_goes_on(
    world: World, graves: Inbox
) -> None:
    handled: list[str] = []

    async def cancel(received: Received[CancelExecution]) -> Sequence[Outgoing[Any]]:
        handled.append(received.message.reason)
        return []

    queue = world.queue()
    service = Service("victim", world.bus(), routes=[Route(queue, handlers={CancelExecution: cancel})])
    await service.start()
    client = await world.started()
    sent = [frame(world.key(), body, type=kind, message_id="") for body, kind, _, _ in HOSTILE.values()]
    good = json.dumps({**GOOD, "unknown_field": "is ignored"})
    await client.publish([*sent, frame(world.key(), good, type="", message_id=GOOD["id"])])
    await graves.wait_until(lambda: len(stories(graves, queue.name)) == len(HOSTILE))
    await service.stop()
    assert handled == ["good"]
    told = stories(graves, queue.name)
    for name, (_, _, reason, words) in HOSTILE.items():
        assert any(reason == said and words in detail for said, detail in told), (name, told)


async def test_a_refusal_is_the_reply_where_one_was_asked_for_and_a_dead_letter_where_none(
    world: World, graves: Inbox
) -> None:
    async def refuse(received: Received[CancelExecution]) -> Sequence[Outgoing[Any]]:
        raise Refusal(Refused(code="not_found", message="there is no such thing", subject="e1"))

    queue = world.queue()
    service = Service("refuser", world.bus(), routes=[Route(queue, handlers={CancelExecution: refuse})])
    await service.start()
    replies = Inbox()
    client = await world.started()
    reply_queue = topology.reply_queue(world.name(new_id()))
    await client.subscribe(reply_queue, replies, prefetch=5).start()
    body = json.dumps(GOOD)
    await client.publish([frame(world.key(), body, type="", message_id=GOOD["id"], reply_to=reply_queue.name)])
    (reply,) = await replies.wait_for(1)
    assert json.loads(reply.body)["payload"]["code"] == "not_found"
    assert json.loads(reply.body)["correlation_id"] == GOOD["id"]
    assert stories(graves, queue.name) == []
    await client.publish([frame(world.key(), body, type="", message_id=GOOD["id"])])
    await graves.wait_until(lambda: len(stories(graves, queue.name)) == 1)
    await service.stop()
    assert stories(graves, queue.name) == [("refused", "there is no such thing")]


async def test_what_a_handler_returns_is_sent_before_its_message_is_settled(world: World) -> None:
    """The message is given back until what follows from it can be sent."""
    seen: list[int] = []
    target = f"agent-{new_id()}"

    async def follow(received: Received[CancelExecution]) -> Sequence[Outgoing[Any]]:
        seen.append(received.delivery.redeliveries)
        if len(seen) == 1:
            raise RuntimeError("not yet")
        return [received.follow(AgentMail(agent_id=target, body={"n": len(seen)}))]

    mail = Inbox()
    client = await world.started()
    await client.subscribe(world.queue("mail", topology.agent_mail(target)), mail, prefetch=5).start()
    route = Route(world.queue(), handlers={CancelExecution: follow})
    service = Service("follower", world.bus(), routes=[route])
    await service.start()
    await client.publish([frame(world.key(), json.dumps(GOOD), type="", message_id=GOOD["id"])])
    (message,) = await mail.wait_for(1)
    await service.stop()
    assert json.loads(message.body)["payload"]["body"] == {"n": 2}
    assert json.loads(message.body)["causation_id"] == GOOD["id"]
    assert seen == [0, 1]


async def test_what_cannot_be_read_from_the_store_is_refused_and_not_tried_without_end(
    world: World, graves: Inbox
) -> None:
    tried: list[str] = []

    async def read(received: Received[CancelExecution]) -> Sequence[Outgoing[Any]]:
        tried.append(received.message.execution_id)
        raise Unreadable("workflow 'w1' is encrypted with key 'k1', which is not here")

    queue = world.queue()
    service = Service("reader", world.bus(), routes=[Route(queue, handlers={CancelExecution: read})])
    await service.start()
    client = await world.started()
    await client.publish([frame(world.key(), json.dumps(GOOD), type="", message_id=GOOD["id"])])
    await graves.wait_until(lambda: len(stories(graves, queue.name)) == 1)
    await service.stop()
    ((reason, detail),) = stories(graves, queue.name)
    assert reason == "refused"
    assert "key 'k1', which is not here" in detail
    assert len(tried) == 1
