"""Registries over the direct bus or another, hosts that are real and hosts that do only what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from contracts import topology
from contracts.agents import AgentDescriptor, AgentRecord, AgentSpec, AgentState, AgentStatus, Capability
from contracts.envelope import Message
from contracts.execution import Refused
from contracts.hosts import AgentReleased, AgentTaken, HostAnnounced, HostAssignment, HostHeartbeat
from contracts.registry import AgentCreated, CreateAgent
from contracts.workflow import Fault
from services.registry.app import build as build_registry
from services.runtime.bus.base import Bus, Delivery
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.envelope_codec import Outgoing, decode
from services.runtime.hosting.host import agent_service
from services.runtime.requests import Requests
from services.runtime.service import Outbox, Service
from services.runtime.settings import Protocol, Settings
from tests.support.host_world import Clerk, Office
from tests.support.memory_store import MemoryStore

PATIENCE = 60.0
HEARTBEAT = 0.2

M = TypeVar("M", bound=Message)


class ToldHost:
    """A host of clerks as the registry sees one. It says what the test says, and keeps what it is told."""

    def __init__(self, world: "RegistryWorld", host_id: str, heartbeat: float) -> None:
        self.host_id = host_id
        self.told: list[HostAssignment] = []
        self._world = world
        self._heartbeat = heartbeat

    async def start(self) -> None:
        queue = topology.host_queue(self.host_id, ["clerk"])
        await self._world.bus.subscribe(queue, self._hear, prefetch=10).start()
        await self.announce()

    async def announce(self) -> None:
        capability = Capability(name="write", input_schema={}, output_schema={})
        descriptor = AgentDescriptor(agent_type="clerk", capabilities=(capability,))
        await self._world.say(
            HostAnnounced(
                host_id=self.host_id, service="clerks", descriptors=(descriptor,), heartbeat_seconds=self._heartbeat
            )
        )

    async def beat(self, **statuses: AgentStatus) -> None:
        states = tuple(AgentState(agent_id=agent_id, status=status) for agent_id, status in statuses.items())
        await self._world.say(HostHeartbeat(host_id=self.host_id, agents=states))

    async def take(self, agent_id: str) -> None:
        await self._world.say(AgentTaken(host_id=self.host_id, agent_id=agent_id, ok=True, capabilities=("write",)))

    async def refuse(self, agent_id: str, error: str = "", *faults: Fault) -> None:
        await self._world.say(AgentTaken(host_id=self.host_id, agent_id=agent_id, ok=False, error=error, faults=faults))

    async def release(self, agent_id: str) -> None:
        await self._world.say(AgentReleased(host_id=self.host_id, agent_id=agent_id))

    async def until_told(self, wanted: Callable[[HostAssignment], bool]) -> HostAssignment:
        async def found() -> HostAssignment | None:
            return next((one for one in self.told if wanted(one)), None)

        assignment: HostAssignment = await self._world.until(found)
        return assignment

    async def until_told_to_run(self, agent_id: str) -> AgentSpec:
        assignment = await self.until_told(lambda one: agent_id in [spec.agent_id for spec in one.run])
        return next(spec for spec in assignment.run if spec.agent_id == agent_id)

    async def until_told_to_stop(self, agent_id: str) -> None:
        await self.until_told(lambda one: agent_id in one.stop)

    async def _hear(self, delivery: Delivery) -> None:
        message = decode(delivery, {HostAssignment.TYPE: HostAssignment}).payload
        assert isinstance(message, HostAssignment)
        self.told.append(message)
        await delivery.ack()


class RegistryWorld:
    """One broker and one store; what a test starts of the rest. ``make_bus`` is a connection to another broker."""

    def __init__(self, make_bus: Callable[[], Bus] | None = None, **settings: Any) -> None:
        # Whichever bus it is, its hosts outlive a registry here, as they do over a broker.
        values = {"communication_protocol": Protocol.RABBITMQ, "agent_heartbeat": HEARTBEAT, "agent_timeout": 10.0}
        self.settings = Settings(**{**values, "shutdown_timeout": 5.0, **settings})
        self.broker = DirectBroker()
        self.store = MemoryStore()
        self.office = Office()
        self.make_bus = make_bus or (lambda: DirectBus(self.broker))
        self.bus = self.make_bus()
        self._requests = Requests(self.bus, "test-client")
        self._outbox = Outbox(self.bus, "test-client")
        self._services: list[Service] = []

    async def start(self) -> None:
        await self.bus.start()
        for queue in (topology.registry_queue(), topology.orchestrator_crashed()):
            await self.bus.declare(queue)

    async def stop(self) -> None:
        await self.office.open(*self.office.closed)
        for service in reversed(self._services):
            await service.stop()
        await self._requests.stop()
        await self.bus.close()

    # ---- services

    async def registry(self, **settings: Any) -> Service:
        """One more replica."""
        return await self._started(build_registry(self._with(settings), self.make_bus(), self.store))

    async def host(self, name: str, **settings: Any) -> Service:
        """A real host of clerks, which the registry has heard of."""
        clerk = type("Clerk", (Clerk,), {"agent_type": "clerk", "office": self.office, "host": name})
        bus = self.make_bus()
        known = len(await self.store.list_hosts())
        service = await self._started(agent_service(clerk, self._with(settings), bus, {"safe": "locked"}))

        async def announced() -> bool:
            return len(await self.store.list_hosts()) > known

        await self.until(announced)
        return service

    async def told_host(self, host_id: str, heartbeat: float = 60.0) -> ToldHost:
        host = ToldHost(self, host_id, heartbeat)
        await host.start()
        return host

    async def kill(self, service: Service) -> None:
        """Its connection goes, and what it held goes back; it may never use the bus again."""
        await service.bus.close()

    async def _started(self, service: Service) -> Service:
        await service.start()
        self._services.append(service)
        return service

    def _with(self, settings: dict[str, Any]) -> Settings:
        return self.settings.model_copy(update=settings)

    # ---- what is said and asked

    async def say(self, message: Message) -> None:
        await self._outbox.send([Outgoing(message)])

    async def ask(self, message: Message, answer: type[M]) -> M:
        found = await self._requests.ask(Outgoing(message), PATIENCE)
        assert isinstance(found, answer), found
        return found

    def asked(self, message: Message, answer: type[M]) -> "asyncio.Task[M]":
        """The same, without waiting for the answer."""
        return asyncio.create_task(self.ask(message, answer))

    async def refused(self, message: Message, code: str) -> Refused:
        found = await self.ask(message, Refused)
        assert found.code == code, found
        return found

    async def create(self, agent_id: str, **fields: Any) -> AgentRecord:
        created = await self.ask(CreateAgent(agent_type="clerk", agent_id=agent_id, **fields), AgentCreated)
        return created.agent

    # ---- what came of it

    async def until(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Ask until the answer is true, and return it."""
        async with asyncio.timeout(PATIENCE):
            while not (answer := await question()):
                await asyncio.sleep(0.01)
        return answer

    async def until_status(self, agent_id: str, status: AgentStatus) -> AgentRecord:
        async def reached() -> AgentRecord | None:
            record = await self.store.get_agent(agent_id)
            return record if record is not None and record.status is status else None

        record: AgentRecord = await self.until(reached)
        return record

    async def until_gone(self, agent_id: str) -> None:
        async def gone() -> bool:
            return await self.store.get_agent(agent_id) is None

        await self.until(gone)


@asynccontextmanager
async def registry_world(make_bus: Callable[[], Bus] | None = None, **settings: Any) -> AsyncIterator[RegistryWorld]:
    world = RegistryWorld(make_bus, **settings)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()
