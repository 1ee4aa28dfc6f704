"""Take a queue away from RabbitMQ, and hand what is left in it to somebody."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import aiormq
from aio_pika import IncomingMessage
from aiormq.exceptions import ChannelNotFoundEntity

from contracts.topology import Queue
from services.runtime.bus.base import BusUnavailable, Frame, Receive
from services.runtime.bus.rabbit_delivery import RabbitDelivery

QUIET = 0.2  # seconds without a message, after which the broker is asked whether there are more


class Connection(Protocol):
    """What a removal asks of the bus."""

    def operation(self, what: str) -> AbstractAsyncContextManager[None]: ...

    async def open_plain_channel(self) -> aiormq.abc.AbstractChannel: ...

    async def publish(self, frames: Sequence[Frame]) -> None: ...


class _Left:
    """Holds the one message that is being handed over."""

    def __init__(self, connection: Connection, queue: Queue) -> None:
        self.queue_name = queue.name
        self._connection = connection

    async def ack(self, channel: aiormq.abc.AbstractChannel, tag: int) -> None:
        await channel.basic_ack(tag, wait=False)

    async def reject(self, channel: aiormq.abc.AbstractChannel, tag: int) -> None:
        await channel.basic_reject(tag, requeue=True, wait=False)

    def settled(self, _: RabbitDelivery) -> None:
        """Nothing waits for it."""

    async def publish(self, frame: Frame) -> None:
        await self._connection.publish([frame])


async def hand_out_what_is_left(connection: Connection, queue: Queue, receive: Receive) -> bool:
    """Unbind the queue and empty it; whether there is such a queue. It is left to be deleted.

    Over a channel that does not come back by itself: a robust one would declare and bind the queue again after a
    reconnect. By consuming, since a queue with a single active consumer refuses ``basic.get``.
    """
    what = f"remove {queue.name}"
    async with connection.operation(what):
        channel = await connection.open_plain_channel()
    try:
        async with connection.operation(what):
            if await _waiting(channel, queue) is None:
                return False
            for binding in queue.bindings:
                await channel.queue_unbind(queue.name, binding.exchange.value, binding.key)
            await channel.basic_qos(prefetch_count=1)
        while True:
            await _hand_out(connection, channel, queue, receive)
            async with connection.operation(what):
                if not await _waiting(channel, queue):
                    return True
    finally:
        try:
            async with connection.operation(f"close the channel that removed {queue.name}"):
                await channel.close()
        except BusUnavailable:
            pass  # gone with its connection


async def _hand_out(
    connection: Connection, channel: aiormq.abc.AbstractChannel, queue: Queue, receive: Receive
) -> None:
    """Consume until it is quiet. What comes before the consumer is cancelled is handed over too."""
    left, arrived = _Left(connection, queue), asyncio.Queue[Any]()
    async with connection.operation(f"empty {queue.name}"):
        consuming = await channel.basic_consume(queue.name, arrived.put)
    try:
        while (message := await _next(arrived)) is not None:
            await _hand_over(message, left, receive)
    finally:
        async with connection.operation(f"stop consuming from {queue.name}"):
            await channel.basic_cancel(str(consuming.consumer_tag))
    while not arrived.empty():
        await _hand_over(arrived.get_nowait(), left, receive)


async def _next(arrived: asyncio.Queue[Any]) -> Any:
    try:
        async with asyncio.timeout(QUIET):
            return await arrived.get()
    except TimeoutError:
        return None


async def _hand_over(message: Any, left: _Left, receive: Receive) -> None:
    """If ``receive`` raises, the message goes back when the channel is closed, and not into this consumer's hand."""
    delivery = RabbitDelivery(IncomingMessage(message), left)
    await receive(delivery)
    await delivery.ack()


async def _waiting(channel: aiormq.abc.AbstractChannel, queue: Queue) -> int | None:
    """How many messages wait in the queue; None if there is no such queue, which closes the channel."""
    try:
        return (await channel.queue_declare(queue.name, passive=True)).message_count
    except ChannelNotFoundEntity:
        return None
