"""Clerks: agents that a test creates through the API, asks, keeps waiting, and whose hosts it kills."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
from pydantic import BaseModel, ConfigDict

from services.dead_letters.app import build as build_dead_letters
from services.registry.app import build as build_registry
from services.runtime.agent import BaseAgent, CapabilityError, Mail, capability, on_message
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from tests.support.edge_world import API, World, edge_settings, until

AGENTS = f"{API}/agents"
MAX_AGENTS = 5


@dataclass
class Desk:
    """What the clerks of one host do, for a test to see and to decide."""

    gates: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    failures: Counter[str] = field(default_factory=Counter)  # how often to fail on a text
    heard: list[tuple[str, str]] = field(default_factory=list)  # agent id and text, as work on it begins


class ClerkConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    greeting: str = "hello"
    password: str = ""


class Text(BaseModel):
    text: str
    gate: str | None = None


class Said(BaseModel):
    text: str
    desk: int


def clerks(desk: Desk, number: int) -> type[BaseAgent]:
    """The clerks of one host: a class of its own, so that each knows its desk."""

    class Clerk(BaseAgent):
        """Greets."""

        agent_type: ClassVar[str] = "clerk"
        config_model = ClerkConfig

        @capability("greet")
        async def greet(self, request: Text) -> Said:
            """Greet somebody, once the gate is open."""
            desk.heard.append((self.agent_id, request.text))
            if request.gate is not None:
                await desk.gates[request.gate].wait()
            if desk.failures[request.text] > 0:
                desk.failures[request.text] -= 1
                raise OSError("the printer is out of paper")
            return Said(text=f"{self.settings.greeting} {request.text}", desk=number)

        @on_message("note")
        async def note(self, mail: Mail) -> dict[str, Any]:
            desk.heard.append((self.agent_id, mail.body["text"]))
            if mail.body["text"] == "rude":
                raise CapabilityError("clerks take no rude notes", code="Rude")
            return {"noted": mail.body["text"], "from": mail.sender_id, "id": mail.message_id}

    return Clerk


@dataclass
class Office:
    """An edge, the registry, dead letters, and two hosts of clerks."""

    world: World
    client: httpx.AsyncClient
    desks: list[Desk]
    hosts: list[Service]

    def heard(self) -> list[tuple[str, str]]:
        return [one for desk in self.desks for one in desk.heard]

    async def until_heard(self, text: str, count: int = 1) -> None:
        async def heard() -> bool:
            return [heard_text for _, heard_text in self.heard()].count(text) >= count

        await until(heard)

    def open_gate(self, name: str) -> None:
        for desk in self.desks:
            desk.gates[name].set()

    def fail_on(self, text: str, times: int) -> None:
        for desk in self.desks:
            desk.failures[text] = times

    async def kill(self, number: int) -> None:
        """As kill -9 does it: the connection is gone, and nothing was said before."""
        await self.hosts[number].bus.close()

    async def create(self, agent_id: str, **more: Any) -> dict[str, Any]:
        answer = await self.client.post(AGENTS, json={"agent_type": "clerk", "agent_id": agent_id, **more})
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def ask(self, agent_id: str, text: str, *, timeout: float = 20, **inputs: Any) -> httpx.Response:
        """Have an agent greet somebody, and wait for it."""
        return await self.client.post(
            f"{AGENTS}/{agent_id}/message",
            params={"wait": "true", "timeout": timeout},
            json={"payload": {"action": "greet", "inputs": {"text": text, **inputs}}},
        )

    async def tell(self, agent_id: str, text: str, **headers: str) -> httpx.Response:
        """Have an agent greet somebody, and do not wait."""
        content = {"action": "greet", "inputs": {"text": text}}
        return await self.client.post(f"{AGENTS}/{agent_id}/message", json={"payload": content}, headers=headers)


@asynccontextmanager
async def office(**settings: Any) -> AsyncIterator[Office]:
    world = World(edge_settings().model_copy(update={"agent_heartbeat": 0.2, "max_agents": MAX_AGENTS, **settings}))
    desks = [Desk(), Desk()]
    hosts: list[Service] = []
    try:
        await world.run(build_registry(world.settings, world.bus(), world.store))
        await world.run(build_dead_letters(world.settings, world.bus(), world.store))
        for number, desk in enumerate(desks):
            hosts.append(agent_service(clerks(desk, number), world.settings, world.bus()))
            await world.run(hosts[-1])
        client = await world.run_edge()

        async def known() -> bool:
            types = (await client.get(f"{AGENTS}/types")).json()["items"]
            return [len(one["hosts"]) for one in types] == [2]

        await until(known)
        yield Office(world, client, desks, hosts)
    finally:
        await world.close()


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem document of a refusal."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:conclave:problem:{kind}", document
    return document
