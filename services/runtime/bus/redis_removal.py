"""Take a queue away from Redis, and hand what is left in it to somebody."""

from collections.abc import Sequence
from typing import Any, Protocol

from contracts.topology import Queue
from services.runtime.bus import redis_scripts
from services.runtime.bus.base import BusError, Frame, Receive
from services.runtime.bus.redis_delivery import RedisDelivery


class Connection(Protocol):
    """What a removal asks of the bus."""

    def new_consumer(self) -> str: ...

    async def call(self, script: str, *arguments: str | bytes | int) -> Any: ...

    async def publish(self, frames: Sequence[Frame]) -> None: ...


class _Left:
    """Holds the one message that is being handed over."""

    def __init__(self, connection: Connection, queue: Queue) -> None:
        self.queue_name = queue.name
        self.held: RedisDelivery | None = None
        self.is_done = False
        self._connection = connection

    def holds(self, delivery: RedisDelivery) -> bool:
        return self.held is delivery

    def done(self, delivery: RedisDelivery) -> None:
        if self.holds(delivery):
            self.held, self.is_done = None, True

    def give_back(self, delivery: RedisDelivery) -> None:
        if self.holds(delivery):
            self.held = None

    async def publish(self, frame: Frame) -> None:
        await self._connection.publish([frame])


async def hand_out_what_is_left(connection: Connection, queue: Queue, receive: Receive) -> None:
    """As ``Bus.remove`` says. What another consumer has in hand is handed over too: it may be dead and not yet missed,
    and one that lives may then handle a message twice."""
    consumer = connection.new_consumer()
    await connection.call(redis_scripts.UNBIND, queue.name, consumer)
    left = _Left(connection, queue)
    done: tuple[bytes, ...] = ()
    while message := await connection.call(redis_scripts.EMPTY, queue.name, consumer, *done):
        delivery = left.held = RedisDelivery(message[0], message[1], left)
        left.is_done = False
        try:
            await receive(delivery)
        except BaseException:
            await _let_go(connection, queue, consumer, delivery, left.is_done)
            raise
        left.done(delivery)
        if not left.is_done:
            await connection.call(redis_scripts.RETRY, queue.name, consumer, delivery.id)
        done = (delivery.id,) if left.is_done else ()


async def _let_go(connection: Connection, queue: Queue, consumer: str, delivery: RedisDelivery, is_done: bool) -> None:
    """The error of the receiver comes out; one of Redis here would hide it."""
    try:
        if is_done:
            await connection.call(redis_scripts.NEXT, queue.name, consumer, 0, delivery.id)
        else:
            await connection.call(redis_scripts.RETRY, queue.name, consumer, delivery.id)
        await connection.call(redis_scripts.LEAVE, queue.name, consumer)
    except BusError:
        return  # it goes back when this session ends
