"""The broker inside the process: exchanges, queues and who takes from them. Nothing outlives the process."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from contracts.topology import Address, Exchange, Queue, QueueKind
from services.runtime.bus.base import BusError, Frame, QueueFigures
from services.runtime.bus.topic_routing import TopicTable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in a queue. ``redeliveries`` counts how often it came back to this queue."""

    frame: Frame
    redeliveries: int = 0
    died_in: str = ""


class Consumer(Protocol):
    """Someone who takes messages from a queue."""

    @property
    def has_room(self) -> bool:
        """Whether it may take one more before it settles any."""
        ...

    def take(self, message: Stored, source: "DirectQueue") -> None: ...

    def cancelled(self) -> None:
        """Its queue is gone, and somebody else took it away."""
        ...


class DirectQueue:
    """Messages that wait, and the consumers they go to in turn.

    Memory holds every message until it is settled; nothing limits how many may wait, as in a RabbitMQ queue
    without a length limit.
    """

    def __init__(self, spec: Queue, broker: "DirectBroker", owner: object | None) -> None:
        self.spec = spec
        self.owner = owner
        self._broker = broker
        self._waiting: deque[Stored] = deque()
        self._returned: deque[Stored] = deque()  # what came back goes out first
        self._consumers: deque[Consumer] = deque()
        self._in_hand = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._returned)

    @property
    def figures(self) -> QueueFigures:
        consumers = len(self._consumers)
        if self.spec.kind is QueueKind.SINGLE:
            consumers = min(1, consumers)
        return QueueFigures(ready=len(self), unacked=self._in_hand, consumers=consumers)

    def put(self, message: Stored) -> None:
        self._waiting.append(message)
        self.dispatch()

    def settled(self) -> None:
        """One of those that were taken is done with."""
        self._in_hand -= 1

    def give_back(self, messages: Iterable[Stored]) -> None:
        limit = self.spec.delivery_limit
        for message in messages:
            self._in_hand -= 1
            if limit is not None and message.redeliveries >= limit:
                self._broker.bury(message.frame, self.spec)
            else:
                self._returned.append(replace(message, redeliveries=message.redeliveries + 1))
        self.dispatch()

    def take_out(self) -> Stored | None:
        """The message that is next, if there is one; whoever takes it says when it is settled, or gives it back."""
        waiting = self._returned or self._waiting
        if not waiting:
            return None
        self._in_hand += 1
        return waiting.popleft()

    def join(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)
        self.dispatch()

    def leave(self, consumer: Consumer) -> None:
        """Give it no more. A broadcast queue goes with its last consumer."""
        self._consumers.remove(consumer)
        if self.spec.kind is QueueKind.BROADCAST and not self._consumers:
            self._broker.delete(self)

    def step_back(self, consumer: Consumer) -> None:
        """It takes its place at the end of the line."""
        if consumer in self._consumers:  # or the queue was removed
            self._consumers.remove(consumer)
            self._consumers.append(consumer)
            self.dispatch()

    def dispatch(self) -> None:
        """Hand out messages while there are any and someone has room."""
        while self._waiting or self._returned:
            consumer = self._next_consumer()
            if consumer is None:
                return
            self._in_hand += 1
            consumer.take(self._returned.popleft() if self._returned else self._waiting.popleft(), self)

    def cancel_consumers(self) -> None:
        consumers, self._consumers = self._consumers, deque()
        for consumer in consumers:
            consumer.cancelled()

    def _next_consumer(self) -> Consumer | None:
        if self.spec.kind is QueueKind.SINGLE:
            active = self._consumers[0] if self._consumers else None
            return active if active is not None and active.has_room else None
        for _ in range(len(self._consumers)):
            consumer = self._consumers[0]
            self._consumers.rotate(-1)
            if consumer.has_room:
                return consumer
        return None


class DirectBroker:
    """One per process; every service's ``DirectBus`` connects to it. To be used from one event loop."""

    def __init__(self) -> None:
        self._exchanges = {exchange: TopicTable[DirectQueue]() for exchange in Exchange}
        self._queues: dict[str, DirectQueue] = {}
        self._unburied: list[tuple[Queue, Frame]] = []

    def declare(self, spec: Queue, owner: object) -> DirectQueue:
        """Make a queue and its bindings, if they are not there. A broadcast queue belongs to ``owner`` alone.

        Raises:
            BusError: it exists with another kind, limit or dead-letter address, or belongs to someone else.
        """
        queue = self._queues.get(spec.name)
        if queue is None:
            queue = DirectQueue(spec, self, owner if spec.kind is QueueKind.BROADCAST else None)
            self._queues[spec.name] = queue
        elif queue.owner is not None and queue.owner is not owner:
            raise BusError(f"queue {spec.name!r} belongs to another connection")
        elif _settings(queue.spec) != _settings(spec):
            raise BusError(
                f"queue {spec.name!r} exists with kind, delivery limit and dead-letter address {_settings(queue.spec)},"
                f" not {_settings(spec)}"
            )
        for binding in spec.bindings:
            self._exchanges[binding.exchange].bind(binding.key, queue)
        self._bury_again()
        return queue

    def unbind(self, name: str) -> DirectQueue | None:
        """Take a queue off every exchange; it stays. None if there is no such queue."""
        queue = self._queues.get(name)
        if queue is not None:
            for table in self._exchanges.values():
                table.remove(queue)
        return queue

    def delete(self, queue: DirectQueue) -> None:
        if self.has(queue):
            self.unbind(queue.spec.name)
            del self._queues[queue.spec.name]
            queue.cancel_consumers()

    def has(self, queue: DirectQueue) -> bool:
        """Whether this is the queue of its name now."""
        return self._queues.get(queue.spec.name) is queue

    def measure(self, spec: Queue, asker: object) -> QueueFigures | None:
        """What a queue holds; None if there is none, or it belongs to somebody else than ``asker``."""
        queue = self._queues.get(spec.name)
        if queue is None or queue.owner not in (None, asker):
            return None
        return queue.figures

    def disconnect(self, owner: object) -> None:
        """Delete the queues that belong to a connection that is gone."""
        for queue in [queue for queue in self._queues.values() if queue.owner is owner]:
            self.delete(queue)

    def publish(self, frame: Frame) -> bool:
        """Put a message into every queue that takes its address; whether there was one."""
        targets = self._targets(frame.address)
        for queue in targets:
            queue.put(Stored(frame))
        return bool(targets)

    def bury(self, frame: Frame, queue: Queue) -> None:
        """Move a message that exceeded its queue's delivery limit to that queue's dead-letter address, as soon as
        some queue takes it there."""
        targets = self._targets(queue.dead_letter)
        if not targets:
            log.error("nobody takes dead letters of this address; kept", queue=queue.name, key=queue.dead_letter.key)
            self._unburied.append((queue, frame))
        for target in targets:
            target.put(Stored(replace(frame, address=queue.dead_letter), died_in=queue.name))

    def _bury_again(self) -> None:
        unburied, self._unburied = self._unburied, []
        for queue, frame in unburied:
            self.bury(frame, queue)

    def _targets(self, address: Address) -> tuple[DirectQueue, ...]:
        return self._exchanges[address.exchange].targets(address.key)


def _settings(spec: Queue) -> tuple[str, int | None, str, str]:
    return spec.kind.value, spec.delivery_limit, spec.dead_letter.exchange.value, spec.dead_letter.key
