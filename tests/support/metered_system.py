"""A system in one process whose metrics are read as Prometheus reads them, beside what really happened: the logs in the
store, the agents' ledger, and every message on the broker."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from prometheus_client import parser
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from pydantic_core import from_json

from contracts.envelope import Message
from contracts.history import LogEntry
from contracts.topology import Address, Exchange, Queue
from services.orchestrator.app import build as build_orchestrator
from services.registry.app import build as build_registry
from services.runtime.bus.base import Bus, Delivery
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import open_bus
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.host import agent_service
from services.runtime.requests import Requests
from services.runtime.service import Outbox, Service
from services.runtime.settings import Protocol, Settings
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.counted_agent import CountedAgent, Ledger
from tests.support.memory_store import MemoryStore

PATIENCE = 30.0
CLIENT = "test-client"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Scrape:
    """One page of metrics, read."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in self.families:
            for sample in family.samples:
                self._samples[sample.name].append((dict(sample.labels), sample.value))

    def __getitem__(self, name: str) -> float:
        """All samples of a name together."""
        return sum(value for _, value in self._samples[name])

    def by(self, name: str, *labels: str, **where: str) -> dict[Any, float]:
        """The samples of a name that are not zero, by one label or by several."""
        found: Counter[Any] = Counter()
        for each, value in self._samples[name]:
            if value and all(each.get(label) == wanted for label, wanted in where.items()):
                found[each[labels[0]] if len(labels) == 1 else tuple(each[label] for label in labels)] += value
        return dict(found)

    @property
    def labels(self) -> Iterator[tuple[str, str, str]]:
        """Every metric, label and value."""
        for name, samples in self._samples.items():
            for labels, _ in samples:
                for label, value in labels.items():
                    yield name, label, value


class Wiretap:
    """Everything that was published, by somebody with a queue on every exchange: by sender, exchange and type."""

    QUEUE = Queue("tap", tuple(Address(exchange, "#") for exchange in Exchange), delivery_limit=None, sealed=True)

    def __init__(self) -> None:
        self.heard: Counter[tuple[bool, str, str]] = Counter()

    async def receive(self, delivery: Delivery) -> None:
        said = from_json(delivery.body)
        ours = said["sender"] == CLIENT and not said["retry_count"]  # tried again by the host, in its sender's name
        self.heard[ours, delivery.exchange, delivery.type] += 1
        await delivery.ack()

    def of_services(self) -> dict[tuple[str, str], int]:
        """What is moved to the dead letters is not published by a service, but by its bus."""
        return {
            (exchange, kind): count
            for (ours, exchange, kind), count in self.heard.items()
            if not ours and exchange != Exchange.DEAD
        }


class MeteredSystem:
    """It, and a client whose own messages are not metered."""

    def __init__(self, protocol: Protocol, store: MemoryStore, ledger: Ledger, bus: Bus, tap: Wiretap) -> None:
        self.protocol = protocol
        self.store = store
        self.ledger = ledger
        self.tap = tap
        self.requests = Requests(bus, CLIENT)
        self.outbox = Outbox(bus, CLIENT)
        self.port = 0

    async def ask(self, message: Message) -> Message:
        return await self.requests.ask(Outgoing(message), PATIENCE)

    async def until(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Ask until the answer is true, and return it."""
        async with asyncio.timeout(PATIENCE):
            while not (answer := await question()):
                await asyncio.sleep(0.05)
        return answer

    async def page(self, accept: str = "text/plain") -> str:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/metrics", headers={"accept": accept})
        assert answer.status_code == 200
        return answer.text

    async def scrape(self) -> Scrape:
        return Scrape(parser.text_string_to_metric_families(await self.page()))

    async def scrape_openmetrics(self) -> Scrape:
        return Scrape(read_openmetrics(await self.page(OPENMETRICS)))

    async def logs(self) -> dict[str, list[LogEntry]]:
        """The log of every execution there is."""
        return await self.store.read_log(dict.fromkeys(self.store.rows["headers"], 0))


@asynccontextmanager
async def metered_system(settings: Settings) -> AsyncIterator[MeteredSystem]:
    """Orchestrator, registry and a host of counted agents, as one process with its operations port."""
    telemetry, store, ledger, tap = Telemetry(), MemoryStore(), Ledger(), Wiretap()
    broker = DirectBroker() if settings.communication_protocol is Protocol.DIRECT else None
    agent_class = type("CountedAgentOfThisTest", (CountedAgent,), {"ledger": ledger})

    def bus(name: str) -> Bus:
        return open_bus(settings, name, broker, telemetry)

    services: list[Service] = [
        build_orchestrator(settings, bus("orchestrator"), store, telemetry=telemetry),
        build_registry(settings, bus("registry"), store, telemetry=telemetry),
        agent_service(agent_class, settings, bus("counted"), telemetry=telemetry),
    ]
    client_bus = open_bus(settings, CLIENT, broker)
    client_bus.subscribe(Wiretap.QUEUE, tap.receive, prefetch=500)
    system = MeteredSystem(settings.communication_protocol, store, ledger, client_bus, tap)
    operations = Operations(settings, telemetry, services)
    await client_bus.start()
    await system.requests.start()
    await operations.start()
    system.port = operations.port
    for service in services:
        await service.start()
    try:
        await system.until(store.list_hosts)
        yield system
    finally:
        for service in reversed(services):
            await service.stop()
        await operations.stop()
        await system.requests.stop()
        await client_bus.close()
