"""The bus over RabbitMQ (3.10 and later, 4.x), on FastStream's RabbitBroker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import aiormq
import structlog
from aio_pika import RobustChannel, RobustConnection
from aio_pika.abc import AbstractRobustChannel
from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from aiormq.exceptions import ChannelAccessRefused
from faststream.rabbit import Channel, RabbitBroker
from yarl import URL

from contracts import topology
from contracts.envelope import Message
from contracts.topology import Exchange, Queue
from services.runtime.bus.base import Bus, BusError, BusUnavailable, Frame, Receive, UnroutableMessage
from services.runtime.bus.rabbit_removal import hand_out_what_is_left
from services.runtime.bus.rabbit_subscription import RabbitSubscription
from services.runtime.bus.rabbit_topology import declare_queue, exchange_of
from services.runtime.bus.rabbit_transport import GatheringConnection

log = structlog.get_logger(__name__)

HEARTBEAT = 15  # seconds; a connection that is silent for about three times that counts as lost
ANSWER_TIMEOUT = 10.0  # seconds for connecting, declaring, consuming
CLOSE_TIMEOUT = 5.0
RECONNECT_INTERVAL = 1.0
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
PIPELINE = 500  # frames under way to the broker at a time
FRAMES_PER_SECOND, BYTES_PER_SECOND = 250, 4 * 1024 * 1024  # what a slow broker confirms
PERSISTENT = 2

_LOST = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)
_REFUSED = (
    AuthenticationError,
    ProbableAuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
)


class ConclaveBroker(RabbitBroker):
    """FastStream's broker, started by the bus. A FastStream application starts its brokers once more, which would
    make every subscriber consume twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connection_kwargs["connection_class"] = GatheringConnection

    async def start(self) -> None:
        if not self.running:
            raise BusError("this broker is started by its bus: start the service that it belongs to")


class RabbitBus(Bus):
    """One service's connection to RabbitMQ.

    Publishing has a channel of its own and so has every subscription: a fault in one leaves the others alone.
    Without a connection ``publish`` fails at once; meanwhile aio-pika reconnects, and declares and consumes again.

    Args:
        url: ``amqp://user:password@host:port/vhost`` or ``amqps://...``.
        confirm_timeout: seconds that a publish waits for the broker's confirms, for every ``PIPELINE`` frames.
        drain_timeout: seconds that ``stop_consuming`` waits for handlers that have not returned.
    """

    def __init__(self, url: str, *, confirm_timeout: float = 2.0, drain_timeout: float = 15.0) -> None:
        address = URL(url)
        self._where = str(address.with_user(None).with_query(None))
        self._broker = ConclaveBroker(
            url,
            timeout=ANSWER_TIMEOUT,
            reconnect_interval=RECONNECT_INTERVAL,
            client_properties=None if "heartbeat" in address.query else {"heartbeat": HEARTBEAT},
            default_channel=Channel(on_return_raises=True),
            graceful_timeout=drain_timeout,
            specification_url=self._where,
            logger=None,
            apply_types=False,
            on_close=[self._on_lost],
            on_reconnected=[self._on_reconnected],
        )
        self._confirm_timeout = confirm_timeout
        self._subscriptions: dict[RabbitSubscription, None] = {}
        self._connection: RobustConnection | None = None
        self._publishing: AbstractRobustChannel | None = None
        self._declaring: AbstractRobustChannel | None = None
        self._declare_lock = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    @property
    def broker(self) -> RabbitBroker:
        """FastStream's broker with every subscriber registered: enough for the AsyncAPI document, connected or not."""
        return self._broker

    @property
    def connected(self) -> bool:
        connection, channel = self._connection, self._publishing
        if connection is None or channel is None:
            return False
        return connection.connected.is_set() and not channel.is_closed

    def subscribe(
        self, queue: Queue, receive: Receive, *, prefetch: int, accepts: Sequence[type[Message]] = ()
    ) -> RabbitSubscription:
        lasting = self._connection is None
        subscription = RabbitSubscription(self, queue, receive, prefetch=prefetch, accepts=accepts, lasting=lasting)
        if lasting:
            self._subscriptions[subscription] = None
        return subscription

    async def declare(self, queue: Queue) -> None:
        # A refused declaration closes its channel, and would take others that wait there with it.
        async with self._declare_lock, self.operation(f"declare {queue.name}"):
            if self._declaring is None:
                self._declaring = await self.open_channel()
            await declare_queue(self._declaring, queue)

    async def remove(self, queue: Queue, receive: Receive) -> None:
        if not await hand_out_what_is_left(self, queue, receive):
            return
        async with self._declare_lock, self.operation(f"delete {queue.name}"):
            if self._declaring is None:
                self._declaring = await self.open_channel()
            # This channel forgets it with that, and does not declare it again after a reconnect.
            await self._declaring.queue_delete(queue.name)

    async def start(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                await self._begin()
                return
            except _REFUSED as error:
                await self._disconnect()
                raise BusError(f"RabbitMQ at {self._where} refused: {error}") from error
            except (*_LOST, BusUnavailable) as error:
                log.warning("waiting for RabbitMQ", url=self._where, error=_why_not_connected(error), next_try_in=wait)
                await self._disconnect()
            except BaseException:
                await self._disconnect()
                raise
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def publish(self, frames: Sequence[Frame]) -> None:
        unroutable: Frame | None = None
        for begin in range(0, len(frames), PIPELINE):
            some = frames[begin : begin + PIPELINE]
            for frame, result in zip(some, await self._publish_all(some), strict=True):
                if isinstance(result, PublishError):
                    unroutable = unroutable or frame
                elif _is_lost(result) or isinstance(result, asyncio.CancelledError):
                    raise BusUnavailable(f"RabbitMQ at {self._where}: {_in_words(result)}") from result
                elif isinstance(result, BaseException):
                    raise result
        if unroutable is not None:
            raise UnroutableMessage(unroutable.address, unroutable.type)

    async def stop_consuming(self) -> None:
        subscriptions = tuple(self._subscriptions)
        await asyncio.gather(*(subscription.stop() for subscription in subscriptions))
        await asyncio.gather(*(subscription.drain() for subscription in subscriptions))

    async def close(self) -> None:
        await self._disconnect()

    @asynccontextmanager
    async def operation(self, what: str) -> AsyncIterator[None]:
        """Bound an exchange with the broker in time, and give its failure a name.

        Raises:
            BusError: the broker refused.
            BusUnavailable: the connection is away, or no answer came in time.
        """
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                yield
        except _REFUSED as error:
            raise BusError(f"cannot {what}: {error}") from error
        except Exception as error:
            if _is_lost(error):
                raise BusUnavailable(f"cannot {what}: {_in_words(error)}") from error
            raise

    async def open_channel(self) -> AbstractRobustChannel:
        """A channel that comes back by itself, with what was declared on it and its consumers."""
        if self._connection is None:
            raise BusUnavailable(f"not connected to RabbitMQ at {self._where}")
        channel = cast(RobustChannel, self._connection.channel())
        await channel.initialize()
        return channel

    async def open_plain_channel(self) -> aiormq.abc.AbstractChannel:
        """A channel that does not come back after a reconnect."""
        if not self.connected or self._connection is None or self._connection.transport is None:
            raise BusUnavailable(f"not connected to RabbitMQ at {self._where}")
        return await self._connection.transport.connection.channel()

    def begun(self, subscription: RabbitSubscription) -> None:
        self._subscriptions[subscription] = None

    def ended(self, subscription: RabbitSubscription) -> None:
        if not subscription.lasting:
            self._subscriptions.pop(subscription, None)

    async def _begin(self) -> None:
        self._connection = await self._connect()
        for exchange in Exchange:
            declared = await self._broker.declare_exchange(exchange_of(exchange))
            self._publishing = cast(RobustChannel, declared.channel)
        await self.declare(topology.dead_letters())
        for subscription in tuple(self._subscriptions):
            await subscription.start()
        self._broker.running = True
        self._watch = asyncio.get_running_loop().create_task(self._watch_recovery(self._connection))
        log.info("connected to RabbitMQ", url=self._where)

    async def _connect(self) -> RobustConnection:
        connecting = asyncio.ensure_future(self._broker.connect())
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # Cancelled itself, aio-pika would go on connecting behind our back.
            await asyncio.gather(connecting, return_exceptions=True)
            raise
        except StopAsyncIteration as error:
            # What aiormq's frame reader raises, unlike an error of AMQP, when the broker closes before its first word.
            raise ConnectionResetError("the broker closed the connection before it said anything") from error

    async def _watch_recovery(self, connection: RobustConnection) -> None:
        """Break off a recovery that hangs. aio-pika waits without limit for each answer of the broker while it
        restores channels, so that one lost answer would keep this bus away for good."""
        while True:
            await asyncio.sleep(RECONNECT_INTERVAL)
            channels = [self._publishing, self._declaring, *(s.channel for s in self._subscriptions)]
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await asyncio.gather(*(channel.ready() for channel in channels if channel is not None))
            except TimeoutError:
                if connection.connected.is_set() and connection.transport is not None:
                    log.warning("recovery of the connection to RabbitMQ hangs, trying again", url=self._where)
                    await connection.transport.connection.close(ConnectionResetError("recovery took too long"))

    async def _disconnect(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        connection, self._connection = self._connection, None
        publishing, self._publishing = self._publishing, None
        self._declaring = None
        for subscription in self._subscriptions:
            subscription.forget()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if publishing is not None and not publishing.is_closed:
                    # Its answer comes when the broker has read every settlement written before. A quorum queue takes
                    # 32 of them ahead; what is beyond that may be delivered again.
                    await publishing.close()
                if connection is not None:
                    await connection.close()
        except _LOST as error:
            log.debug("connection not closed in good order", url=self._where, error=_in_words(error))
        await self._broker.stop()

    async def _publish_all(self, frames: Sequence[Frame]) -> list[Any]:
        if not self.connected or self._publishing is None:
            raise BusUnavailable(f"not connected to RabbitMQ at {self._where}")
        try:
            # Two seconds are for a message; many or large ones take longer to write, and that is no failure.
            size = sum(len(frame.body) for frame in frames)
            async with asyncio.timeout(
                self._confirm_timeout + len(frames) / FRAMES_PER_SECOND + size / BYTES_PER_SECOND
            ):
                channel = cast(aiormq.Channel, await self._publishing.get_underlay_channel())
                if len(frames) == 1:  # without a task of its own it is on its way one turn of the loop sooner
                    return [await _outcome(_publish(channel, frames[0]))]
                return await asyncio.gather(*(_publish(channel, frame) for frame in frames), return_exceptions=True)
        except TimeoutError:
            raise BusUnavailable(
                f"RabbitMQ at {self._where} did not confirm {len(frames)} messages within {self._confirm_timeout} s"
            ) from None
        except _LOST as error:
            raise BusUnavailable(f"RabbitMQ at {self._where}: {_in_words(error)}") from error

    def _on_lost(self, _connection: object, error: BaseException | None = None) -> None:
        if self._connection is not None:
            log.warning("connection to RabbitMQ lost", url=self._where, error=_in_words(error))

    def _on_reconnected(self, _connection: object) -> None:
        log.info("connected to RabbitMQ again", url=self._where)


async def _outcome(publishing: Awaitable[None]) -> BaseException | None:
    try:
        await publishing
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return error  # aiormq cancels what waits on a channel that closes
    except Exception as error:
        return error
    return None


async def _publish(channel: aiormq.Channel, frame: Frame) -> None:
    # FastStream's publish takes half as long again as aiormq's own, for nothing that is needed here.
    await channel.basic_publish(
        frame.body,
        exchange=frame.address.exchange.value,
        routing_key=frame.address.key,
        mandatory=frame.address.must_arrive,
        wait=False,
        properties=aiormq.spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            headers=dict(frame.headers) or None,
            message_type=frame.type or None,
            message_id=frame.message_id or None,
            correlation_id=frame.correlation_id or None,
            reply_to=frame.reply_to or None,
        ),
    )


def _is_lost(error: object) -> bool:
    """Whether the connection is gone. aiormq fails what waits on it with a bare Exception where it knows no reason."""
    return isinstance(error, _LOST) or type(error) is Exception


def _in_words(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}" if error is not None and str(error) else type(error).__name__


def _why_not_connected(error: BaseException) -> str:
    if isinstance(error, InvalidFrameError):
        # aiormq does not pass on the broker's own words for this.
        return "the broker takes the login but does not open the virtual host: does it exist, may this user use it?"
    return _in_words(error)
