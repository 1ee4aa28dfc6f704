"""The run's own way to the broker: plain connections that are made again whenever they are lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

PATIENCE = 15.0  # seconds for one answer of the broker
PAUSE = 0.5
LOST = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError)


@contextmanager
def unless_lost() -> Iterator[None]:
    """Leave quietly when the broker or the connection goes away in the middle."""
    try:
        yield
    except LOST:
        pass
    except Exception as error:
        if type(error) is not Exception:  # what aiormq fails a wait with that it knows no reason for
            raise


@asynccontextmanager
async def channel_to(url: str) -> AsyncIterator[tuple[AbstractChannel, asyncio.Event]]:
    """A channel with confirms on a connection of its own, and an event that says that either is gone."""
    lost = asyncio.Event()
    connection = await aio_pika.connect(url, timeout=PATIENCE)
    try:
        connection.close_callbacks.add(lambda *_: lost.set())
        async with asyncio.timeout(PATIENCE):
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(lambda *_: lost.set())
        yield channel, lost
    finally:
        with unless_lost():
            async with asyncio.timeout(PATIENCE):
                await connection.close()


async def consume_for_ever(
    url: str,
    declare: Callable[[AbstractChannel], Awaitable[aio_pika.abc.AbstractQueue]],
    take: Callable[[AbstractIncomingMessage], Awaitable[None]],
    *,
    no_ack: bool,
    ready: asyncio.Event,
) -> None:
    """Consume from the queue that ``declare`` gives, over however many connections it takes; ends by cancellation."""
    while True:
        with unless_lost():
            async with channel_to(url) as (channel, lost):
                async with asyncio.timeout(PATIENCE):
                    await channel.set_qos(prefetch_count=500)
                    queue = await declare(channel)
                    await queue.consume(take, no_ack=no_ack)
                ready.set()
                await lost.wait()
        await asyncio.sleep(PAUSE)


class Publisher:
    """Publishes with a confirm, again and again until the broker has it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._channel: AbstractChannel | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Publisher":
        self._task = asyncio.create_task(self._keep_connected())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def publish(self, exchange: str, key: str, message: aio_pika.Message) -> None:
        while True:
            if await self.try_to_publish(exchange, key, message):
                return
            await asyncio.sleep(PAUSE)

    async def try_to_publish(self, exchange: str, key: str, message: aio_pika.Message) -> bool:
        """Whether the broker has confirmed it; if not, it may have it or not."""
        with unless_lost():
            async with asyncio.timeout(PATIENCE):
                await self._ready.wait()
                assert self._channel is not None
                target = await self._channel.get_exchange(exchange, ensure=False)
                await target.publish(message, routing_key=key, mandatory=True)
            return True
        return False

    async def _keep_connected(self) -> None:
        while True:
            with unless_lost():
                async with channel_to(self._url) as (channel, lost):
                    self._channel = channel
                    self._ready.set()
                    try:
                        await lost.wait()
                    finally:
                        self._ready.clear()
            await asyncio.sleep(PAUSE)
