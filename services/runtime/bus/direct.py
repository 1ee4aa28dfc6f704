"""The bus inside one process, for development, tests and single-process deployments."""

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from contracts import topology
from contracts.envelope import Message
from contracts.topology import Queue
from services.runtime.bus.base import Bus, BusUnavailable, Delivery, Frame, QueueFigures, Receive, UnroutableMessage
from services.runtime.bus.delivering import dead_letter, hand_over
from services.runtime.bus.direct_broker import DirectBroker, DirectQueue, Stored
from services.runtime.bus.stopping import brings_work
from services.runtime.correlation import without_work

log = structlog.get_logger(__name__)


class Holder(Protocol):
    """Whoever holds deliveries until they are settled."""

    @property
    def queue(self) -> Queue: ...

    def holds(self, delivery: "DirectDelivery") -> bool: ...

    def settle(self, delivery: "DirectDelivery") -> None: ...

    def give_back(self, delivery: "DirectDelivery") -> None: ...

    def publish(self, frame: Frame) -> None: ...


class DirectDelivery(Delivery):
    """A message that somebody holds until it is settled."""

    __slots__ = ("_holder", "_message")

    def __init__(self, message: Stored, holder: Holder) -> None:
        self._message = message
        self._holder = holder

    @property
    def body(self) -> bytes:
        return self._message.frame.body

    @property
    def type(self) -> str:
        return self._message.frame.type

    @property
    def message_id(self) -> str:
        return self._message.frame.message_id

    @property
    def correlation_id(self) -> str:
        return self._message.frame.correlation_id

    @property
    def reply_to(self) -> str:
        return self._message.frame.reply_to

    @property
    def headers(self) -> Mapping[str, str]:
        return self._message.frame.headers

    @property
    def queue(self) -> str:
        return self._holder.queue.name

    @property
    def exchange(self) -> str:
        return self._message.frame.address.exchange.value

    @property
    def routing_key(self) -> str:
        return self._message.frame.address.key

    @property
    def redeliveries(self) -> int:
        return self._message.redeliveries

    @property
    def died_in(self) -> str:
        return self._message.died_in

    async def ack(self) -> None:
        self._holder.settle(self)

    async def retry(self) -> None:
        self._holder.give_back(self)

    async def dead_letter(self, reason: str, detail: str) -> None:
        if self._holder.holds(self):
            self._holder.publish(dead_letter(self, self.exchange, reason, detail))
            self._holder.settle(self)


class DirectSubscription:
    """One consumer on one queue. Each delivery is received in a task of its own, in the order of the queue."""

    def __init__(
        self, bus: "DirectBus", broker: DirectBroker, queue: Queue, receive: Receive, *, prefetch: int, lasting: bool
    ) -> None:
        self.queue = queue
        self._lasting = lasting
        self._bus = bus
        self._broker = broker
        self._receive = receive
        self._prefetch = prefetch
        self._source: DirectQueue | None = None
        self._consuming = False
        self._held: dict[DirectDelivery, tuple[Stored, DirectQueue]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()

    @property
    def has_room(self) -> bool:
        return len(self._held) < self._prefetch

    @property
    def tasks(self) -> frozenset[asyncio.Task[None]]:
        """The calls of the handler that have not returned."""
        return frozenset(self._tasks)

    @property
    def should_consume(self) -> bool:
        return self._lasting or self._consuming

    @property
    def consuming(self) -> bool:
        return self._consuming and self._source is not None and self._broker.has(self._source)

    async def start(self) -> None:
        if not self._bus.connected:
            raise BusUnavailable(f"cannot take from {self.queue.name}: the bus is not started")
        if not self._consuming:
            self._begin()

    def _begin(self) -> None:
        self._source = self._broker.declare(self.queue, self._bus)
        self._consuming = True
        self._bus.remember(self)
        self._context = without_work()
        self._source.join(self)

    async def stop(self) -> None:
        self.leave()
        self._go_on()

    def step_back(self) -> None:
        if self._consuming and self._source is not None:
            self._source.step_back(self)

    def leave(self) -> None:
        """Take no more, without a word to the queue's other consumers."""
        if self._consuming and self._source is not None:
            self._consuming = False
            self._source.leave(self)

    def abandon(self) -> None:
        """Cancel the handlers; everything that is held goes back to its queue."""
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        held, self._held = list(self._held.values()), {}
        by_source: dict[DirectQueue, list[Stored]] = {}
        for message, source in held:
            by_source.setdefault(source, []).append(message)
        for source, messages in by_source.items():
            source.give_back(messages)

    def cancelled(self) -> None:
        """Its queue was removed behind its back: it is made again, and taken from."""
        log.warning("the queue was removed while it was taken from, made again", queue=self.queue.name)
        self._begin()

    def take(self, message: Stored, source: DirectQueue) -> None:
        delivery = DirectDelivery(message, self)
        self._held[delivery] = (message, source)
        # In the consumer's context, as over a network: whoever publishes is here too, with work of its own in hand.
        context = self._context.copy()
        task = asyncio.get_running_loop().create_task(hand_over(self._receive, delivery), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def publish(self, frame: Frame) -> None:
        if not self._broker.publish(frame):
            raise UnroutableMessage(frame.address, frame.type)

    def holds(self, delivery: DirectDelivery) -> bool:
        return delivery in self._held

    def settle(self, delivery: DirectDelivery) -> None:
        if (held := self._held.pop(delivery, None)) is not None:
            held[1].settled()
            self._go_on()

    def give_back(self, delivery: DirectDelivery) -> None:
        if (held := self._held.pop(delivery, None)) is not None:
            message, source = held
            source.give_back([message])
            self._go_on()

    def _go_on(self) -> None:
        if self._source is not None:
            self._source.dispatch()
        if not (self._lasting or self._consuming or self._held):
            self._bus.forget(self)


class _Left:
    """Holds the one message of a queue that is being removed."""

    def __init__(self, source: DirectQueue, broker: DirectBroker) -> None:
        self.queue = source.spec
        self._source = source
        self._broker = broker
        self._held: tuple[DirectDelivery, Stored] | None = None

    async def hand_out(self, receive: Receive) -> None:
        while (message := self._source.take_out()) is not None:
            delivery = DirectDelivery(message, self)
            self._held = (delivery, message)
            try:
                await receive(delivery)
            except BaseException:
                self.give_back(delivery)
                raise
            self.settle(delivery)

    def holds(self, delivery: DirectDelivery) -> bool:
        return self._held is not None and self._held[0] is delivery

    def settle(self, delivery: DirectDelivery) -> None:
        if self.holds(delivery):
            self._held = None
            self._source.settled()

    def give_back(self, delivery: DirectDelivery) -> None:
        if self._held is not None and self.holds(delivery):
            (_, message), self._held = self._held, None
            self._source.give_back([message])

    def publish(self, frame: Frame) -> None:
        if not self._broker.publish(frame):
            raise UnroutableMessage(frame.address, frame.type)


class DirectBus(Bus):
    """One service's connection to the broker of its process.

    ``drain_timeout``: seconds that ``stop_consuming`` waits for handlers that have not returned.
    """

    def __init__(self, broker: DirectBroker, *, drain_timeout: float = 15.0) -> None:
        self._broker = broker
        self._drain_timeout = drain_timeout
        self._subscriptions: dict[DirectSubscription, None] = {}
        self._connected = False

    @property
    def connected(self) -> bool:
        return self._connected

    def subscribe(
        self, queue: Queue, receive: Receive, *, prefetch: int, accepts: Sequence[type[Message]] = ()
    ) -> DirectSubscription:
        lasting = not self._connected
        subscription = DirectSubscription(self, self._broker, queue, receive, prefetch=prefetch, lasting=lasting)
        if lasting:
            self.remember(subscription)
        return subscription

    def remember(self, subscription: DirectSubscription) -> None:
        self._subscriptions[subscription] = None

    def forget(self, subscription: DirectSubscription) -> None:
        """One that was added while the bus ran, and holds nothing any more."""
        self._subscriptions.pop(subscription, None)

    def not_consuming(self) -> tuple[str, ...]:
        return tuple(
            sorted({one.queue.name for one in self._subscriptions if one.should_consume and not one.consuming})
        )

    async def step_back(self, queue: Queue) -> None:
        for subscription in tuple(self._subscriptions):
            if subscription.queue.name == queue.name:
                subscription.step_back()

    async def measure(self, queues: Sequence[Queue]) -> dict[str, QueueFigures]:
        self._require_connection()
        measured = ((queue.name, self._broker.measure(queue, self)) for queue in queues)
        return {name: figures for name, figures in measured if figures is not None}

    async def declare(self, queue: Queue) -> None:
        self._require_connection()
        self._broker.declare(queue, self)

    async def remove(self, queue: Queue, receive: Receive) -> None:
        self._require_connection()
        source = self._broker.unbind(queue.name)
        if source is not None:
            await _Left(source, self._broker).hand_out(receive)
            self._broker.delete(source)

    async def start(self, declares: Sequence[Queue] = ()) -> None:
        self._connected = True
        subscriptions = tuple(self._subscriptions)
        for queue in (topology.dead_letters(), *declares, *(one.queue for one in subscriptions)):
            await self.declare(queue)
        for subscription in subscriptions:
            await subscription.start()

    async def publish(self, frames: Sequence[Frame]) -> None:
        self._require_connection()
        unroutable: Frame | None = None
        for frame in frames:
            arrived = self._broker.publish(frame)
            if not arrived and frame.address.must_arrive:
                unroutable = unroutable or frame
        # Handlers get their turn even while somebody publishes without a pause.
        await asyncio.sleep(0)
        if unroutable is not None:
            raise UnroutableMessage(unroutable.address, unroutable.type)

    async def stop_consuming(self) -> None:
        subscriptions = [one for one in self._subscriptions if brings_work(one.queue)]
        for subscription in subscriptions:
            await subscription.stop()
        current = asyncio.current_task()
        tasks = {task for subscription in subscriptions for task in subscription.tasks if task is not current}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._drain_timeout)
            if late:
                log.warning("handlers still running after the time to drain", handlers=len(late))

    async def close(self) -> None:
        self._connected = False
        # All leave before anything goes back, or one would be given what another held.
        for subscription in tuple(self._subscriptions):
            subscription.leave()
        for subscription in tuple(self._subscriptions):
            subscription.abandon()
        self._broker.disconnect(self)

    def _require_connection(self) -> None:
        if not self._connected:
            raise BusUnavailable("the bus is not started")
