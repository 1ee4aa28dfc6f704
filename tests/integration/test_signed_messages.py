"""Attacks on signed messages over a real RabbitMQ: each ends as a dead letter with its reason, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from contracts import topology
from contracts.dead_letters import DeadLetterSettled, ReplayDeadLetter
from contracts.envelope import new_id
from contracts.registry import AgentMail, AgentReply
from contracts.topology import Queue, QueueKind
from scripts.servers import Server
from services.dead_letters.app import build as build_dead_letters
from services.runtime.bus.base import Bus, Delivery, Frame
from services.runtime.bus.secured import Opener, SecuredBus
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.requests import Requests
from services.runtime.security import key_ring
from services.runtime.security.policy import AgentPolicy
from services.runtime.security.principal import SenderKind
from services.runtime.security.replays import Replays
from services.runtime.security.signatures import ENDORSEMENT, SIGNATURE, read
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.security.trusted_keys import TrustedKeys
from services.runtime.security.verifying import Verifier
from services.runtime.service import Received, Route, Service
from services.runtime.settings import Settings
from services.runtime.store.base import DeadLetterFilter, Page
from tests.support.buses import PATIENCE, Inbox, World, delete_queues, rabbit_world
from tests.support.memory_store import MemoryStore
from tests.support.signing import NOW, add_key

pytestmark = pytest.mark.rabbitmq

MAX_AGE, WINDOW = 3_600.0, 300.0
REASONS = ("unsigned", "bad-signature", "unknown-key", "expired", "replayed")


class Town:
    """Services that sign and an attacker who reads everything and publishes what he likes. All have one clock, which
    the test sets."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.now = NOW
        for name in ("edge", "registry", "dead_letters"):
            add_key(folder, name)
        add_key(folder, "shop", SenderKind.CLIENT)
        add_key(folder, "clerk", SenderKind.AGENT, ["clerk"])
        self.inbox = Inbox()
        self.dead = Inbox()
        self.overheard = Inbox()

    def bus(self, name: str, inner: Bus | None = None) -> SecuredBus:
        clock = lambda: self.now  # noqa: E731
        trusted = TrustedKeys(self.folder, AgentPolicy())
        verifier = Verifier(trusted, Replays(WINDOW, MAX_AGE), MAX_AGE, required=True, clock=clock)
        keys = SigningKeys(self.folder, name, clock=clock)
        return SecuredBus(inner or self.world.bus(), Opener(verifier), keys=keys, clock=clock)

    async def start(self) -> None:
        world = self.world
        self.sender, self.receiver = self.bus("edge"), self.bus("registry")
        self.queue = world.queue("work", world.key("work"), world.key("other"))
        self.receiver.subscribe(self.queue, self.inbox, prefetch=100)
        self.attacker = world.bus()
        ear = world.queue("ear", world.key("work"), kind=QueueKind.BROADCAST, delivery_limit=None)
        self.attacker.subscribe(ear, self.overheard, prefetch=100)
        graves = [topology.dead(reason) for reason in REASONS]
        self.attacker.subscribe(
            world.queue("graves", *graves, kind=QueueKind.BROADCAST, delivery_limit=None), self.dead, prefetch=100
        )
        for bus in (self.receiver, self.attacker, self.sender):
            await bus.start()

    def frame(self, **fields: Any) -> Frame:
        given = {"body": b'{"do": "this"}', "type": "test.message.v1", "message_id": new_id(), **fields}
        return Frame(**{"address": self.world.key("work"), **given})

    async def caught(self, frame: Frame | None = None, *, by: SecuredBus | None = None) -> Frame:
        """A signed message as the attacker reads it on its way. It has come to its end, good or bad."""
        frame = frame or self.frame()
        await (by or self.sender).publish([frame])
        await self.next(self.inbox if by is None else self.dead, frame.message_id)
        return frame_of(await self.next(self.overheard, frame.message_id), frame)

    async def next(self, inbox: Inbox, message_id: str, count: int = 1) -> Delivery:
        def those() -> list[Delivery]:
            return [delivery for delivery in inbox.deliveries if delivery.message_id == message_id]

        await inbox.wait_until(lambda: len(those()) >= count)
        return those()[count - 1]

    async def refused(self, frame: Frame) -> tuple[str, str]:
        """The reason and the words with which a message that the attacker publishes becomes a dead letter."""
        before = sum(delivery.message_id == frame.message_id for delivery in self.dead.deliveries)
        taken = len(self.inbox.deliveries)
        await self.attacker.publish([frame])
        letter = await self.next(self.dead, frame.message_id, before + 1)
        assert len(self.inbox.deliveries) == taken
        assert letter.body == frame.body
        return letter.routing_key, letter.headers["x-conclave-detail"]


def frame_of(came: Delivery, sent: Frame) -> Frame:
    return replace(sent, body=came.body, reply_to=came.reply_to, headers=came.headers)


@pytest.fixture
async def town(own_rabbit: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    """On a broker that no other test uses at the same time: the queues of dead letters have the names that they have
    everywhere, and whoever else took from them would take what is waited for here."""
    await asyncio.to_thread(own_rabbit.start)
    monkeypatch.setattr("services.runtime.security.watched_file.EVERY", 0.0)
    world = rabbit_world(own_rabbit.url)
    town = Town(world, tmp_path)
    await town.start()
    yield town
    await world.close()
    await delete_queues(own_rabbit.url, [queue.name for queue in world.queues])


ALTERED: dict[str, Callable[[Town, Frame], Frame]] = {
    "a byte of the body": lambda _, frame: replace(frame, body=frame.body.replace(b"this", b"that")),
    "the type": lambda _, frame: replace(frame, type="other.message.v1"),
    "the id": lambda _, frame: replace(frame, message_id=new_id()),
    "the address": lambda town, frame: replace(frame, address=town.world.key("other")),
    "where the answer goes": lambda _, frame: replace(frame, reply_to="reply.of.the.attacker"),
    "that an answer is wanted": lambda _, frame: replace(frame, reply_to=""),
    "what it answers": lambda _, frame: replace(frame, correlation_id="another"),
    "a byte of the signature": lambda _, frame: replace(
        frame, headers={SIGNATURE: frame.headers[SIGNATURE][:-20] + "AAAA" + frame.headers[SIGNATURE][-16:]}
    ),
    "the key that it names": lambda town, frame: replace(
        frame, headers={SIGNATURE: frame.headers[SIGNATURE].replace(".", "A.", 1)}
    ),
    "the signature, for nonsense": lambda _, frame: replace(frame, headers={SIGNATURE: "x" * 5_000}),
}


@pytest.mark.parametrize("what", ALTERED)
async def test_altered(town: Town, what: str) -> None:
    frame = await town.caught(town.frame(reply_to="reply.of.the.asker", correlation_id="c"))
    reason, _ = await town.refused(ALTERED[what](town, frame))
    assert reason == "bad-signature"
    await counted(town.receiver, {"bad-signature": 1})
    assert len(town.inbox.deliveries) == 1


async def test_unsigned_and_signed_by_strangers(town: Town, tmp_path: Path) -> None:
    assert (await town.refused(town.frame()))[0] == "unsigned"
    stranger = Town(town.world, tmp_path / "strangers")
    forged = await town.caught(by=await started(stranger.bus("edge")))
    assert (await town.refused(forged))[0] == "unknown-key"
    await counted(town.receiver, {"unsigned": 1, "unknown-key": 2})
    assert town.inbox.deliveries == []


async def test_a_replay_within_its_window_and_after_it(town: Town) -> None:
    frame = await town.caught()
    town.now += WINDOW
    await town.attacker.publish([frame])
    await town.next(town.inbox, frame.message_id, 2)
    town.now += 1
    assert (await town.refused(frame))[0] == "replayed"
    # A header by which the attacker says that the broker delivers it once more changes nothing.
    url = town.world.make_bus(1.0)._broker._connection_kwargs["url"]  # type: ignore[attr-defined]
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(frame.address.exchange.value)
        headers = {**frame.headers, "x-delivery-count": 3}
        message = aio_pika.Message(frame.body, headers=headers, type=frame.type, message_id=frame.message_id)
        await exchange.publish(message, routing_key=frame.address.key)
    await town.next(town.dead, frame.message_id, 2)
    # Its sender says it again, and is heard: the edge does, for the same Idempotency-Key.
    await town.sender.publish([replace(frame, headers={})])
    await town.next(town.inbox, frame.message_id, 3)
    await counted(town.receiver, {"replayed": 2})


async def test_what_the_broker_delivers_again_is_no_replay(town: Town) -> None:
    async def twice(delivery: Delivery) -> None:
        town.now += 2 * WINDOW
        await (delivery.ack() if delivery.redeliveries else delivery.retry())

    inbox = Inbox(twice)
    await town.receiver.subscribe(town.world.queue("slow"), inbox, prefetch=1).start()
    await town.sender.publish([town.frame(address=town.world.key("slow"))])
    assert [delivery.redeliveries for delivery in await inbox.wait_for(2)] == [0, 1]
    assert not town.receiver.refused


@pytest.mark.parametrize(("later", "words"), [(MAX_AGE + 1, "MESSAGE_MAX_AGE"), (-61.0, "from now")])
async def test_expired_and_from_the_future(town: Town, later: float, words: str) -> None:
    frame = await town.caught()
    town.now += later
    reason, detail = await town.refused(frame)
    assert reason == "expired"
    assert words in detail


async def test_keys_are_exchanged_under_traffic_and_nothing_is_lost(town: Town) -> None:
    sent = 0

    async def send(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            sent += 1
            await town.sender.publish([town.frame()])

    async def rotate() -> None:
        for _ in range(3):
            await asyncio.sleep(0.05)
            town.now += 2
            with key_ring.opened(town.folder, town.now) as ring:
                ring.rotate("edge", overlap=600, after=0)

    await asyncio.gather(send(200), rotate())
    await send(5)
    deliveries = await town.inbox.wait_for(sent)
    signers = {delivery.signer.key_id for delivery in deliveries if delivery.signer}
    assert len(deliveries) == sent == 205
    assert 2 <= len(signers) <= 4
    assert not town.receiver.refused
    last = town.inbox.deliveries[-1].signer
    assert last is not None

    with key_ring.opened(town.folder, town.now) as ring:
        ring.retire(last.key_id)
    # The attacker hears on a queue of his own, perhaps later than the receiver.
    await town.overheard.wait_until(lambda: any(key_of(heard) == last.key_id for heard in town.overheard.deliveries))
    (retired, *_) = [heard for heard in town.overheard.deliveries if key_of(heard) == last.key_id]
    reason, _ = await town.refused(frame_of(retired, town.frame(message_id=retired.message_id)))
    assert reason == "unknown-key"


async def test_a_stolen_step_of_another_queue_is_not_quarantined(town: Town) -> None:
    """What the broker moves after its delivery limit keeps its signature and comes to another address."""
    world, clerk = town.world, Inbox(lambda delivery: delivery.retry())
    address = topology.agent_mail(f"{world.prefix}_agent")
    clerks = replace(topology.agent_type_queue("clerk"), name=world.name("clerk"), bindings=(address,))
    work = replace(clerks, dead_letter=topology.dead("crashed.clerk"), delivery_limit=1)
    crashed = Queue(world.name("crashed"), (topology.dead("crashed.clerk"),))
    world.queues += [work, crashed]
    inbox, host = Inbox(), town.bus("clerk")
    host.subscribe(work, clerk, prefetch=10)
    await town.receiver.subscribe(crashed, inbox, prefetch=10).start()
    await host.start()
    frame = town.frame(address=address)
    await town.sender.publish([frame])
    (moved,) = await inbox.wait_for(1)
    assert (moved.message_id, moved.died_in, moved.exchange) == (frame.message_id, work.name, "conclave.dead")
    assert moved.signer is not None
    assert moved.signer.name == "edge"

    stolen = await town.caught()
    reason, detail = await town.refused(replace(stolen, address=topology.dead("crashed.clerk")))
    assert reason == "bad-signature"
    assert "signed for" in detail


async def test_a_dead_letter_that_is_replayed_is_taken_however_old_and_only_by_its_endorsement(town: Town) -> None:
    world, store = town.world, MemoryStore()
    dead_letters = build_dead_letters(Settings(), town.bus("dead_letters"), store)
    bus = town.bus("edge")
    requests = Requests(bus, "edge")
    await bus.start()
    await dead_letters.start()
    world.queues += [topology.dead_letters(), topology.dead_letter_commands(), topology.unstorable_letters()]
    frame = await town.caught(town.frame(reply_to="reply.of.one.that.is.gone"))
    town.now += 2 * MAX_AGE
    assert (await town.refused(frame))[0] == "expired"

    async with asyncio.timeout(PATIENCE):
        while True:
            letters, _ = await store.list_dead_letters(DeadLetterFilter(), Page(1_000))
            if mine := [letter for letter in letters if letter.message_id == frame.message_id]:
                break
            await asyncio.sleep(0.02)
    answer = await requests.ask(Outgoing(ReplayDeadLetter(id=mine[0].id)), PATIENCE)
    assert answer == DeadLetterSettled(id=mine[0].id, replayed=True)
    again = await town.next(town.inbox, frame.message_id, 2)
    assert ENDORSEMENT in again.headers
    assert again.signer is not None
    assert (again.signer.name, again.reply_to) == ("edge", "")

    # The attacker has heard the endorsement too: it is good for its window, and for this message.
    overheard = await town.next(town.overheard, frame.message_id, 3)
    endorsed = frame_of(overheard, frame)
    assert (await town.refused(replace(endorsed, body=b'{"do": "that"}')))[0] == "bad-signature"
    town.now += WINDOW + 1
    assert (await town.refused(endorsed))[0] == "replayed"
    await requests.stop()
    await dead_letters.stop()


async def test_a_question_and_its_answer_are_signed_both_ways(town: Town) -> None:
    world = town.world
    seen: list[str] = []

    async def answer(received: Received[AgentMail]) -> list[Outgoing[Any]]:
        assert received.delivery.signer is not None
        seen.append(received.delivery.signer.name)
        return [received.reply(AgentReply(agent_id=received.message.agent_id, body={"ok": True}))]

    agent = world.name("agent")
    route = Route(world.queue("mail", topology.agent_mail(agent)), handlers={AgentMail: answer})
    host = Service("clerk-0123abcd", town.bus("clerk"), routes=[route])
    bus = town.bus("edge")
    requests = Requests(bus, "edge")
    await bus.start()
    await host.start()
    mail = AgentMail(agent_id=agent, body={}, sender_id="key:x")
    assert await requests.ask(Outgoing(mail), PATIENCE) == AgentReply(agent_id=agent, body={"ok": True})
    assert seen == ["edge"]
    assert not bus.refused
    # A forged answer reaches nobody who waits.
    forged = encode(
        Outgoing(AgentReply(agent_id=agent, body={}), to=topology.reply(requests.queue.name)), "clerk-0123abcd"
    )
    assert (await town.refused(forged))[0] == "unsigned"
    await counted(bus, {"unsigned": 1})
    await requests.stop()
    await host.stop()


async def counted(bus: SecuredBus, refused: dict[str, int]) -> None:
    """It counts once the letter is on its way."""
    async with asyncio.timeout(PATIENCE):
        while bus.refused.total() < sum(refused.values()):
            await asyncio.sleep(0.01)
    assert bus.refused == refused


def key_of(delivery: Delivery) -> str:
    return read(delivery.headers[SIGNATURE]).key_id


async def started(bus: SecuredBus) -> SecuredBus:
    await bus.start()
    return bus
