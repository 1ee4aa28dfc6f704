from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts import topology
from contracts.topology import Queue, QueueKind
from services.runtime.bus.base import BusUnavailable, Delivery
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import open_bus
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.secured import SecuredBus, opener_of, publish_again
from services.runtime.faststream_app import faststream_app
from services.runtime.security.encryption import Cipher, is_encrypted
from services.runtime.security.encryption_keys import read_encryption_keys, write_encryption_keys
from services.runtime.security.key_files import BadKeys
from services.runtime.security.principal import SenderKind
from services.runtime.security.signatures import ENDORSEMENT, SIGNATURE
from services.runtime.security.verifying import Refused
from services.runtime.service import Service
from services.runtime.settings import Mode, Protocol, Settings
from tests.support.buses import Inbox, World, direct_world, frame
from tests.support.encryption import key_file
from tests.support.signing import add_key, signing_bus, signing_settings


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = direct_world()
    yield world
    await world.close()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("edge", "registry", "dead_letters"):
        add_key(tmp_path, name)
    return tmp_path


async def graves(world: World, *reasons: str) -> Inbox:
    inbox, bus = Inbox(), world.bus()
    queue = world.queue(
        "graves", *(topology.dead(reason) for reason in reasons), kind=QueueKind.BROADCAST, delivery_limit=None
    )
    bus.subscribe(queue, inbox, prefetch=100)
    await bus.start()
    return inbox


def test_the_settings_choose_what_stands_around_the_bus(keys: Path) -> None:
    broker, direct = DirectBroker(), {"communication_protocol": Protocol.DIRECT}
    assert isinstance(open_bus(Settings(**direct), "edge", broker), DirectBus)
    signing = open_bus(signing_settings(keys, **direct), "edge", broker)
    assert isinstance(signing, SecuredBus)
    assert not signing.connected
    with pytest.raises(AttributeError):
        signing.broker  # noqa: B018
    rabbit = open_bus(signing_settings(keys, communication_protocol=Protocol.RABBITMQ), "edge")
    assert isinstance(rabbit, SecuredBus)
    assert isinstance(rabbit.inner, RabbitBus)
    assert rabbit.broker is rabbit.inner.broker
    assert faststream_app(Service("edge", rabbit)).broker is rabbit.inner.broker


def test_a_service_without_a_key_does_not_start_where_one_is_required(keys: Path, tmp_path: Path) -> None:
    inner = DirectBus(DirectBroker())
    with pytest.raises(BadKeys, match="message-keys create orchestrator"):
        signing_bus(inner, keys, "orchestrator")
    with pytest.raises(BadKeys, match="create-all"):
        signing_bus(inner, tmp_path / "nowhere", "edge", Mode.OPTIONAL)


async def test_optional_signs_where_there_is_a_key_and_takes_both(world: World, keys: Path) -> None:
    inbox = Inbox()
    receiver = signing_bus(world.bus(), keys, "registry", Mode.OPTIONAL)
    receiver.subscribe(world.queue(), inbox, prefetch=10)
    await receiver.start()
    for name in ("edge", "a_service_without_a_key"):
        sender = signing_bus(world.bus(), keys, name, Mode.OPTIONAL)
        await sender.start()
        await sender.publish([frame(world.key())])
    signed, unsigned = await inbox.wait_for(2)
    assert signed.signer is not None
    assert (signed.signer.name, signed.signer.kind) == ("edge", SenderKind.SERVICE)
    assert unsigned.signer is None


async def test_what_is_refused_becomes_a_dead_letter_as_it_came_and_is_counted(world: World, keys: Path) -> None:
    dead, inbox = await graves(world, "unsigned", "bad-signature"), Inbox()
    receiver = signing_bus(world.bus(), keys)
    receiver.subscribe(world.queue(), inbox, prefetch=10)
    await receiver.start()
    attacker = await world.started()
    await attacker.publish([frame(world.key(), "one", headers={"a": "b"}), frame(world.key(), "two")])
    await attacker.publish([frame(world.key(), "three", headers={SIGNATURE: "forged"})])
    letters = await dead.wait_for(3)
    assert dead.bodies == ["one", "two", "three"]
    assert [letter.routing_key for letter in letters] == ["unsigned", "unsigned", "bad-signature"]
    assert letters[0].headers["a"] == "b"
    assert letters[2].headers[SIGNATURE] == "forged"
    assert receiver.refused == {"unsigned": 2, "bad-signature": 1}
    await receiver.publish([frame(world.key(), "good")])
    await inbox.wait_for(1)
    assert inbox.bodies == ["good"]


async def test_a_refused_message_waits_where_the_dead_letters_cannot_be_reached(
    world: World, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.runtime.bus.secured.PAUSE", 0.01)
    away, dead = [True, True], await graves(world, "unsigned")

    class Flaky(DirectBus):
        def subscribe(self, queue, receive, *, prefetch, accepts=()):  # type: ignore[no-untyped-def]
            async def reluctant(delivery: Delivery) -> None:
                if away:
                    away.pop()

                    async def fail(reason: str, detail: str) -> None:
                        raise BusUnavailable("away")

                    monkeypatch.setattr(type(delivery), "dead_letter", lambda _, reason, detail: fail(reason, detail))
                else:
                    monkeypatch.undo()
                await receive(delivery)

            return super().subscribe(queue, reluctant, prefetch=prefetch, accepts=accepts)

    inner = await world.started()
    assert isinstance(inner, DirectBus)
    receiver = signing_bus(Flaky(inner._broker), keys)
    receiver.subscribe(world.queue(), Inbox(), prefetch=10)
    await receiver.start()
    await inner.publish([frame(world.key(), "patient")])
    (letter,) = await dead.wait_for(1)
    assert letter.body == b"patient"
    assert receiver.refused == {"unsigned": 1}
    await receiver.close()


async def test_sealed_queues_are_handed_over_as_it_came_and_can_be_opened(world: World, keys: Path) -> None:
    bus = signing_bus(world.bus(), keys, message_encryption=Mode.REQUIRED, encryption_keys=key_file(keys))
    sealed, plain = Inbox(), Inbox()
    bus.subscribe(Queue(world.name("sealed"), (world.key(),), sealed=True), sealed, prefetch=10)
    bus.subscribe(world.queue("plain", world.key()), plain, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key(), "secret")])
    (copy,), (opened,) = await sealed.wait_for(1), await plain.wait_for(1)
    assert is_encrypted(copy.body)
    assert b"secret" not in copy.body
    assert copy.signer is None
    again = opener_of(bus).open(copy)
    assert (again.body, again.signer) == (b"secret", opened.signer)
    assert opener_of(await world.started()).open(copy).body == copy.body  # a plain bus changes nothing


async def test_what_is_not_encrypted_or_not_for_us_is_undecryptable(world: World, keys: Path, tmp_path: Path) -> None:
    dead, inbox = await graves(world, "undecryptable"), Inbox()
    settings = {"message_encryption": Mode.REQUIRED, "encryption_keys": key_file(keys)}
    receiver = signing_bus(world.bus(), keys, **settings)
    receiver.subscribe(world.queue(), inbox, prefetch=10)
    await receiver.start()
    without = signing_bus(world.bus(), keys)
    (tmp_path / "other").mkdir()
    elsewhere = signing_bus(
        world.bus(), keys, message_encryption=Mode.REQUIRED, encryption_keys=key_file(tmp_path / "other")
    )
    for sender in (without, elsewhere, receiver):
        await sender.start()
        await sender.publish([frame(world.key(), f"from {sender is receiver}")])
    letters = await dead.wait_for(2)
    assert "not encrypted" in letters[0].headers["x-conclave-detail"]
    assert "no key" in letters[1].headers["x-conclave-detail"]
    await inbox.wait_for(1)
    assert inbox.bodies == ["from True"]
    assert receiver.refused == {"undecryptable": 2}


async def test_without_a_key_that_may_encrypt_now_it_is_as_if_the_broker_were_away(world: World, keys: Path) -> None:
    """Nothing else would have the senders keep their messages and try again."""
    path = key_file(keys)
    bus = signing_bus(world.bus(), keys, message_encryption=Mode.REQUIRED, encryption_keys=path)
    await bus.start()
    await bus.declare(world.queue())
    write_encryption_keys(path, [key.model_copy(update={"exp": 2}) for key in read_encryption_keys(path)])
    bus._cipher._file.look()  # type: ignore[union-attr]
    with pytest.raises(BusUnavailable, match="no key may encrypt now"):
        await bus.publish([frame(world.key())])


async def test_what_is_encrypted_or_signed_is_not_again(world: World, keys: Path) -> None:
    path = key_file(keys)
    bus = signing_bus(world.bus(), keys, message_encryption=Mode.REQUIRED, encryption_keys=path)
    inbox = Inbox()
    bus.subscribe(Queue(world.name("sealed"), (world.key(),), sealed=True), inbox, prefetch=10)
    await bus.start()
    encrypted = Cipher(path).encrypt(b"hello").decode()
    await bus.publish([frame(world.key(), encrypted), frame(world.key(), "x", headers={SIGNATURE: "theirs"})])
    first, second = await inbox.wait_for(2)
    assert first.body.decode() == encrypted
    assert SIGNATURE in first.headers
    assert (second.body, second.headers[SIGNATURE]) == (b"x", "theirs")


async def test_a_letter_is_published_again_as_it_was_and_endorsed_only_where_it_is_signed(
    world: World, keys: Path
) -> None:
    edge, again = signing_bus(world.bus(), keys), signing_bus(world.bus(), keys, "dead_letters")
    caught, dead, inbox = Inbox(), await graves(world, "unsigned"), Inbox()
    edge.subscribe(Queue(world.name("sealed"), (world.key(),), sealed=True), caught, prefetch=10)
    edge.subscribe(world.queue("work", world.key()), inbox, prefetch=10)
    await edge.start()
    await again.start()
    await edge.publish([frame(world.key(), "mine")])
    (first,) = await caught.wait_for(1)
    signed = frame(world.key(), "mine", message_id=first.message_id, headers=first.headers)
    await publish_again(again, signed)
    await publish_again(again, frame(world.key(), "forged"))
    (letter,) = await dead.wait_for(1)
    assert (letter.body, ENDORSEMENT in letter.headers) == (b"forged", False)
    _, endorsed = await inbox.wait_for(2)
    assert ENDORSEMENT in endorsed.headers
    assert endorsed.signer is not None
    assert endorsed.signer.name == "edge"
    await publish_again(await world.started(), frame(world.key(), "over a plain bus"))
    await dead.wait_for(2)


async def test_leftovers_of_a_removed_queue_are_opened_too(world: World, keys: Path) -> None:
    bus, dead, left = signing_bus(world.bus(), keys), await graves(world, "unsigned"), Inbox()
    await bus.start()
    queue = world.queue()
    await bus.declare(queue)
    await (await world.started()).publish([frame(world.key(), "forged")])
    await bus.publish([frame(world.key(), "mine")])
    await bus.remove(queue, left)
    assert left.bodies == ["mine"]
    await dead.wait_for(1)
    assert dead.bodies == ["forged"]


async def test_an_opened_delivery_is_like_the_one_that_came(world: World, keys: Path) -> None:
    bus = signing_bus(world.bus(), keys)
    inbox = Inbox(lambda delivery: delivery.ack() if delivery.redeliveries else delivery.retry())
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    sent = frame(world.key(), "x", correlation_id="c", reply_to="r")
    await bus.publish([sent])
    _, opened = await inbox.wait_for(2)
    for name in ("type", "message_id", "correlation_id", "reply_to", "routing_key", "queue", "exchange", "headers"):
        assert getattr(opened, name) == getattr(opened.came, name), name  # type: ignore[attr-defined]
    assert (opened.message_id, opened.correlation_id, opened.reply_to) == (sent.message_id, "c", "r")
    assert (opened.exchange, opened.redeliveries, opened.died_in) == ("conclave.commands", 1, "")


async def test_a_refusal_tells_its_reason(keys: Path, world: World) -> None:
    bus = signing_bus(world.bus(), keys)
    inbox = Inbox()
    bus.subscribe(Queue(world.name("sealed"), (world.key(),), sealed=True), inbox, prefetch=10)
    await bus.start()
    await bus.inner.publish([frame(world.key())])
    (copy,) = await inbox.wait_for(1)
    with pytest.raises(Refused, match="no header conclave-signature") as refused:
        opener_of(bus).open(copy)
    assert refused.value.reason == "unsigned"
