"""In whose name processes report: one that may, so that no report is refused where messages are signed."""

import asyncio
from collections.abc import Callable

import pytest

from contracts import topology
from contracts.envelope import Envelope
from contracts.monitoring import ProcessReported
from services.registry.app import build as build_registry
from services.runtime.bus.base import Bus, Delivery
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.envelope_codec import decode
from services.runtime.hosting.host import agent_service
from services.runtime.security.principal import Principal, SenderKind
from services.runtime.security.senders import check_sender
from services.runtime.service import Service
from services.runtime.settings import Protocol, Settings
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.counted_agent import CountedAgent, Ledger
from tests.support.memory_store import MemoryStore

SETTINGS = Settings(communication_protocol=Protocol.DIRECT, metrics_port=0, report_interval=0.1)
HOST = Principal("counted", SenderKind.AGENT, "k", frozenset({"counted"}))
REGISTRY = Principal("registry", SenderKind.SERVICE, "k")


def a_host(bus: Bus) -> Service:
    return agent_service(type("Counted", (CountedAgent,), {"ledger": Ledger()}), SETTINGS, bus)


def a_registry(bus: Bus) -> Service:
    return build_registry(SETTINGS, bus, MemoryStore())


@pytest.mark.parametrize(("build", "signer"), [(a_host, HOST), (a_registry, REGISTRY)], ids=["host", "registry"])
async def test_a_process_may_send_its_own_report(build: Callable[[Bus], Service], signer: Principal) -> None:
    broker, heard = DirectBroker(), asyncio.Queue[Envelope[ProcessReported]]()

    async def hear(delivery: Delivery) -> None:
        heard.put_nowait(decode(delivery, {ProcessReported.TYPE: ProcessReported}))
        await delivery.ack()

    listener, bus = DirectBus(broker), DirectBus(broker)
    listener.subscribe(topology.events_feed("reports", "process.reported"), hear, prefetch=10)
    service = build(bus)
    operations = Operations(SETTINGS, Telemetry(), [service])
    await listener.start()
    await operations.start()
    await service.start()
    try:
        envelope = await asyncio.wait_for(heard.get(), 10)
    finally:
        await service.stop()
        await operations.stop()
        await listener.close()
    check_sender(signer, envelope)
    assert envelope.payload.services[0].service == signer.name
