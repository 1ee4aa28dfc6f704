"""The edge with everything behind it in one process, for tests that are its clients."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
from pydantic import BaseModel

from contracts.access import ApiKey, Role
from contracts.history import ExecutionStatus, LogEntry
from services.edge.app import build as build_edge
from services.edge.dependencies import Edge
from services.edge.server import Server
from services.monitor.app import build as build_monitor
from services.monitor.pace import Pace
from services.orchestrator.app import build as build_orchestrator
from services.registry.app import build as build_registry
from services.runtime.agent import BaseAgent, CapabilityError, capability
from services.runtime.bus.base import Bus
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.hosting.host import agent_service
from services.runtime.security.api_keys import read_key_text, secret_hash
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.documents import api_key_document
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.api_access import ADMIN_KEY, HASH_KEY, HEADERS
from tests.support.memory_store import MemoryStore

PATIENCE = 30.0
API = "/api/v1"


class Work(BaseModel):
    gate: str | None = None
    size: int = 0
    fail: bool = False
    data: Any = None


class Done(BaseModel):
    data: Any
    text: str


class DeskAgent(BaseAgent):
    """Does nothing much, but waits at gates that a test opens."""

    agent_type: ClassVar[str] = "desk_agent"

    @capability("work")
    async def work(self, request: Work) -> Done:
        if request.gate is not None:
            await self.config["gates"].setdefault(request.gate, asyncio.Event()).wait()
        if request.fail:
            raise CapabilityError("told to fail", code="Told")
        return Done(data=request.data, text="x" * request.size)


def step(step_id: str, *needs: str, **inputs: Any) -> dict[str, Any]:
    return {"id": step_id, "agent_type": "desk_agent", "action": "work", "inputs": inputs, "depends_on": list(needs)}


def definition(*steps: dict[str, Any], name: str = "test_workflow") -> dict[str, Any]:
    return {"name": name, "steps": list(steps)}


CHAIN = definition(step("step1", data="inputs.x"), step("step2", data="step1.output.data"))


def stored_key(text: str, *, name: str = "tests", role: Role = Role.ADMIN, **more: Any) -> ApiKey:
    """A key as the access service stores it."""
    parts = read_key_text(text)
    assert parts is not None, text
    hashed = secret_hash(parts.secret, HASH_KEY)
    return ApiKey(id=parts.id, name=name, role=role, secret_hash=hashed, created_at=1.0, **more)


ADMIN = stored_key(ADMIN_KEY)


@dataclass
class World:
    """Everything in this process, over one direct broker and one store in memory; ``telemetry`` is the process's."""

    settings: Settings
    broker: DirectBroker = field(default_factory=DirectBroker)
    store: MemoryStore = field(default_factory=MemoryStore)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    running: list[Service | Server] = field(default_factory=list)
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    telemetry: Telemetry = field(default_factory=Telemetry)

    def bus(self) -> DirectBus:
        return DirectBus(self.broker)

    async def run(self, service: Service | Server) -> None:
        await service.start()
        self.running.append(service)

    async def run_edge(self, bus: Bus | None = None, store: Store | None = None) -> httpx.AsyncClient:
        """Serve, and return a client of it that is signed in with the admin key: it is in the world's own store, and a
        store that is given has to have it."""
        self.keep(ADMIN)
        server = build_edge(self.settings, bus or self.bus(), store or self.store, telemetry=self.telemetry)
        await self.run(server)
        return self.client(server.port, HEADERS)

    def client(self, port: int, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, headers=headers)
        self.clients.append(client)
        return client

    def stranger(self) -> httpx.AsyncClient:
        """A client of the edge that runs, who brings no credentials."""
        (server,) = [service for service in self.running if isinstance(service, Server)]
        return self.client(server.port)

    def keep(self, *keys: ApiKey) -> None:
        """Have API keys in the store."""
        for key in keys:
            self.store.rows["api_keys"][key.id] = api_key_document(key)

    @property
    def edge(self) -> Edge:
        """The parts of the edge that runs."""
        (server,) = [service for service in self.running if isinstance(service, Server)]
        edge: Edge = server.app.state.edge
        return edge

    async def run_orchestrator(self, bus: Callable[[], Bus] | None = None) -> None:
        bus = bus or self.bus
        await self.run(build_orchestrator(self.settings, bus(), self.store, telemetry=self.telemetry))

    async def run_agents(self, bus: Callable[[], Bus] | None = None) -> None:
        bus = bus or self.bus
        gates = {"gates": self.gates}
        await self.run(build_registry(self.settings, bus(), self.store, telemetry=self.telemetry))
        await self.run(agent_service(DeskAgent, self.settings, bus(), gates, telemetry=self.telemetry))

    async def run_monitor(self, bus: Callable[[], Bus] | None = None, pace: Pace | None = None) -> None:
        await self.run(build_monitor(self.settings, (bus or self.bus)(), self.store, pace=pace))

    def open_gate(self, name: str) -> None:
        self.gates.setdefault(name, asyncio.Event()).set()

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()
        for service in reversed(self.running):
            await service.stop()


def edge_settings() -> Settings:
    return Settings(api_port=0, communication_protocol="direct", shutdown_timeout=2.0)


@asynccontextmanager
async def whole_world() -> AsyncIterator[World]:
    """A world in which everything runs and the agents are known; its client is ``clients[0]``."""
    world = World(edge_settings())
    try:
        await world.run_orchestrator()
        await world.run_agents()
        client = await world.run_edge()
        await until(lambda: accepts(client, CHAIN))
        yield world
    finally:
        await world.close()


async def accepts(client: httpx.AsyncClient, wanted: Mapping[str, Any]) -> bool:
    """Whether the agents are known by now: a definition that uses them passes its checks."""
    return (await client.post(f"{API}/workflows?workflow_id=probe", json=wanted)).status_code == 201


async def until(reached: Callable[[], Any]) -> Any:
    """Ask until the answer is true, and return it."""
    async with asyncio.timeout(PATIENCE):
        while not (answer := await reached()):
            await asyncio.sleep(0.01)
    return answer


async def ended(client: httpx.AsyncClient, href: str) -> dict[str, Any]:
    """The execution, once it has ended."""
    async with asyncio.timeout(PATIENCE):
        while True:
            view: dict[str, Any] = (await client.get(href)).json()
            if view["status"] != ExecutionStatus.RUNNING:
                return view
            await asyncio.sleep(0.01)


async def started(client: httpx.AsyncClient, wanted: Mapping[str, Any], **inputs: Any) -> str:
    """The path of an execution just started. As the API advises, a 503 is answered by the same start under its key."""
    once = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"definition": wanted, "inputs": inputs}
    async with asyncio.timeout(PATIENCE):
        while (answer := await client.post(f"{API}/executions", json=body, headers=once)).status_code == 503:
            await asyncio.sleep(0.1)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


async def logged(world: World, href: str) -> list[LogEntry]:
    """The log of an execution, as the store has it."""
    execution_id = href.rpartition("/")[2]
    return (await world.store.read_log({execution_id: 0}))[execution_id]


@dataclass(frozen=True)
class Event:
    id: str
    kind: str
    data: dict[str, Any]


class EventStream:
    """A client of a stream of server-sent events."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.events: list[Event] = []
        self._lines = answer.aiter_lines()

    async def next(self) -> Event | None:
        """The next event, or None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "event" in fields:
                    event = Event(fields["id"], fields["event"], json.loads(fields["data"]))
                    self.events.append(event)
                    return event
        return None

    async def until(self, kind: str) -> Event:
        while (event := await self.next()) is not None:
            if event.kind == kind:
                return event
        raise AssertionError(f"the stream ended before {kind}")

    async def rest(self) -> list[Event]:
        """Every event of the stream, once it has ended."""
        while await self.next() is not None:
            pass
        return self.events


@asynccontextmanager
async def followed(client: httpx.AsyncClient, href: str, **headers: str) -> AsyncIterator[EventStream]:
    async with client.stream("GET", f"{href}/events", headers=headers) as answer:
        yield EventStream(answer)
