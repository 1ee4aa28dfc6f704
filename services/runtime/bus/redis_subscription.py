"""One consumer on one queue in Redis; FastStream carries each message to the handler."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, Union

import structlog
from faststream import AckPolicy
from faststream.redis import RedisBroker, RedisMessage
from faststream.redis.subscriber.usecases import LogicSubscriber

from contracts.envelope import Message, envelope_of
from contracts.topology import Queue
from services.runtime.bus import redis_scripts
from services.runtime.bus.base import BusError, Frame, Receive
from services.runtime.bus.delivering import hand_over
from services.runtime.bus.faststream_metrics import in_family
from services.runtime.bus.redis_delivery import RedisDelivery, parse
from services.runtime.bus.redis_topology import documented_stream

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 1_000  # ids in one call, and messages asked for
PAUSE_AFTER_ERROR = 0.5  # seconds
NO_QUEUE = -2  # as the script NEXT says


class Connection(Protocol):
    """What a subscription asks of the bus it belongs to."""

    @property
    def broker(self) -> RedisBroker: ...

    @property
    def connected(self) -> bool: ...

    def new_consumer(self) -> str: ...

    async def call(self, script: str, *arguments: str | bytes | int) -> Any: ...

    async def declare_queue(self, queue: Queue) -> None: ...

    async def publish(self, frames: Sequence[Frame]) -> None: ...

    def joined(self, subscription: "RedisSubscription", consumer: str) -> None: ...

    def left(self, subscription: "RedisSubscription", consumer: str) -> None: ...

    async def look_after_session(self) -> bool: ...


class RedisSubscription:
    """A registered FastStream subscriber, and its consumer in Redis while it runs or holds something.

    All that it has to say to Redis is said by one task at a time, ``_turn``: what was settled since the last time, and
    how many more messages there is room for. What could not be said, the connection being away, is said after it.

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
        self._consumer = ""  # its id in Redis
        self._consuming = False
        self._leaving = False  # Redis still counts it as one that takes
        self._joined = False  # Redis counts it, as far as is known here
        self._due = False
        self._turning: asyncio.Task[None] | None = None
        self._held: dict[bytes, RedisDelivery] = {}
        self._done: list[bytes] = []
        self._back: list[bytes] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._subscriber = self._register(accepts)

    @property
    def queue_name(self) -> str:
        return self.queue.name

    @property
    def should_consume(self) -> bool:
        return self.lasting or self._consuming

    @property
    def consuming(self) -> bool:
        return self._consuming and self._joined

    async def start(self) -> None:
        if self._consuming:
            return
        await self._connection.declare_queue(self.queue)
        # Known before Redis is told: where its answer is lost, nobody else would take this consumer out again, and of a
        # queue with a single active one it might be that one.
        self._consumer = self._consumer or self._connection.new_consumer()
        self._connection.joined(self, self._consumer)
        try:
            await self._connection.call(redis_scripts.JOIN, self.queue.name, self._consumer)
            # The general part of FastStream's start; a stream subscriber's own would read the stream itself.
            await super(LogicSubscriber, self._subscriber).start()
        except BaseException:
            self._leaving = True
            self.wake()
            raise
        self._subscriber.running = True
        self._consuming, self._joined, self._leaving = True, True, False
        self.wake()

    async def stop(self) -> None:
        if not self._consuming:
            return
        self._consuming, self._leaving = False, True
        self.wake()
        if self._turning is not None:
            await asyncio.wait({self._turning})
        await asyncio.sleep(0)  # what came last has begun, and is drained with the rest

    async def step_back(self) -> None:
        if self._consuming:
            await self._connection.call(redis_scripts.STEP_BACK, self.queue.name, self._consumer)

    async def drain(self) -> None:
        """Wait for handlers that have not returned, at most FastStream's graceful timeout."""
        await self._subscriber.stop()

    def wake(self) -> None:
        """There may be messages, or something to tell Redis."""
        self._due = True
        if self._turning is None:
            self._turning = asyncio.get_running_loop().create_task(self._take_turns())

    async def resume(self) -> None:
        """Go on after a reconnect: what Redis has in this consumer's hand and is not there, since its answer was lost,
        is given back, and what Redis took from it is let go."""
        if self._consuming:
            await self._connection.declare_queue(self.queue)
        if not self._consumer:
            return
        theirs = set(await self._connection.call(redis_scripts.JOIN, self.queue.name, self._consumer))
        self._joined, self._leaving = True, not self._consuming
        self._held = {id_: delivery for id_, delivery in self._held.items() if id_ in theirs}
        self._back = [id_ for id_ in theirs if id_ not in self._held and id_ not in self._done]

    def abandon(self) -> None:
        """The bus is being closed: cancel the handlers, take no more."""
        current = asyncio.current_task()
        self._consuming = False
        for task in (*self._tasks, self._turning):
            if task is not None and task is not current:
                task.cancel()
        if self._turning is not current:
            self._turning = None  # cancelled before its first step, it would not say so itself
        # Or FastStream would wait for handlers that were cancelled.
        self._subscriber.lock = nullcontext()

    async def say_what_is_done(self) -> None:
        while self._consumer and self._done:
            await self._tell(room=0)

    def forget(self) -> None:
        """The session is over, and everything that was held has gone back."""
        self._consumer, self._joined, self._leaving = "", False, False
        self._held, self._done, self._back = {}, [], []

    def holds(self, delivery: RedisDelivery) -> bool:
        return self._held.get(delivery.id) is delivery

    def done(self, delivery: RedisDelivery) -> None:
        if self.holds(delivery):
            del self._held[delivery.id]
            self._done.append(delivery.id)
            self.wake()

    def give_back(self, delivery: RedisDelivery) -> None:
        if self.holds(delivery):
            del self._held[delivery.id]
            self._back.append(delivery.id)
            self.wake()

    async def publish(self, frame: Frame) -> None:
        await self._connection.publish([frame])

    async def _take_turns(self) -> None:
        try:
            while self._due:
                self._due = False
                await self._turn()
        except BusError as error:
            if self._connection.connected:
                # It is full, or cannot write, or was away only a moment ago; nobody else would wake this.
                self._joined = False  # until it says otherwise
                log.warning("Redis does not do what it should", queue=self.queue.name, error=str(error))
                asyncio.get_running_loop().call_later(PAUSE_AFTER_ERROR, self.wake)
            else:
                log.debug("to be said when Redis is back", queue=self.queue.name, error=str(error))
        finally:
            if self._turning is asyncio.current_task():
                self._turning = None

    async def _turn(self) -> None:
        if not self._consumer:
            return
        if self._back:
            await self._give_back()
        room = min(self._prefetch - len(self._held), MOST_AT_ONCE) if self.consuming else 0
        if self._done or room > 0:
            await self._tell(max(room, 0))
        if self._consuming and not self._joined:
            await self._join_again()
        if not self._consuming and not (self._done or self._back) and (self._leaving or not self._held):
            await self._leave()

    async def _tell(self, room: int) -> None:
        """Say what is done, and take what there is room for."""
        done, self._done = self._done[:MOST_AT_ONCE], self._done[MOST_AT_ONCE:]
        try:
            state, *messages = await self._connection.call(
                redis_scripts.NEXT, self.queue.name, self._consumer, room, *done
            )
        except BaseException:
            self._done = done + self._done
            raise
        for head, body in zip(messages[::2], messages[1::2], strict=True):
            self._deliver(RedisDelivery(head, body, self))
        if state > 0 or self._done:
            self._due = True
        elif state < 0 and self._consuming:
            self._joined = False
            if state == NO_QUEUE:
                log.warning("the queue was removed while it was taken from, made again", queue=self.queue.name)

    async def _join_again(self) -> None:
        if not await self._connection.look_after_session():
            return  # the bus connects again, and resumes this
        await self._connection.declare_queue(self.queue)
        await self._connection.call(redis_scripts.JOIN, self.queue.name, self._consumer)
        self._joined = self._due = True

    async def _give_back(self) -> None:
        back, self._back = self._back, []
        try:
            for begin in range(0, len(back), MOST_AT_ONCE):
                some = back[begin : begin + MOST_AT_ONCE]
                unburied = await self._connection.call(redis_scripts.RETRY, self.queue.name, self._consumer, *some)
                if unburied:
                    log.error("nobody takes dead letters of this queue; kept", queue=self.queue.name, messages=unburied)
        except BaseException:
            self._back = back + self._back
            raise

    async def _leave(self) -> None:
        consumer = self._consumer
        await self._connection.call(redis_scripts.LEAVE, self.queue.name, consumer)
        if self._consuming:  # started again meanwhile: it joins once more
            await self._connection.call(redis_scripts.JOIN, self.queue.name, consumer)
            self._due = True
            return
        self._leaving = False
        # What was settled while Redis answered has still to be said.
        if not (self._held or self._done or self._back):
            self._consumer = ""
            self._connection.left(self, consumer)

    def _deliver(self, delivery: RedisDelivery) -> None:
        self._held[delivery.id] = delivery
        task = asyncio.get_running_loop().create_task(self._subscriber.consume(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _register(self, accepts: Sequence[type[Message]]) -> LogicSubscriber:
        subscriber = self._connection.broker.subscriber(
            stream=documented_stream(self.queue),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            parser=in_family(parse, self.queue.family),
            decoder=_unwrapped,
            title=self.queue.name,
            description=_in_words(self.queue),
            include_in_schema=bool(accepts),
            persistent=self.lasting,
        )
        subscriber(_documented(self._handle, accepts))
        return subscriber

    async def _handle(self, delivery: RedisDelivery) -> None:
        await hand_over(self._receive, delivery)


async def _unwrapped(message: RedisMessage) -> RedisDelivery:
    delivery: Any = message.raw_message
    return delivery  # type: ignore[no-any-return]


def _documented(
    handle: Callable[[RedisDelivery], Awaitable[None]], accepts: Sequence[type[Message]]
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
