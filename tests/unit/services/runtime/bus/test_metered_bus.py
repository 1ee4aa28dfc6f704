"""Where the bus that counts stands among the others, and what it counts of messages that are refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from contracts import topology
from contracts.execution import DescribeExecution, Refused
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.metered import MeteredBus
from services.runtime.bus.open import open_bus
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.redis import RedisBus
from services.runtime.bus.secured import SecuredBus, opener_of, publish_again
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.faststream_app import faststream_app
from services.runtime.service import Received, Refusal, Route, Service
from services.runtime.settings import Protocol, Settings
from services.runtime.telemetry.message_metrics import MessageMetrics
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.buses import Inbox, World, direct_world, frame
from tests.support.signing import add_key, signing_bus, signing_settings

NAME = "edge"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = direct_world()
    yield world
    await world.close()


def figures(registry: CollectorRegistry, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Samples of a name that are not zero, by some of their labels."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"conclave_{name}" and sample.value
    }


def test_a_bus_is_counted_where_there_is_telemetry(tmp_path: Path) -> None:
    direct = Settings(communication_protocol=Protocol.DIRECT)
    assert isinstance(open_bus(direct, NAME, DirectBroker()), DirectBus)
    assert isinstance(open_bus(direct, NAME, DirectBroker(), Telemetry(enabled=False)), DirectBus)
    counted = open_bus(direct, NAME, DirectBroker(), Telemetry())
    assert isinstance(counted, MeteredBus)
    assert isinstance(counted.inner, DirectBus)
    rabbit = open_bus(Settings(communication_protocol=Protocol.RABBITMQ), NAME, telemetry=Telemetry())
    assert isinstance(rabbit, MeteredBus)
    assert isinstance(rabbit.inner, RabbitBus)
    assert rabbit.broker is rabbit.inner.broker
    assert faststream_app(Service(NAME, rabbit)).broker is rabbit.inner.broker
    redis = open_bus(Settings(communication_protocol=Protocol.REDIS), NAME, telemetry=Telemetry())
    assert isinstance(redis, MeteredBus)
    assert isinstance(redis.inner, RedisBus)
    with pytest.raises(AttributeError):
        counted.broker  # noqa: B018


def test_services_of_one_process_share_the_metrics() -> None:
    telemetry = Telemetry()
    for name in ("one", "two", "two"):
        for protocol in (Protocol.RABBITMQ, Protocol.REDIS):
            open_bus(Settings(communication_protocol=protocol), name, telemetry=telemetry)
    names = [sample.labels for family in telemetry.registry.collect() for sample in family.samples]
    assert {labels["service"] for labels in names if "service" in labels} == {"one", "two"}


def test_it_stands_within_the_bus_that_signs(tmp_path: Path) -> None:
    add_key(tmp_path, NAME)
    settings = signing_settings(tmp_path, communication_protocol=Protocol.DIRECT)
    bus = open_bus(settings, NAME, DirectBroker(), Telemetry())
    assert isinstance(bus, SecuredBus)
    assert isinstance(bus.inner, MeteredBus)
    assert opener_of(bus) is bus.opener


async def test_what_the_signing_bus_refuses_is_counted(world: World, tmp_path: Path) -> None:
    add_key(tmp_path, NAME)
    registry = CollectorRegistry()
    bus, inbox = signing_bus(MeteredBus(world.bus(), MessageMetrics(registry), NAME), tmp_path), Inbox()
    attacker = await world.started()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await attacker.publish([frame(world.key(), "unsigned")])
    await bus.publish([frame(world.key(), "signed")])
    await inbox.wait_for(1)
    assert inbox.bodies == ["signed"]
    assert figures(registry, "messages_refused_total", "service", "reason") == {(NAME, "unsigned"): 1}
    assert figures(registry, "messages_received_total", "queue") == {(world.name("work"),): 2}
    outcomes = figures(registry, "messages_settled_total", "outcome")
    assert outcomes == {("acked",): 1, ("dead_lettered",): 1}
    assert figures(registry, "messages_in_hand", "queue") == {}


async def test_what_a_service_refuses_is_counted_and_the_lag_of_what_it_reads() -> None:
    async def describe(received: Received[DescribeExecution]) -> list[Outgoing[DescribeExecution]]:
        raise Refusal(refused)

    refused = Refused(code="not_found", message="there is none")
    broker, telemetry = DirectBroker(), Telemetry()
    settings = Settings(communication_protocol=Protocol.DIRECT)
    queue = topology.Queue("questions", (topology.command("execution.describe"),), family="asked")
    service = Service(
        NAME,
        open_bus(settings, NAME, broker, telemetry),
        routes=[Route(queue, handlers={DescribeExecution: describe})],
    )
    client, graves = DirectBus(broker), Inbox()
    client.subscribe(topology.dead_letters(), graves, prefetch=10)
    await service.start()
    await client.start()
    address = topology.command("execution.describe")
    asked = encode(Outgoing(DescribeExecution(execution_id="e")), "client")
    await client.publish(
        [asked, frame(address, "no json", type="execution.describe.v1"), frame(address, type="odd.v1")]
    )
    await graves.wait_for(3)
    assert figures(telemetry.registry, "messages_refused_total", "reason") == {
        ("refused",): 1,
        ("contract",): 1,
        ("unknown-type",): 1,
    }
    assert figures(telemetry.registry, "message_lag_seconds_count", "service", "queue") == {(NAME, "asked"): 1}
    assert figures(telemetry.registry, "messages_published_total", "type") == {("command.refused.v1",): 1}
    await service.stop()
    await client.close()


async def test_a_dead_letter_that_is_published_again_is_counted(world: World) -> None:
    registry = CollectorRegistry()
    bus, inbox = MeteredBus(world.bus(), MessageMetrics(registry), NAME), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await publish_again(bus, frame(world.key(), type="step.run.v1"))
    await inbox.wait_for(1)
    assert figures(registry, "messages_published_total", "type") == {("step.run.v1",): 1}
