"""A whole system in one process, for the examples of the API's documentation: every service, on the bus that the
settings name, and a tap on the broker that keeps a copy of every message."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from contracts import topology
from contracts.catalog import MESSAGES
from contracts.envelope import Envelope, Message
from contracts.topology import Address, Exchange, Queue, QueueKind
from scripts.setup_environment import ROOT
from services.__main__ import service_names
from services.runtime.bus.base import Bus, Delivery, Frame
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import open_bus
from services.runtime.envelope_codec import UnreadableMessage, decode
from services.runtime.process import Application, Runnable
from services.runtime.settings import Protocol, Settings
from services.runtime.telemetry.operations import Observed, Operations
from services.runtime.telemetry.telemetry import Telemetry

# Of no use anywhere else: the installation that they open lives as long as the examples run.
ADMIN_KEY = "ck_documentatio_" + "only-for-the-examples_" + "0123456789abcdefghijk"
HASH_KEY = "only-for-the-examples-0123456789-abcdef"
PATIENCE = 60.0  # seconds, of a machine that has much else to do
API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Taken:
    """A message as the tap saw it. ``json`` is its envelope as it travelled."""

    envelope: Envelope[Message]
    json: str
    exchange: str
    routing_key: str
    reply_to: str


@dataclass
class Tap:
    """Every message that was published, in the order in which the broker gave it here."""

    taken: list[Taken] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    async def take(self, delivery: Delivery) -> None:
        # What goes to the dead letters is there to be no message of ours.
        if delivery.exchange != Exchange.DEAD:
            try:
                envelope = decode(delivery, MESSAGES)
            except UnreadableMessage as error:
                self.unread.append(f"{delivery.exchange} {delivery.routing_key}: {error.detail}")
            else:
                text = delivery.body.decode()
                where = (delivery.exchange, delivery.routing_key, delivery.reply_to)
                self.taken.append(Taken(envelope, text, *where))
        await delivery.ack()


@dataclass
class System:
    """A running system: its API, its bus, and what was said on it."""

    url: str
    bus: Bus
    tap: Tap
    replies: dict[str, "asyncio.Future[str]"]
    reply_queue: str
    services: list[Runnable]

    async def publish(self, address: Address, body: str, kind: str, message_id: str, *, asks: bool) -> str | None:
        """Publish a message as any program may; the answer's envelope as JSON, where one is asked for."""
        reply_to = self.reply_queue if asks else ""
        frame = Frame(address, body.encode(), kind, message_id, reply_to=reply_to)
        if not asks:
            await self.bus.publish([frame])
            return None
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.replies[message_id] = answer
        async with asyncio.timeout(PATIENCE):
            await self.bus.publish([frame])
            return await answer

    async def first_taken(self, fits: Callable[[Taken], bool]) -> Taken:
        """The first message that fits, once there is one."""
        return cast(Taken, await until(lambda: _first(self.tap.taken, fits)))

    async def end_hosts(self) -> None:
        """Stop the services that run agents; each tells that it is gone."""
        for service in [one for one in self.services if one.name.endswith("_agent")]:
            await service.stop()
            self.services.remove(service)


async def _first(taken: list[Taken], fits: Callable[[Taken], bool]) -> Taken | None:
    return next((one for one in taken if fits(one)), None)


async def until(question: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is true, and return it.

    Raises:
        TimeoutError: it is not in time.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            if answer := await question():
                return answer
            await asyncio.sleep(0.05)


def documented_settings(database_url: str, **more: Any) -> Settings:
    """The settings of the system that is documented: those of an installation like any other, but for ports, keys, and
    how often hosts and processes say how they do."""
    examples = ROOT / "examples"
    given: dict[str, Any] = {
        "database_url": database_url,
        "communication_protocol": Protocol.DIRECT,
        "api_port": 0,
        "metrics_port": 0,
        "api_key_hash_key": HASH_KEY,
        "initial_admin_key": ADMIN_KEY,
        "data_folder": examples / "data",
        "plugin_folder": examples / "plugins" / "folder",
        "agent_policy": examples / "policy.toml",
        "agent_heartbeat": 1.0,
        "report_interval": 1.0,
        "rate_limit": 100_000,
        "shutdown_timeout": 5.0,
        **more,
    }
    # Whatever the environment says.
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    return Settings(**{**defaults, **given})


def built_services(
    settings: Settings, broker: DirectBroker | None = None, telemetry: Telemetry | None = None
) -> list[Runnable]:
    """Every service there is, not started."""
    telemetry = telemetry or Telemetry()
    built = []
    for name in service_names():
        module = cast(Application, importlib.import_module(f"services.{name}.app"))
        built.append(module.build(settings, open_bus(settings, name, broker, telemetry), telemetry=telemetry))
    return built


@asynccontextmanager
async def running_system(settings: Settings) -> AsyncIterator[System]:
    """Everything that there is, ready: agents are known, and the API lets the admin key in.

    Raises:
        BusError: the broker is not ours alone, or refuses us. TimeoutError: it does not get ready.
    """
    broker = DirectBroker() if settings.communication_protocol is Protocol.DIRECT else None
    bus = open_bus(settings, "documentation", broker)
    tap = Tap()
    everything = tuple(Address(exchange, "#") for exchange in Exchange)
    # One at a time, so that they are kept in the order in which they came.
    bus.subscribe(
        Queue("documentation.tap", everything, QueueKind.BROADCAST, delivery_limit=None, sealed=True),
        tap.take,
        prefetch=1,
    )
    replies: dict[str, asyncio.Future[str]] = {}
    reply_queue = topology.reply_queue("reply.documentation")

    async def answered(delivery: Delivery) -> None:
        waiting = replies.get(delivery.correlation_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(delivery.body.decode())
        await delivery.ack()

    bus.subscribe(reply_queue, answered, prefetch=100)
    await bus.start()
    telemetry = Telemetry()
    services = built_services(settings, broker, telemetry)
    operations = Operations(settings, telemetry, [one for one in services if isinstance(one, Observed)])
    await operations.start()
    system = System("", bus, tap, replies, reply_queue.name, [])
    try:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as starting:
            for service in services:
                starting.create_task(service.start())
                system.services.append(service)
        port = next(service.port for service in services if service.name == "edge")  # type: ignore[attr-defined]
        system.url = f"http://127.0.0.1:{port}"
        await _ready(system.url, sum(service.name.endswith("_agent") for service in services))
        yield system
    finally:
        await operations.end()
        for service in reversed(system.services):
            await service.stop()
        await operations.stop()
        await bus.close()


async def _ready(url: str, types: int) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": ADMIN_KEY}) as client:

        async def knows_agents() -> bool:
            answer = await client.get(f"{API}/agents")
            return answer.status_code == 200 and len(answer.json()["items"]) >= types

        async def monitor_has_heard() -> bool:
            answer = await client.get(f"{API}/monitoring/system")
            return answer.status_code == 200 and bool(answer.json()["processes"])

        await until(knows_agents)
        await until(monitor_has_heard)
