"""What tests share of brokers that are stopped, started and killed under a bus."""

import asyncio

import pytest

from scripts.servers import Server
from services.runtime.bus.base import Bus, BusUnavailable, Frame
from tests.support.buses import Inbox, World, frame, frames

PATIENCE = 60.0
CONFIRM_TIMEOUT = 2.0  # of a bus whose broker is to be missed soon
# What does not wait for the broker is done within this, also on a machine that stands still now and then.
# A world's buses wait longer: for an answer of the broker, and for handlers.
AT_ONCE = 15.0


async def stop(server: Server) -> None:
    await asyncio.to_thread(server.stop)


async def start(server: Server) -> None:
    await asyncio.to_thread(server.start)


async def until_published(bus: Bus, message: Frame) -> None:
    """Publish as a client does that must get its message through: again under the same id until it is confirmed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await bus.publish([message])
            except BusUnavailable:
                await asyncio.sleep(0.05)


async def publish_through_a_kill(server: Server, world: World, bus: Bus, inbox: Inbox) -> None:
    """1,000 messages to a queue that ``inbox`` takes from, the server killed and started among them: every one arrives,
    and no other."""
    killed = asyncio.Event()

    async def publish(number: int) -> None:
        await until_published(bus, frame(world.key(), str(number)))
        if number == 200:
            killed.set()

    async def kill() -> None:
        await killed.wait()
        await asyncio.to_thread(server.kill)
        await start(server)

    async def publish_all() -> None:
        for begin in range(0, 1000, 20):
            await asyncio.gather(*(publish(number) for number in range(begin, begin + 20)))

    await asyncio.gather(publish_all(), kill())
    wanted = {str(number) for number in range(1000)}
    await inbox.wait_until(lambda: wanted <= set(inbox.bodies))
    assert set(inbox.bodies) == wanted


async def fails_at_once(bus: Bus, world: World) -> None:
    """Publishing and declaring while the server is away."""
    for _ in range(3):
        async with asyncio.timeout(AT_ONCE):
            with pytest.raises(BusUnavailable):
                await bus.publish(frames(world.key(), 10))
    with pytest.raises(BusUnavailable):
        await bus.declare(world.queue("other"))
    assert not bus.connected
