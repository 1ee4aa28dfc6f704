"""The bus over Redis streams (Redis 7.0 and later, one server or one with replicas, no cluster), on FastStream's
RedisBroker.

A queue is a stream with one consumer group; exchanges, bindings and limits are kept beside it in the same Redis, and
scripts there route (``redis_scripts``). A message is taken over when its publish returns, which is when Redis has it in
memory. How safe it is from then on is Redis's setting:

- ``appendonly yes`` with ``appendfsync always``: it is on the disk when the publish returns;
- ``appendonly yes`` with ``appendfsync everysec``: a Redis that dies loses nothing, a machine the last second;
- otherwise: a Redis that stops loses what came since its last snapshot, or everything. The log says so at the start.

A Redis that comes back without its memory is as a new one: services declare their queues again when they connect
again, and what was on its way is lost; open executions send their steps once more when their leases run out. The
same holds, for what was not copied yet, when a replica takes over. Eviction (``maxmemory-policy``) must be off.

A service that dies is noticed when its connection is gone (within seconds) or when it says nothing for
``time_to_live``; what it had in hand then goes to others. One that was only paused may then handle a message twice.
"""

import asyncio
import itertools
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import uuid4

import structlog
from faststream.redis import RedisBroker
from faststream.security import BaseSecurity
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from yarl import URL

from contracts import topology
from contracts.envelope import Message
from contracts.topology import Queue
from services.runtime.bus import redis_scripts
from services.runtime.bus.base import Bus, BusError, BusUnavailable, Frame, QueueFigures, Receive, UnroutableMessage
from services.runtime.bus.redis_delivery import meta_of
from services.runtime.bus.redis_link import RedisLink
from services.runtime.bus.redis_lua import PREFIX
from services.runtime.bus.redis_removal import hand_out_what_is_left
from services.runtime.bus.redis_server import advise
from services.runtime.bus.redis_subscription import RedisSubscription
from services.runtime.bus.redis_topology import bindings_of, settings_of
from services.runtime.bus.stopping import brings_work
from services.runtime.repeated import Repeated

log = structlog.get_logger(__name__)

CLOSE_TIMEOUT: Final = 5.0
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
PIPELINE: Final = 500  # messages in one script, which Redis runs while everybody else waits
PIPELINE_BYTES: Final = 1024 * 1024
BEATS: Final = 4  # in one time to live
ABSENCE: Final = 0.2  # of the time to live: how long a connection may be away


class ConclaveRedisBroker(RedisBroker):
    """FastStream's broker, started by the bus. A FastStream application starts its brokers once more, which would
    make every subscriber read its stream by itself."""

    async def start(self) -> None:
        if not self.running:
            raise BusError("this broker is started by its bus: start the service that it belongs to")


class RedisBus(Bus):
    """One service's session with Redis, over two connections.

    The session outlives a lost connection: what is in hand stays there while it connects again, and what was settled
    meanwhile is told then.

    Args:
        url: ``redis://[user:password@]host[:port]/db``, ``rediss://...`` or ``unix://...``.
        tls: for rediss, with verification on; if there is none, the system's authorities are trusted.
        confirm_timeout: seconds that Redis has for an answer, and more for many messages or large ones.
        drain_timeout: seconds that ``stop_consuming`` waits for handlers that have not returned.
        time_to_live: seconds without a word after which others take what this session had in hand.
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
        time_to_live: float = 10.0,
        middlewares: Sequence[Any] = (),
        on_reconnected: Callable[[], None] = lambda: None,
    ) -> None:
        address = URL(url)
        self._where = str(address.with_user(None).with_query(None)) if address.host else str(address.with_query(None))
        self._broker = ConclaveRedisBroker(
            # Version 2 of the protocol does all that is needed here, with any Redis.
            url if "protocol" in address.query else str(address.update_query(protocol="2")),
            security=None if tls is None else BaseSecurity(ssl_context=tls),
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=confirm_timeout,
            socket_keepalive=bool(address.host),
            graceful_timeout=drain_timeout,
            specification_url=self._where,
            logger=None,  # type: ignore[arg-type]
            apply_types=False,
            middlewares=middlewares,
        )
        self._tell_reconnected = on_reconnected
        self._link = RedisLink(self._broker, self._where, confirm_timeout, self._on_wake)
        self._time_to_live = time_to_live
        self._session = ""
        self._epoch = b""
        self._numbers = itertools.count(1)
        self._ready = False
        self._subscriptions: dict[RedisSubscription, None] = {}
        self._consumers: dict[bytes, RedisSubscription] = {}
        self._declared: dict[str, Queue] = {}
        self._keeping: asyncio.Task[None] | None = None

    @property
    def broker(self) -> RedisBroker:
        """FastStream's broker with every subscriber registered: enough for the AsyncAPI document, connected or not."""
        return self._broker

    @property
    def connected(self) -> bool:
        return self._ready and self._link.is_open

    def subscribe(
        self, queue: Queue, receive: Receive, *, prefetch: int, accepts: Sequence[type[Message]] = ()
    ) -> RedisSubscription:
        lasting = not self._session
        subscription = RedisSubscription(self, queue, receive, prefetch=prefetch, accepts=accepts, lasting=lasting)
        if lasting:
            self._subscriptions[subscription] = None
        return subscription

    def not_consuming(self) -> tuple[str, ...]:
        wanted = (one for one in self._subscriptions if one.should_consume)
        return tuple(sorted({one.queue.name for one in wanted if not (self.connected and one.consuming)}))

    async def step_back(self, queue: Queue) -> None:
        for subscription in tuple(self._subscriptions):
            if subscription.queue.name == queue.name:
                await subscription.step_back()

    async def measure(self, queues: Sequence[Queue]) -> dict[str, QueueFigures]:
        names = [queue.name for queue in queues]
        told = await self._link.call(redis_scripts.MEASURE, self._session, *names)
        return {
            name: QueueFigures(ready=figures[0], unacked=figures[1], consumers=figures[2])
            for name, figures in zip(names, told, strict=True)
            if figures
        }

    async def declare(self, queue: Queue) -> None:
        await self.declare_queue(queue)
        self._declared[queue.name] = queue

    async def remove(self, queue: Queue, receive: Receive) -> None:
        self._declared.pop(queue.name, None)
        await hand_out_what_is_left(self, queue, receive)

    async def start(self, declares: Sequence[Queue] = ()) -> None:
        wait = FIRST_WAIT
        self._session, self._epoch = uuid4().hex, b""
        try:
            while True:
                try:
                    await self._begin(declares)
                    return
                except BusUnavailable as error:
                    log.warning("waiting for Redis", url=self._where, error=str(error), next_try_in=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
        except BaseException:
            await self.close()
            raise

    async def publish(self, frames: Sequence[Frame]) -> None:
        unroutable: Frame | None = None
        for some in _portions(frames):
            arguments = [
                word
                for frame in some
                for word in (frame.address.exchange.value, frame.address.key, meta_of(frame), frame.body)
            ]
            if not self._ready:
                raise BusUnavailable(f"not connected to Redis at {self._where}")
            reached = await self._link.call(redis_scripts.PUBLISH, *arguments)
            for frame, queues in zip(some, reached, strict=True):
                if queues == 0 and frame.address.must_arrive:
                    unroutable = unroutable or frame
        if unroutable is not None:
            raise UnroutableMessage(unroutable.address, unroutable.type)

    async def stop_consuming(self) -> None:
        subscriptions = [one for one in self._subscriptions if brings_work(one.queue)]
        await asyncio.gather(*(subscription.stop() for subscription in subscriptions))
        await asyncio.gather(*(subscription.drain() for subscription in subscriptions))

    async def close(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
        self._ready = False
        for subscription in tuple(self._subscriptions):
            subscription.abandon()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                for subscription in tuple(self._subscriptions):  # some leave meanwhile
                    await subscription.say_what_is_done()
                if self._link.is_open:
                    await self._link.call(redis_scripts.END, self._session)
        except (BusError, TimeoutError) as error:
            log.debug("others will take what was in hand", url=self._where, error=str(error))
        finally:
            for subscription in tuple(self._subscriptions):
                subscription.forget()
                if not subscription.lasting:
                    del self._subscriptions[subscription]
            self._session = ""
            self._consumers.clear()
            self._declared.clear()
            await self._link.close()
            await self._broker.stop()

    async def call(self, script: str, *arguments: str | bytes | int) -> Any:
        """Run a script in Redis; raises as ``RedisLink.call`` does."""
        return await self._link.call(script, *arguments)

    async def declare_queue(self, queue: Queue) -> None:
        """Declare it for now; what ``declare`` declares is declared again if Redis forgets it.

        Raises:
            BusError, BusUnavailable: as ``declare`` does.
        """
        fault = await self._link.call(
            redis_scripts.DECLARE, self._session, queue.name, settings_of(queue), *bindings_of(queue)
        )
        if fault:
            wanted = ", ".join(settings_of(queue).split("\0"))
            raise BusError(f"cannot declare queue {queue.name!r} with {wanted}: {fault.decode()}")

    def new_consumer(self) -> str:
        if not self._session:
            raise BusUnavailable(f"not connected to Redis at {self._where}")
        return f"{self._session}.{next(self._numbers)}"

    def joined(self, subscription: RedisSubscription, consumer: str) -> None:
        self._subscriptions[subscription] = None
        self._consumers[consumer.encode()] = subscription

    def left(self, subscription: RedisSubscription, consumer: str) -> None:
        self._consumers.pop(consumer.encode(), None)
        if not subscription.lasting:
            self._subscriptions.pop(subscription, None)

    async def look_after_session(self) -> bool:
        """Say that this session lives, and end those that do not. Whether Redis knows it and it can be woken; if not,
        it will connect again."""
        pause, absence = self._milliseconds(1 / 2), self._milliseconds(ABSENCE)
        sound, ended, unburied = await self._link.call(
            redis_scripts.BEAT, self._session, self._milliseconds(1), pause, absence
        )
        self._tell_of(ended, unburied)
        if not sound:
            self._link.lose(ConnectionError("Redis took this session for dead, or cannot wake it"))
        return bool(sound)

    async def _begin(self, declares: Sequence[Queue]) -> None:
        await self._link.open(f"{PREFIX}wake:{self._session}")
        await advise(self._link, self._where)
        await self._say_hello()
        for queue in declares:
            await self.declare(queue)
        for queue in (topology.dead_letters(), *(one.queue for one in self._subscriptions)):
            await self.declare_queue(queue)
        self._ready = True
        for subscription in tuple(self._subscriptions):
            # One that began before the connection was lost again goes on; ``start`` alone would pass it over.
            await subscription.resume()
            await subscription.start()
            subscription.wake()
        self._broker.running = True
        self._keeping = asyncio.get_running_loop().create_task(self._keep())
        log.info("connected to Redis", url=self._where)

    async def _say_hello(self) -> bool:
        """Whether Redis still knows what it was told before."""
        pause, absence = self._milliseconds(1 / 2), self._milliseconds(ABSENCE)
        epoch, ended, unburied = await self._link.call(
            redis_scripts.HELLO, self._session, self._milliseconds(1), uuid4().hex, pause, absence
        )
        self._tell_of(ended, unburied)
        known, self._epoch = bool(epoch == self._epoch), epoch
        return known

    async def _keep(self) -> None:
        """Say in time that this session lives, and connect again when the connection is lost."""
        while True:
            try:
                async with asyncio.timeout(self._time_to_live / BEATS):
                    await self._link.lost.wait()
            except TimeoutError:
                pass
            try:
                if self._link.lost.is_set():
                    await self._come_back()
                else:
                    await self.look_after_session()
            except BusUnavailable as error:
                log.debug("Redis is away", url=self._where, error=str(error))
            except BusError as error:
                log.error("Redis does not do what it should", url=self._where, error=str(error))

    async def _come_back(self) -> None:
        self._ready = False
        log.warning("connection to Redis lost", url=self._where)
        wait, since = FIRST_WAIT, time.monotonic()
        absence = Repeated(log, "cannot go on with Redis yet")
        while True:
            try:
                await self._link.open(f"{PREFIX}wake:{self._session}")
                await self._resume()
                break
            except BusError as error:
                absence.failed(error, url=self._where)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 1.0)
        log.info("connected to Redis again", url=self._where, away=round(time.monotonic() - since, 1))
        self._tell_reconnected()

    async def _resume(self) -> None:
        if not await self._say_hello():
            for queue in (topology.dead_letters(), *self._declared.values()):
                await self.declare_queue(queue)
        for subscription in tuple(self._subscriptions):
            await subscription.resume()
        self._ready = True
        for subscription in tuple(self._subscriptions):
            subscription.wake()

    def _on_wake(self, consumer: bytes) -> None:
        subscription = self._consumers.get(consumer)
        if subscription is not None and self._ready:
            subscription.wake()

    def _tell_of(self, ended: list[bytes], unburied: int) -> None:
        for session in ended:
            log.warning("a session ended without a word, others take what it had in hand", session=session.decode())
        if unburied:
            log.error("nobody takes these dead letters; kept", messages=unburied)

    def _milliseconds(self, share: float) -> int:
        return round(self._time_to_live * share * 1000)


def _portions(frames: Sequence[Frame]) -> Iterator[Sequence[Frame]]:
    begin = size = 0
    for i, frame in enumerate(frames):
        if i > begin and (i - begin >= PIPELINE or size + len(frame.body) > PIPELINE_BYTES):
            yield frames[begin:i]
            begin, size = i, 0
        size += len(frame.body)
    if begin < len(frames):
        yield frames[begin:]
