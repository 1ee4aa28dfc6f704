"""One consumer on one RabbitMQ queue, with a channel of its own; FastStream carries each message to the handler."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Protocol, Union, cast

import aiormq
import structlog
from aio_pika import IncomingMessage
from aio_pika.abc import AbstractRobustChannel, AbstractRobustQueue
from aio_pika.exceptions import ChannelInvalidStateError
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity
from faststream import AckPolicy
from faststream.rabbit import RabbitBroker, RabbitMessage
from faststream.rabbit.subscriber import RabbitSubscriber

from contracts.envelope import Message, envelope_of
from contracts.topology import Queue, QueueKind
from services.runtime.bus.base import BusUnavailable, Frame, Receive
from services.runtime.bus.delivering import hand_over
from services.runtime.bus.faststream_metrics import in_family
from services.runtime.bus.rabbit_acks import Acks
from services.runtime.bus.rabbit_delivery import RabbitDelivery, parse
from services.runtime.bus.rabbit_refusals import missing
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

    def only_looks_up(self, queue: Queue) -> bool: ...

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
        self._prepared: tuple[AbstractRobustChannel, AbstractRobustQueue] | None = None
        self._consumer_tag = ""
        self._underlay: aiormq.Channel | None = None  # what ``_channel`` is at present; another one after a reconnect
        self._cancelling = False
        self._changing = asyncio.Lock()  # of the consumer: who stops meanwhile stops the one that there is then
        self._acks: Acks | None = None  # of the channel that messages come over at present
        self._held: dict[IncomingMessage, RabbitDelivery] = {}
        self._closing: asyncio.Task[None] | None = None
        self._subscriber = self._register(accepts)

    @property
    def queue_name(self) -> str:
        return self.queue.name

    @property
    def channel(self) -> AbstractRobustChannel | None:
        """The channel it consumes from, while it does."""
        return self._channel if self._consumed is not None else None

    @property
    def should_consume(self) -> bool:
        return self.lasting or self._consumed is not None

    @property
    def consuming(self) -> bool:
        """Whether RabbitMQ has its consumer now. aiormq forgets one that the broker cancelled, as it does when the
        queue is deleted; aio-pika then declares and consumes again, every second until it may."""
        underlay = self._underlay
        if self._consumed is None or underlay is None or underlay.is_closed:
            return False
        return self._consumer_tag in underlay.consumers

    async def prepare(self) -> None:
        """Have the channel and the queue, and take nothing yet."""
        if self._prepared is not None or self._consumed is not None:
            return
        async with self._connection.operation(f"declare {self.queue.name}"):
            try:
                self._prepared = await self._prepare_somehow()
            except ChannelNotFoundEntity:
                raise missing(self.queue) from None

    async def start(self) -> None:
        if self._consumed is not None:
            return
        await self.prepare()
        assert self._prepared is not None
        (channel, queue), self._prepared = self._prepared, None
        async with self._connection.operation(f"consume from {self.queue.name}"), _open_if_it_works(channel):
            await self._consume(channel, queue)
        self._connection.begun(self)

    async def step_back(self) -> None:
        """As ``Bus.step_back`` says. The new place in the line is taken before the old one is left, so that there is a
        consumer at every moment; and whatever fails on the way, aio-pika restores one of the two after a reconnect."""
        async with self._changing:
            consumed, before = self._consumed, self._consumer_tag
            if consumed is None:
                return
            if not self._connection.connected:
                raise BusUnavailable(f"cannot step back from {self.queue.name}: not connected")
            async with self._connection.operation(f"step back from {self.queue.name}"):
                self._consumer_tag = await consumed.consume(cast(Callable[[Any], Any], self._take))
                async with self._acks_held_back():
                    await consumed.cancel(before)

    async def stop(self) -> None:
        async with self._changing:
            await self._stop()

    async def _stop(self) -> None:
        consumed, self._consumed = self._consumed, None
        if consumed is None:
            return
        self._cancelling = True
        try:
            if not self._connection.connected:
                raise BusUnavailable("not connected")
            async with self._connection.operation(f"stop consuming from {self.queue.name}"), self._acks_held_back():
                await consumed.cancel(self._consumer_tag)
        except BusUnavailable as error:
            log.debug("consumer gone with its connection", queue=self.queue.name, error=str(error))
            self._held.clear()
        finally:
            self._cancelling = False
        self._close_when_settled()

    @asynccontextmanager
    async def _acks_held_back(self) -> AsyncIterator[None]:
        acks = self._acks
        if acks is None:
            yield
            return
        try:
            await acks.hold_back()
            yield
        finally:
            acks.go_on()

    async def drain(self) -> None:
        """Wait for handlers that have not returned, at most FastStream's graceful timeout."""
        await self._subscriber.stop()

    def forget(self) -> None:
        """The connection is being closed, and everything that is held goes back."""
        self._channel = self._consumed = self._prepared = self._underlay = self._acks = None
        self._held.clear()
        # Or FastStream would wait for handlers that are about to be cancelled.
        self._subscriber.lock = nullcontext()

    async def publish(self, frame: Frame) -> None:
        await self._connection.publish([frame])

    async def ack(self, channel: aiormq.abc.AbstractChannel, tag: int) -> None:
        if self._acks is not None and self._acks.channel is channel:
            self._acks.ack(tag)
        else:  # taken before the subscription was stopped and started again
            await channel.basic_ack(tag, wait=False)

    async def reject(self, channel: aiormq.abc.AbstractChannel, tag: int) -> None:
        if self._acks is not None and self._acks.channel is channel:
            await self._acks.reject(tag)
        else:
            await channel.basic_reject(tag, requeue=True, wait=False)

    def settled(self, delivery: RabbitDelivery) -> None:
        self._held.pop(delivery.message, None)
        self._close_when_settled()

    async def told(self) -> None:
        """Return when the channel may be closed, and no message that was settled comes back."""
        if self._acks is not None:
            await self._acks.told()

    async def _prepare_somehow(self) -> tuple[AbstractRobustChannel, AbstractRobustQueue]:
        if self._connection.only_looks_up(self.queue):
            return await self._prepare(passive=True)
        try:
            return await self._prepare()
        except ChannelAccessRefused:
            if self.queue.kind is QueueKind.BROADCAST:
                raise
            # Its user may not make queues, and somebody who may has made this one.
            return await self._prepare(passive=True)

    async def _prepare(self, *, passive: bool = False) -> tuple[AbstractRobustChannel, AbstractRobustQueue]:
        channel = await self._connection.open_channel()
        async with _open_if_it_works(channel):
            await channel.set_qos(prefetch_count=self._prefetch)
            return channel, await declare_queue(channel, self.queue, passive=passive)

    async def _consume(self, channel: AbstractRobustChannel, queue: AbstractRobustQueue) -> None:
        # The general part of FastStream's start; RabbitSubscriber's own would consume.
        await super(RabbitSubscriber, self._subscriber).start()
        self._subscriber.running = True
        self._channel, self._consumed = channel, queue
        try:
            self._consumer_tag = await queue.consume(cast(Callable[[Any], Any], self._take))
        except BaseException:
            self._channel = self._consumed = None
            raise
        await self._note_underlay(channel)
        channel.reopen_callbacks.add(self._note_underlay)

    async def _note_underlay(self, channel: AbstractRobustChannel | None) -> None:
        """Called also when the channel is open again, its queue declared and consumed from."""
        if channel is not None and channel is self._channel:
            self._underlay = cast(aiormq.Channel, await channel.get_underlay_channel())

    def _close_when_settled(self) -> None:
        """A channel that consumes no more closes with the last settlement; left open, it would declare its queue
        again after a reconnect."""
        done = self._consumed is None and not self._cancelling and not self._held
        if done and self._channel is not None:
            channel, self._channel = self._channel, None
            self._closing = asyncio.get_running_loop().create_task(self._close(channel))

    async def _close(self, channel: AbstractRobustChannel) -> None:
        await self.told()
        try:
            async with self._connection.operation(f"close the channel of {self.queue.name}"):
                await channel.close()
        except BusUnavailable as error:
            log.debug("channel gone with its connection", queue=self.queue.name, error=str(error))
        finally:
            if self._channel is None:  # or it was started again meanwhile
                self._connection.ended(self)

    def _register(self, accepts: Sequence[type[Message]]) -> RabbitSubscriber:
        subscriber = self._connection.broker.subscriber(
            documented_queue(self.queue),
            exchange_of(self.queue.bindings[0].exchange) if self.queue.bindings else None,
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            parser=in_family(parse, self.queue.family),
            decoder=self._deliver,
            title=self.queue.name,
            description=_in_words(self.queue),
            include_in_schema=bool(accepts),
            persistent=self.lasting,
        )
        subscriber(_documented(self._handle, accepts))
        return subscriber

    async def _take(self, message: IncomingMessage) -> None:
        """The first to see a message. It counts as held from here on, before FastStream has a look at it."""
        try:
            channel = message.channel
        except ChannelInvalidStateError:
            return  # gone meanwhile, and the message with it
        if self._acks is None or self._acks.channel is not channel:
            self._acks = Acks(channel)
        self._acks.received(message.delivery_tag or 0)
        self._held[message] = RabbitDelivery(message, self)
        try:
            await self._subscriber.consume(message)
        except asyncio.CancelledError:
            # The channel is gone, so nobody will settle it.
            self._held.pop(message, None)
            raise

    async def _deliver(self, message: RabbitMessage) -> RabbitDelivery:
        raw: IncomingMessage = message.raw_message
        return self._held.get(raw) or RabbitDelivery(raw, self)

    async def _handle(self, delivery: RabbitDelivery) -> None:
        await hand_over(self._receive, delivery)


@asynccontextmanager
async def _open_if_it_works(channel: AbstractRobustChannel) -> AsyncIterator[None]:
    """Close a channel with whose beginning something went wrong; left open, it would come back after a reconnect."""
    try:
        yield
    except BaseException:
        await channel.close()
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
