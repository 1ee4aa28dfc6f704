"""One consumer on one RabbitMQ queue, with a channel of its own; FastStream carries each message to the handler."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol, Union, cast

import structlog
from aio_pika import IncomingMessage
from aio_pika.abc import AbstractRobustChannel, AbstractRobustQueue
from faststream import AckPolicy
from faststream.rabbit import RabbitBroker, RabbitMessage
from faststream.rabbit.subscriber import RabbitSubscriber

from contracts.envelope import Message, envelope_of
from contracts.topology import Queue
from services.runtime.bus.base import BusUnavailable, Frame, Receive
from services.runtime.bus.delivering import hand_over
from services.runtime.bus.rabbit_delivery import RabbitDelivery, parse
from services.runtime.bus.rabbit_topology import declare_queue, documented_queue, exchange_of

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What a subscription asks of the bus it belongs to."""

    @property
    def broker(self) -> RabbitBroker: ...

    @property
    def connected(self) -> bool: ...

    def operation(self, what: str) -> AbstractAsyncContextManager[None]: ...

    async def open_channel(self) -> AbstractRobustChannel: ...

    async def publish(self, frames: Sequence[Frame]) -> None: ...

    def begun(self, subscription: "RabbitSubscription") -> None: ...

    def ended(self, subscription: "RabbitSubscription") -> None: ...


class RabbitSubscription:
    """A registered FastStream subscriber, and its consumer while it runs.

    The consumer is made here and not by FastStream's ``start``, which binds one key only, shares a queue's channel
    (and so its prefetch) among subscribers, and drops what arrives before it has noted that it runs.

    ``lasting`` is one that was registered before the bus started, and starts with it again.
    """

    def __init__(
        self,
        connection: Connection,
        queue: Queue,
        receive: Receive,
        *,
        prefetch: int,
        accepts: Sequence[type[Message]],
        lasting: bool,
    ) -> None:
        self.queue = queue
        self.lasting = lasting
        self._connection = connection
        self._receive = receive
        self._prefetch = prefetch
        self._channel: AbstractRobustChannel | None = None
        self._consumed: AbstractRobustQueue | None = None
        self._consumer_tag = ""
        self._held: set[RabbitDelivery] = set()
        self._closing: asyncio.Task[None] | None = None
        self._subscriber = self._register(accepts)

    @property
    def queue_name(self) -> str:
        return self.queue.name

    @property
    def channel(self) -> AbstractRobustChannel | None:
        """The channel it consumes from, while it does."""
        return self._channel if self._consumed is not None else None

    async def start(self) -> None:
        if self._consumed is not None:
            return
        async with self._connection.operation(f"consume from {self.queue.name}"):
            channel = await self._connection.open_channel()
            try:
                await self._consume(channel)
            except BaseException:
                self._consumed = None
                await channel.close()
                raise
        self._connection.begun(self)

    async def stop(self) -> None:
        consumed, self._consumed = self._consumed, None
        if consumed is None:
            return
        self._connection.ended(self)
        try:
            if not self._connection.connected:
                raise BusUnavailable("not connected")
            async with self._connection.operation(f"stop consuming from {self.queue.name}"):
                await consumed.cancel(self._consumer_tag)
        except BusUnavailable as error:
            log.debug("consumer gone with its connection", queue=self.queue.name, error=str(error))
            self._held.clear()
        self._close_when_settled()

    async def drain(self) -> None:
        """Wait for handlers that have not returned, at most FastStream's graceful timeout."""
        await self._subscriber.stop()

    def forget(self) -> None:
        """The connection is being closed, and everything that is held goes back."""
        self._channel = self._consumed = None
        self._held.clear()
        # Or FastStream would wait for handlers that are about to be cancelled.
        self._subscriber.lock = nullcontext()

    async def publish(self, frame: Frame) -> None:
        await self._connection.publish([frame])

    def settled(self, delivery: RabbitDelivery) -> None:
        self._held.discard(delivery)
        self._close_when_settled()

    async def _consume(self, channel: AbstractRobustChannel) -> None:
        await channel.set_qos(prefetch_count=self._prefetch)
        queue = await declare_queue(channel, self.queue)
        # The general part of FastStream's start; RabbitSubscriber's own would consume.
        await super(RabbitSubscriber, self._subscriber).start()
        self._subscriber.running = True
        self._channel, self._consumed = channel, queue
        self._consumer_tag = await queue.consume(cast(Callable[[Any], Any], self._subscriber.consume))

    def _close_when_settled(self) -> None:
        """A channel that consumes no more closes with the last settlement; left open, it would declare its queue
        again after a reconnect."""
        if self._consumed is None and self._channel is not None and not self._held:
            channel, self._channel = self._channel, None
            self._closing = asyncio.get_running_loop().create_task(self._close(channel))

    async def _close(self, channel: AbstractRobustChannel) -> None:
        try:
            async with self._connection.operation(f"close the channel of {self.queue.name}"):
                await channel.close()
        except BusUnavailable as error:
            log.debug("channel gone with its connection", queue=self.queue.name, error=str(error))

    def _register(self, accepts: Sequence[type[Message]]) -> RabbitSubscriber:
        subscriber = self._connection.broker.subscriber(
            documented_queue(self.queue),
            exchange_of(self.queue.bindings[0].exchange) if self.queue.bindings else None,
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            parser=parse,
            decoder=self._deliver,
            title=self.queue.name,
            description=_in_words(self.queue),
            include_in_schema=bool(accepts),
            persistent=self.lasting,
        )
        subscriber(_documented(self._handle, accepts))
        return subscriber

    async def _deliver(self, message: RabbitMessage) -> RabbitDelivery:
        raw: IncomingMessage = message.raw_message
        return RabbitDelivery(raw, self)

    async def _handle(self, delivery: RabbitDelivery) -> None:
        self._held.add(delivery)
        try:
            await hand_over(self._receive, delivery)
        except asyncio.CancelledError:
            # The channel is gone, so nobody will settle it.
            self._held.discard(delivery)
            raise


def _documented(
    handle: Callable[[RabbitDelivery], Awaitable[None]], accepts: Sequence[type[Message]]
) -> Callable[[Any], Awaitable[None]]:
    """The handler with the payloads it takes in its annotation: FastStream reads it for the AsyncAPI document and,
    without ``apply_types``, never converts a message by it."""

    async def receive(message: Any) -> None:
        await handle(message)

    receive.__annotations__["message"] = (
        Union[tuple(envelope_of(message_class) for message_class in accepts)] if accepts else bytes  # noqa: UP007
    )
    return receive


def _in_words(queue: Queue) -> str:
    keys = ", ".join(f"{binding.exchange.value}: {binding.key}" for binding in queue.bindings)
    return f"Queue {queue.name}, bound to {keys}" if keys else f"Queue {queue.name}"
