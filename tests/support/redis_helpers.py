"""What tests of the Redis bus share: consumers in processes of their own, and waiting for what has to happen."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from contracts.topology import Queue
from services.runtime.bus.base import Bus
from tests.support.bus_faults import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
TIME_TO_LIVE = 2.0

HOLDER = """
import asyncio, sys
from contracts.topology import Address, Exchange, Queue, QueueKind
from services.runtime.bus.redis import RedisBus

async def main():
    url, name, kind, settle, limit, grave, time_to_live = sys.argv[1:]
    async def receive(delivery):
        print(delivery.body.decode(), delivery.redeliveries, flush=True)
        if settle == "settle":
            await delivery.ack()
    bus = RedisBus(url, confirm_timeout=30.0, time_to_live=float(time_to_live))
    work = (Address(Exchange.COMMANDS, name),), QueueKind(kind), int(limit), Address(Exchange.DEAD, grave)
    bus.subscribe(Queue(name, *work), receive, prefetch=3)
    feed = Queue(name + ".feed", (Address(Exchange.EVENTS, name),), QueueKind.BROADCAST, delivery_limit=None)
    bus.subscribe(feed, receive, prefetch=3)
    await bus.start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def other_process(
    url: str, queue: Queue, settle: str = "hold", *, time_to_live: float = 10.0
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that takes up to three messages of the queue, says which, and does nothing else. It listens to events
    of the queue's name too.

    Its session outlives its standing still for a while: when it is killed, that is seen by its connection, which the
    test's buses look for at their own pace.
    """
    limits = (str(queue.delivery_limit), queue.dead_letter.key, str(time_to_live))
    words = (url, queue.name, queue.kind.value, settle, *limits)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process, beginning: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while True:
            line = (await process.stdout.readline()).decode().strip()
            if line.startswith(beginning) or not line:
                return line


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await reached():
            await asyncio.sleep(0.05)


async def until_away(bus: Bus) -> None:
    async def away() -> bool:
        return not bus.connected

    await until(away)
