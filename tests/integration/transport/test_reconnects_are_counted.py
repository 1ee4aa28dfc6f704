"""A connection that is lost and comes back is counted, and so is what could not be published meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scripts.redis_server import RedisServer
from services.runtime.bus.base import Bus, BusUnavailable
from services.runtime.bus.open import open_bus
from services.runtime.settings import Protocol, Settings
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.amqp_proxy import AmqpProxy
from tests.support.bus_faults import until_published
from tests.support.buses import PATIENCE, World, direct_world, frame

NAME = "tested"


def seen(telemetry: Telemetry, name: str) -> float:
    return telemetry.registry.get_sample_value(f"conclave_{name}", {"service": NAME}) or 0.0


async def until_seen(telemetry: Telemetry, name: str, value: float) -> None:
    async with asyncio.timeout(PATIENCE):
        while seen(telemetry, name) != value:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def started(bus: Bus) -> AsyncIterator[Bus]:
    """Closed whatever happens: a connection that is not closed goes on connecting, also while it is cancelled."""
    await bus.start()
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
def names() -> World:
    """For names that no other test has; its broker is not used."""
    return direct_world()


@pytest.mark.rabbitmq
async def test_a_connection_to_rabbitmq_that_comes_back(rabbit_url: str, names: World) -> None:
    async with AmqpProxy(rabbit_url) as proxy:
        telemetry = Telemetry()
        settings = Settings(communication_protocol=Protocol.RABBITMQ, rabbitmq_url=proxy.url)
        async with started(open_bus(settings, NAME, telemetry=telemetry)) as bus:
            assert (seen(telemetry, "bus_connected"), seen(telemetry, "bus_reconnects_total")) == (1, 0)
            for times in (1, 2):
                proxy.cut()
                await until_seen(telemetry, "bus_connected", 0)
                with pytest.raises(BusUnavailable):
                    await bus.publish([frame(names.event("lost"))])
                assert seen(telemetry, "messages_unconfirmed_total") >= times
                await until_published(bus, frame(names.event("after")))
                await until_seen(telemetry, "bus_connected", 1)
                # The channels are there again a moment before it is said that the connection is.
                await until_seen(telemetry, "bus_reconnects_total", times)
        assert seen(telemetry, "bus_connected") == 0
        assert seen(telemetry, "bus_reconnects_total") == 2


@pytest.mark.redis
async def test_a_connection_to_redis_that_comes_back(own_redis: RedisServer, names: World) -> None:
    telemetry = Telemetry()
    settings = Settings(communication_protocol=Protocol.REDIS, redis_url=own_redis.url)
    async with started(open_bus(settings, NAME, telemetry=telemetry)) as bus:
        assert (seen(telemetry, "bus_connected"), seen(telemetry, "bus_reconnects_total")) == (1, 0)
        await asyncio.to_thread(own_redis.stop)
        await until_seen(telemetry, "bus_connected", 0)
        await asyncio.to_thread(own_redis.start)
        await until_published(bus, frame(names.event("after")))
        await until_seen(telemetry, "bus_connected", 1)
        await until_seen(telemetry, "bus_reconnects_total", 1)
