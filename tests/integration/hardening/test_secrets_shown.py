"""Secrets that agents, users and strangers let slip: masked in errors, events, dead letters and configurations; users'
data are shown as they are, but for keys."""

import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import httpx
import pytest
from pydantic import BaseModel

from contracts.topology import Address, Exchange
from services.dead_letters.app import build as build_dead_letters
from services.runtime.agent import BaseAgent, CapabilityError, capability
from services.runtime.bus.base import Frame
from services.runtime.hosting.host import agent_service
from services.runtime.security.api_keys import new_key_text
from services.runtime.store.base import DeadLetterFilter, Page
from tests.support.attacks import refused
from tests.support.edge_world import API, World, definition, ended, followed, logged, started, until, whole_world

PASSWORD = "hunter2-of-ann"
URL = f"postgresql://ann:{PASSWORD}@db.example/x"
KEY = str(new_key_text())
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqh\n-----END PRIVATE KEY-----"


class Slip(BaseModel):
    how: str
    data: Any = None


class Slipped(BaseModel):
    data: Any = None


class CarelessAgent(BaseAgent):
    """Says too much."""

    agent_type: ClassVar[str] = "careless_agent"

    @capability("slip")
    async def slip(self, request: Slip) -> Slipped:
        if request.how == "raise":
            raise ConnectionError(f"could not connect to {URL}")
        if request.how == "details":
            raise CapabilityError(f"password={PASSWORD}", code="Refused", details={"url": URL, "api_key": PASSWORD})
        return Slipped(data=request.data)

    async def process_message(self, message: Any) -> Any:
        raise CapabilityError(f"cannot answer with {URL}", code="Refused")


@pytest.fixture
async def careless() -> AsyncIterator[tuple[World, httpx.AsyncClient]]:
    async with whole_world() as world:
        await world.run(agent_service(CarelessAgent, world.settings, world.bus()))
        client = world.clients[0]
        probe = definition(slip("a", "return"))
        await until(lambda: _accepted(client, probe))
        yield world, client


def slip(step_id: str, how: str, data: Any = None) -> dict[str, Any]:
    return {"id": step_id, "agent_type": "careless_agent", "action": "slip", "inputs": {"how": how, "data": data}}


async def _accepted(client: httpx.AsyncClient, probe: dict[str, Any]) -> bool:
    return (await client.post(f"{API}/workflows?workflow_id=slip", json=probe)).status_code == 201


@pytest.mark.parametrize("how", ["raise", "details"])
async def test_what_an_agent_raises_holds_no_secret_anywhere(
    careless: tuple[World, httpx.AsyncClient], how: str
) -> None:
    world, client = careless
    href = await started(client, definition(slip("a", how)))
    view = await ended(client, href)
    assert "***" in view["errors"]["a"]["message"]
    if how == "details":
        assert view["errors"]["a"]["details"] == {"url": "postgresql://ann:***@db.example/x", "api_key": "***"}
    async with followed(client, href) as stream:
        events = [event.data for event in await stream.rest()]
    history = (await client.get(f"{href}/history")).text
    stored = [entry.model_dump_json() for entry in await logged(world, href)]
    for text in (json.dumps(view), json.dumps(events), history, *stored):
        assert PASSWORD not in text


async def test_outputs_are_shown_as_they_are_but_for_keys(careless: tuple[World, httpx.AsyncClient]) -> None:
    """Whoever has a column named password wants to see it; nobody wants to see a private key."""
    world, client = careless
    data = {"password": "swordfish", "url": URL, "pem": PEM, "keys": [KEY, f"of {KEY}"]}
    href = await started(client, definition(slip("a", "return", data)), given=KEY)
    view = await ended(client, href)
    shown = {"password": "swordfish", "url": URL, "pem": "***", "keys": ["***", "of ***"]}
    assert view["outputs"]["a"]["data"] == shown
    assert (await client.get(f"{href}/steps/a/output")).json()["data"] == shown
    assert view["inputs"] == {"given": "***"}
    history = (await client.get(f"{href}/history")).text
    assert KEY not in history
    assert "BEGIN PRIVATE" not in history
    stored = "".join(entry.model_dump_json() for entry in await logged(world, href))
    assert KEY in stored, "what is kept, and what the next step reads, is not altered"


async def test_large_outputs_too(careless: tuple[World, httpx.AsyncClient]) -> None:
    _, client = careless
    href = await started(client, definition(slip("a", "return", {"key": KEY, "rows": ["x" * 100] * 1_000})))
    await ended(client, href)
    large = await client.get(href, params={"include_large": "true"})
    for answer in (large, await client.get(f"{href}/steps/a/output")):
        assert KEY not in answer.text
        assert '"key":"***"' in answer.text


async def test_dead_letters_are_shown_masked_and_kept_whole(careless: tuple[World, httpx.AsyncClient]) -> None:
    world, client = careless
    bodies = [
        json.dumps({"type": "no.such.v1", "password": PASSWORD, "n": 1, "text": URL}).encode(),
        f"no JSON, password={PASSWORD} {KEY}".encode(),
        b"\xff\xfe password=" + PASSWORD.encode(),
    ]
    bus = world.bus()
    await bus.start()
    for i, body in enumerate(bodies):
        headers = {"x-api-key": KEY, "note": URL}
        address = Address(Exchange.COMMANDS, "execution.start")
        await bus.publish([Frame(address=address, body=body, type="", message_id=f"m{i}", headers=headers)])
    await bus.close()
    await world.run(build_dead_letters(world.settings, world.bus(), world.store))
    await until(lambda: _buried(world, len(bodies)))
    page = await client.get(f"{API}/monitoring/dead-letters")
    assert len(page.json()["items"]) == len(bodies)
    for item in page.json()["items"]:
        whole = await client.get(item["href"])
        assert whole.json()["headers"]["x-api-key"] == "***"
        for text in (page.text, whole.text):
            assert PASSWORD not in text
            assert KEY not in text
        kept = await world.store.get_dead_letter(item["dead_letter_id"])
        assert kept is not None
        assert kept.headers["x-api-key"] == KEY
        assert kept.encoded or PASSWORD in kept.body


async def _buried(world: World, count: int) -> bool:
    letters, _ = await world.store.list_dead_letters(DeadLetterFilter(), Page(50, None))
    return len(letters) >= count


async def test_an_agents_answer_that_fails(careless: tuple[World, httpx.AsyncClient]) -> None:
    _, client = careless
    mail = {"payload": {"a": 1}, "message_type": "x"}
    answer = await client.post(f"{API}/agents/careless_agent/message?wait=true", json=mail)
    assert PASSWORD not in refused(answer)["detail"]
    assert "postgresql://ann:***@db.example/x" in answer.json()["detail"]
