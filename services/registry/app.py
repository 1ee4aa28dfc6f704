"""The registry: which hosts there are, which agents they run, and the only one that creates and deletes agents. This is
its table: what it listens to, and what each meets."""

import asyncio
from collections.abc import Sequence

from faststream import FastStream

from contracts import topology
from contracts.hosts import AgentReleased, AgentTaken, HostAnnounced, HostHeartbeat, HostStopped
from contracts.registry import BroadcastMail, CreateAgent, DeleteAgent, FindAgents, SweepHosts
from services.registry.commanding import Commanding
from services.registry.finding import Finding
from services.registry.fresh_start import FreshStart
from services.registry.hearing import Hearing
from services.registry.ledger import Ledger
from services.registry.removing import Removing
from services.registry.sweeping import Sweeping, Ticker
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.security.policy import open_policy
from services.runtime.service import Outbox, Resource, Route, Service
from services.runtime.settings import Protocol, Settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store
from services.runtime.telemetry.health import store_answers
from services.runtime.telemetry.telemetry import Telemetry

NAME = "registry"
PREFETCH = 2_000  # commands that wait for a host hold up nobody behind them


class Registry(Service):
    """Its commands that wait for hosts go back to the queue when it stops: the next registry waits on."""

    def __init__(
        self, bus: Bus, ledger: Ledger, route: Route, resources: Sequence[Resource], listening: asyncio.Event
    ) -> None:
        needs = {"store": store_answers(ledger.store)}
        resources = [ledger.store, *resources]
        super().__init__(NAME, bus, routes=[route], resources=resources, listening=listening, needs=needs)
        self._ledger = ledger

    async def stop(self) -> None:
        self._ledger.creators.give_up()
        self._ledger.deleters.give_up()
        await super().stop()


def build(settings: Settings, bus: Bus, store: Store | None = None, *, telemetry: Telemetry | None = None) -> Service:
    outbox = Outbox(bus, NAME)
    ledger = Ledger(store or open_store(settings), outbox)
    removing = Removing(ledger, bus, outbox)
    commanding = Commanding(ledger, removing, bus, patience=settings.agent_timeout, most=settings.max_agents)
    finding = Finding(ledger, outbox)
    policy = open_policy(settings.agent_policy)
    hearing = Hearing(ledger, removing, policy)
    sweeping = Sweeping(ledger, removing, settings.agent_heartbeat, policy)
    table = Route(
        topology.registry_queue(),
        handlers={
            CreateAgent: commanding.create,
            DeleteAgent: commanding.delete,
            FindAgents: finding.find,
            BroadcastMail: finding.broadcast,
            HostAnnounced: hearing.announced,
            HostHeartbeat: hearing.heartbeat,
            HostStopped: hearing.stopped,
            AgentTaken: hearing.taken,
            AgentReleased: hearing.released,
            SweepHosts: sweeping.sweep,
        },
        prefetch=PREFETCH,
    )
    listening = asyncio.Event()
    resources: list[Resource] = [Ticker(outbox, settings.agent_heartbeat, listening)]
    if settings.communication_protocol is Protocol.DIRECT:
        resources.insert(0, FreshStart(ledger))
    return Registry(bus, ledger, table, resources, listening)


def app() -> FastStream:
    """``faststream run services.registry.app:app --factory``"""
    return configured_app(NAME, build)
