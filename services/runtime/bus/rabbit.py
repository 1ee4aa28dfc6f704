"""The bus over RabbitMQ (3.10 and later, 4.x), on FastStream's RabbitBroker."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
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
from faststream.security import BaseSecurity
from yarl import URL

from contracts import topology
from contracts.envelope import Message
from contracts.topology import Exchange, Queue
from services.runtime.bus.base import Bus, BusError, BusUnavailable, Frame, QueueFigures, Receive, UnroutableMessage
from services.runtime.bus.rabbit_measuring import Measuring
from services.runtime.bus.rabbit_refusals import (
    PublishRefused,
    is_about,
    is_made_beforehand,
    may_make_exchanges,
    queue_exists,
    until,
)
from services.runtime.bus.rabbit_removal import hand_out_what_is_left
from services.runtime.bus.rabbit_subscription import RabbitSubscription
from services.runtime.bus.rabbit_topology import declare_queue, exchange_of
from services.runtime.bus.rabbit_transport import GatheringConnection, TlsRefused
from services.runtime.bus.stopping import brings_work
from services.runtime.repeated import Repeated
from services.runtime.tls_refusals import tls_refusal

log = structlog.get_logger(__name__)

HEARTBEAT = 15  # seconds; a connection that is silent for about three times that counts as lost
ANSWER_TIMEOUT = 10.0  # seconds for connecting, declaring, consuming
CLOSE_TIMEOUT = 5.0
RECONNECT_INTERVAL = 1.0
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
PIPELINE = 500  # frames under way to the broker at a time
FRAMES_PER_SECOND, BYTES_PER_SECOND = 250, 4 * 1024 * 1024  # what a slow broker confirms
PERSISTENT = 2
ROUNDS = 5  # in which a message is published again whose channel closed because RabbitMQ refused another

_LOST = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)
_REFUSED = (
    AuthenticationError,
    ProbableAuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    TlsRefused,
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

    What its user may not make (``scripts/rabbitmq_users.py`` gives each service a user of its own) must be there, and
    is only looked up.

    Args:
        url: ``amqp://user:password@host:port/vhost`` or ``amqps://...``.
        tls: for amqps, with verification on; if there is none, the system's authorities are trusted.
        confirm_timeout: seconds that a publish waits for the broker's confirms, for every ``PIPELINE`` frames.
        drain_timeout: seconds that ``stop_consuming`` waits for handlers that have not returned.
        middlewares: FastStream's, for what is taken.
        on_reconnected: called when a connection that was lost is back.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        confirm_timeout: float = 2.0,
        drain_timeout: float = 15.0,
        middlewares: Sequence[Any] = (),
        on_reconnected: Callable[[], None] = lambda: None,
    ) -> None:
        address = URL(url)
        self._where = str(address.with_user(None).with_query(None))
        self._broker = ConclaveBroker(
            url,
            security=None if tls is None else BaseSecurity(ssl_context=tls),
            timeout=ANSWER_TIMEOUT,
            reconnect_interval=RECONNECT_INTERVAL,
            client_properties=None if "heartbeat" in address.query else {"heartbeat": HEARTBEAT},
            default_channel=Channel(on_return_raises=True),
            graceful_timeout=drain_timeout,
            specification_url=self._where,
            logger=None,
            apply_types=False,
            middlewares=middlewares,
            on_close=[self._on_lost],
            on_reconnected=[self._on_reconnected],
        )
        self._confirm_timeout = confirm_timeout
        self._tell_reconnected = on_reconnected
        self._subscriptions: dict[RabbitSubscription, None] = {}
        self._connection: RobustConnection | None = None
        self._publishing: AbstractRobustChannel | None = None
        self._declaring: AbstractRobustChannel | None = None
        self._declare_lock = asyncio.Lock()
        self._makes_exchanges = True
        self._not_ours: set[str] = set()  # queues of agents that this user may not make
        self._measuring = Measuring(self)
        self._absence = _absence()
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

    def not_consuming(self) -> tuple[str, ...]:
        connected = self._connection is not None and self._connection.connected.is_set()
        wanted = (one for one in self._subscriptions if one.should_consume)
        return tuple(sorted({one.queue.name for one in wanted if not (connected and one.consuming)}))

    async def step_back(self, queue: Queue) -> None:
        for subscription in tuple(self._subscriptions):
            if subscription.queue.name == queue.name:
                await subscription.step_back()

    async def measure(self, queues: Sequence[Queue]) -> dict[str, QueueFigures]:
        """A queue that was missing is looked for again after some seconds only (``rabbit_measuring``)."""
        if not self.connected:
            raise BusUnavailable(f"not connected to RabbitMQ at {self._where}")
        return await self._measuring.measure(queues)

    def owns(self, queue: Queue) -> bool:
        """Whether a queue of kind BROADCAST is this connection's own: it takes from it."""
        return any(one.queue.name == queue.name and one.consuming for one in self._subscriptions)

    async def declare(self, queue: Queue) -> None:
        await self._declare(queue)
        self._measuring.exists(queue)

    async def remove(self, queue: Queue, receive: Receive) -> None:
        if not await hand_out_what_is_left(self, queue, receive):
            return
        async with self._declare_lock, self.operation(f"delete {queue.name}"):
            # This channel forgets it with that, and does not declare it again after a reconnect.
            await (await self._channel_to_declare()).queue_delete(queue.name)

    async def start(self, declares: Sequence[Queue] = ()) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                await self._begin(declares)
                return
            except _REFUSED as error:
                await self._disconnect()
                raise BusError(f"RabbitMQ at {self._where} refused: {error}") from error
            except (*_LOST, BusUnavailable) as error:
                if refusal := tls_refusal(error):
                    await self._disconnect()
                    raise BusError(f"RabbitMQ at {self._where}: {refusal}") from error
                log.warning("waiting for RabbitMQ", url=self._where, error=_why_not_connected(error), next_try_in=wait)
                await self._disconnect()
            except BaseException:
                await self._disconnect()
                raise
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Also raises PublishRefused, as UnroutableMessage: RabbitMQ does not let this user publish one of them."""
        failure: UnroutableMessage | None = None
        for begin in range(0, len(frames), PIPELINE):
            failed = await self._publish_some(frames[begin : begin + PIPELINE])
            failure = failure or failed
        if failure is not None:
            raise failure

    async def stop_consuming(self) -> None:
        subscriptions = [one for one in self._subscriptions if brings_work(one.queue)]
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

    def only_looks_up(self, queue: Queue) -> bool:
        """Whether this user cannot make a queue, or it is one that such users find there. RabbitMQ has an error in its
        log for every refusal, so it is not asked for what it will refuse."""
        return queue.name in self._not_ours or (not self._makes_exchanges and is_made_beforehand(queue))

    def begun(self, subscription: RabbitSubscription) -> None:
        self._subscriptions[subscription] = None
        self._measuring.exists(subscription.queue)

    def ended(self, subscription: RabbitSubscription) -> None:
        """It takes no more, holds nothing, and what was settled is told."""
        if not subscription.lasting:
            self._subscriptions.pop(subscription, None)

    async def _begin(self, declares: Sequence[Queue]) -> None:
        self._connection = connection = await self._connect()
        self._absence = _absence()
        self._not_ours.clear()
        assert connection.transport is not None
        self._makes_exchanges = await may_make_exchanges(connection.transport.connection)
        for exchange in Exchange:
            declared = await self._broker.declare_exchange(exchange_of(exchange, passive=not self._makes_exchanges))
            self._publishing = cast(RobustChannel, declared.channel)
        for queue in (topology.dead_letters(), *declares):
            await self.declare(queue)
        subscriptions = tuple(self._subscriptions)
        for subscription in subscriptions:
            await subscription.prepare()
        for subscription in subscriptions:
            await subscription.start()
        self._broker.running = True
        self._watch = asyncio.get_running_loop().create_task(self._watch_recovery(connection))
        log.info("connected to RabbitMQ", url=self._where)

    async def _declare(self, queue: Queue) -> None:
        # A refused declaration closes its channel, and would take others that wait there with it.
        async with self._declare_lock, self.operation(f"declare {queue.name}"):
            if not self.only_looks_up(queue):
                try:
                    await declare_queue(await self._channel_to_declare(), queue)
                    return
                except ChannelAccessRefused:
                    self._not_ours.add(queue.name)
            await queue_exists(await self.open_plain_channel(), queue)

    async def _channel_to_declare(self) -> AbstractRobustChannel:
        if self._declaring is None:
            self._declaring = await self.open_channel()
        channel = self._declaring
        # A refusal of what was declared before has closed it, and it opens again by itself.
        await until(lambda: not channel.is_closed)
        return channel

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
            raise ConnectionResetError(
                "the broker closed the connection before it said anything; does it want TLS (amqps://) on this port?"
            ) from error

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
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.gather(*(subscription.told() for subscription in self._subscriptions))
        for subscription in tuple(self._subscriptions):
            subscription.forget()
            self.ended(subscription)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if publishing is not None and not publishing.is_closed:
                    # Its answer comes when the broker has read every settlement written before.
                    await publishing.close()
                if connection is not None:
                    await connection.close()
        except _LOST as error:
            log.debug("connection not closed in good order", url=self._where, error=_in_words(error))
        await self._broker.stop()

    async def _publish_some(self, frames: Sequence[Frame]) -> UnroutableMessage | None:
        """Publish all that can be, and return why the first of the others cannot."""
        failure: UnroutableMessage | None = None
        for _ in range(ROUNDS):
            results = await self._publish_all(frames)
            refusal = next((one for one in results if isinstance(one, ChannelAccessRefused)), None)
            again: list[Frame] = []
            for frame, result in zip(frames, results, strict=True):
                if isinstance(result, PublishError):
                    failure = failure or UnroutableMessage(frame.address, frame.type)
                elif _is_lost(result) or isinstance(result, asyncio.CancelledError):
                    if refusal is None:
                        raise BusUnavailable(f"RabbitMQ at {self._where}: {_in_words(result)}") from result
                    if is_about(refusal, frame.address):
                        failure = failure or PublishRefused(frame, refusal)
                    else:
                        again.append(frame)
                elif isinstance(result, BaseException):
                    raise result
            if refusal is not None:
                await self._publishing_again()
            if not again:
                return failure
            frames = again
        raise BusUnavailable(f"RabbitMQ at {self._where} refuses other messages of this service again and again")

    async def _publishing_again(self) -> None:
        """Wait for the channel to come back that RabbitMQ closed with its refusal."""
        try:
            async with asyncio.timeout(self._confirm_timeout):
                await until(lambda: self.connected)
        except TimeoutError:
            raise BusUnavailable(f"not connected to RabbitMQ at {self._where}") from None

    async def _publish_all(self, frames: Sequence[Frame]) -> list[Any]:
        if not self.connected or self._publishing is None:
            raise BusUnavailable(f"not connected to RabbitMQ at {self._where}")
        try:
            # Two seconds are for a message; many or large ones take longer to write, and that is no failure.
            size = sum(len(frame.body) for frame in frames)
            async with asyncio.timeout(
                self._confirm_timeout + len(frames) / FRAMES_PER_SECOND + size / BYTES_PER_SECOND
            ):
                # Not while it is being opened again: refused then, it would stay closed.
                await self._publishing.ready()
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
            # Called for every attempt to connect again, too.
            self._absence.failed(error or ConnectionResetError("closed"), url=self._where)

    def _on_reconnected(self, _connection: object) -> None:
        self._absence.worked(url=self._where)
        self._tell_reconnected()


def _absence() -> Repeated:
    return Repeated(
        log, "connection to RabbitMQ lost", still="still not connected to RabbitMQ", over="connected to RabbitMQ again"
    )


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
