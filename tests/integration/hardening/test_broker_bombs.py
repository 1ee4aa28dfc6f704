"""Messages straight from the broker that are too large, too deep or no messages: dead letters, each with its reason,
and the next message is handled."""

import json
from typing import Any

import httpx
import pytest

from contracts.envelope import wrap
from contracts.execution import StartExecution
from contracts.topology import Address
from services.dead_letters.app import build as build_dead_letters
from services.orchestrator.engine.kinds import LARGEST_INPUTS
from services.orchestrator.outgoing import BYTES_PER_MESSAGE
from services.runtime import envelope_codec
from services.runtime.bus.base import Frame
from services.runtime.hosting.outcomes import LARGEST_OUTPUT
from services.runtime.store.base import DeadLetterFilter, Page
from tests.support.attacks import nested
from tests.support.edge_world import CHAIN, World, ended, started, until

START = StartExecution(execution_id="bomb", definition=CHAIN)


def envelope(inner: str, field: str = "inputs") -> bytes:
    text = wrap(START, sender="stranger").model_dump_json()
    whole = json.loads(text)
    whole["payload"][field] = "HERE"
    return json.dumps(whole).replace('"HERE"', inner).encode()


BOMBS: dict[str, tuple[bytes, str]] = {
    "inputs of 10,000 levels": (envelope(nested(10_000)), "recursion limit"),
    "a definition of 10,000 levels": (envelope(nested(10_000, '{"steps":[', "]}"), "definition"), "recursion limit"),
    "lists of 100,000 levels": (envelope(nested(100_000, "[", "]")), "recursion limit"),
    "no end": (b'{"a":' * 100_000, "recursion limit"),
    "half of a character": (envelope('{"a": "\\ud800"}'), "hex escape"),
    "no text": (b"\xff\xfe\x00" * 1_000, "expected value"),
    "nothing": (b"", "EOF"),
    "not an object": (b"[1, 2, 3]", "object"),
    "an id of a megabyte": (envelope('"' + "x" * 1_000_000 + '"', "execution_id"), "pattern"),
    "inputs that are none": (envelope('"text"'), "an object"),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_a_dead_letter_and_the_next_is_handled(
    world: World, client: httpx.AsyncClient, name: str
) -> None:
    body, reason = BOMBS[name]
    await send(world, START.address(), body)
    assert (await ended(client, await started(client, CHAIN, x=1)))["status"] == "completed"
    await world.run(build_dead_letters(world.settings, world.bus(), world.store))
    (letter,) = await buried(world, 1)
    assert letter.reason == "contract"
    assert reason.lower() in letter.detail.lower()
    assert len(letter.detail) < 5_000


async def test_a_message_that_is_too_large_is_not_read(
    world: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope_codec, "MAX_MESSAGE_BYTES", 10_000)
    await send(world, START.address(), envelope(json.dumps({"text": "x" * 10_000})))
    assert (await ended(client, await started(client, CHAIN, x=1)))["status"] == "completed"
    await world.run(build_dead_letters(world.settings, world.bus(), world.store))
    (letter,) = await buried(world, 1)
    assert letter.detail.endswith("bytes; at most 10,000 are read")


@pytest.mark.parametrize(
    "inner", [nested(150), '{"n": ' + "9" * 4_000 + "}", '{"n": ' + "9" * 5_000 + "}", '{"\\u0000": 1}']
)
async def test_what_can_be_read_and_not_kept_is_refused(world: World, client: httpx.AsyncClient, inner: str) -> None:
    await send(world, START.address(), envelope(inner))
    assert (await ended(client, await started(client, CHAIN, x=1)))["status"] == "completed"
    await world.run(build_dead_letters(world.settings, world.bus(), world.store))
    (letter,) = await buried(world, 1)
    assert letter.reason in ("refused", "contract")
    assert not (await world.store.read_log({"bomb": 0})).get("bomb")


async def test_a_definition_bomb_over_the_broker_is_refused_too(world: World, client: httpx.AsyncClient) -> None:
    steps = [{"id": f"s{i}", "agent_type": "x", "action": "y"} for i in range(10_001)]
    await send(world, START.address(), envelope(json.dumps({"name": "n", "steps": steps}), "definition"))
    assert (await ended(client, await started(client, CHAIN, x=1)))["status"] == "completed"
    await world.run(build_dead_letters(world.settings, world.bus(), world.store))
    (letter,) = await buried(world, 1)
    assert letter.reason == "refused"
    assert "fault" in letter.detail


async def send(world: World, address: Address, body: bytes) -> None:
    bus = world.bus()
    await bus.start()
    await bus.publish([Frame(address=address, body=body, type=START.TYPE, message_id="")])
    await bus.close()


async def buried(world: World, count: int) -> list[Any]:
    async def found() -> list[Any]:
        letters, _ = await world.store.list_dead_letters(DeadLetterFilter(), Page(50, None))
        return letters if len(letters) >= count else []

    await until(found)
    return await found()


def test_the_largest_of_our_own_messages_are_read() -> None:
    assert max(LARGEST_INPUTS, LARGEST_OUTPUT) + BYTES_PER_MESSAGE < envelope_codec.MAX_MESSAGE_BYTES
