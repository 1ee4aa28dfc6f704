"""Services running inside a test, over the direct bus, with a store in memory or a real one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from contracts.envelope import Message, new_id
from contracts.execution import StartExecution
from services.coordinator_agent.app import build as build_coordinator
from services.data_agent.app import build as build_data
from services.decision_agent.app import build as build_decision
from services.orchestrator.app import build as build_orchestrator
from services.registry.app import build as build_registry
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.envelope_codec import Outgoing
from services.runtime.requests import Requests
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.telemetry.telemetry import Telemetry

PATIENCE = 30.0


def start(definition: dict[str, Any] | None = None, **fields: Any) -> StartExecution:
    """A start under an execution id of its own."""
    return StartExecution(**{"execution_id": f"exec-{new_id()}", "definition": definition, **fields})


class Running:
    """A running system and a client of it that speaks over the bus, as any program could."""

    def __init__(self, broker: DirectBroker, store: Store) -> None:
        self.broker = broker
        self.store = store
        self._bus = DirectBus(broker)
        self._requests = Requests(self._bus, "test-client")

    async def start(self) -> None:
        await self._bus.start()

    async def stop(self) -> None:
        await self._requests.stop()
        await self._bus.close()

    async def ask(self, message: Message, *, traceparent: str = "") -> Message:
        return await self._requests.ask(Outgoing(message, traceparent=traceparent), PATIENCE)

    async def until(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Ask until the answer is true, and return it."""
        async with asyncio.timeout(PATIENCE):
            while not (answer := await question()):
                await asyncio.sleep(0.01)
        return answer

    async def ended(self, execution_id: str) -> str:
        """Wait for an execution to end; returns how."""
        return str(await self.until(lambda: how_it_ended(self.store, execution_id)))

    async def outputs(self, execution_id: str) -> dict[str, Any]:
        return await outputs_of(self.store, execution_id)


async def how_it_ended(store: Store, execution_id: str) -> str | None:
    """An execution's status once it has ended, None before."""
    header = (await store.read_headers([execution_id])).get(execution_id)
    return header.status.value if header is not None and header.status.ended else None


async def outputs_of(store: Store, execution_id: str) -> dict[str, Any]:
    """What each step that succeeded gave."""
    entries = (await store.read_log({execution_id: 0}))[execution_id]
    events = [event for entry in entries for event in entry.events]
    return {event.step: event.output for event in events if event.kind == "step_succeeded"}


@asynccontextmanager
async def running(
    store: Store,
    settings: Settings,
    more: Sequence[Callable[[DirectBroker], Service]] = (),
    telemetry: Telemetry | None = None,
) -> AsyncIterator[Running]:
    """Orchestrator, registry and the three agents; ``more`` builds further services on the same broker."""
    broker = DirectBroker()
    services = [
        build_orchestrator(settings, DirectBus(broker), store, telemetry=telemetry),
        build_registry(settings, DirectBus(broker), store, telemetry=telemetry),
        *(
            build(settings, DirectBus(broker), telemetry=telemetry)
            for build in (build_data, build_decision, build_coordinator)
        ),
        *(build(broker) for build in more),
    ]
    system = Running(broker, store)
    for service in services:
        await service.start()
    await system.start()
    try:
        await system.until(lambda: _announced(store, 3 + len(more)))
        yield system
    finally:
        await system.stop()
        for service in reversed(services):
            await service.stop()


async def _announced(store: Store, count: int) -> bool:
    return len(await store.list_hosts()) >= count
