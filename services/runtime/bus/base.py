"""What a bus is: bytes in, bytes out, acks, and nothing dropped in silence.

One protocol, several brokers behind it, and one parity suite that holds them all to the same behaviour.
Handlers never know which broker carries them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from contracts.envelope import Message
from contracts.topology import Address, Queue
from services.runtime.security.principal import Principal


class BusError(Exception):
    """Something a bus could not do."""


class BusUnavailable(BusError):
    """The broker cannot be reached, or did not confirm in time. What was being published may or may not have
    arrived: publish it again under the same id."""


class UnroutableMessage(BusError):
    """No queue takes messages of this address."""

    def __init__(self, address: Address, message_type: str) -> None:
        super().__init__(
            f"{message_type} to exchange {address.exchange.value!r} with key {address.key!r} reached no queue:"
            " is the service that takes it running, or has it ever run?"
        )
        self.address = address
        self.message_type = message_type


@dataclass(frozen=True, slots=True)
class Frame:
    """A message as bytes, on its way out. ``type`` and the ids also stand in the body; they travel beside it so
    that a receiver knows how to read the body in one pass. ``reply_to`` is the queue that awaits the answer."""

    address: Address
    body: bytes
    type: str
    message_id: str
    correlation_id: str = ""
    reply_to: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Delivery(Protocol):
    """A message as bytes, received. Exactly one of ``ack``, ``retry`` and ``dead_letter`` settles it; until then
    the broker keeps it, and gives it to someone else if this process dies. Settling twice, or after the
    connection it came over is gone, does nothing."""

    @property
    def body(self) -> bytes: ...
    @property
    def type(self) -> str: ...
    @property
    def message_id(self) -> str: ...
    @property
    def correlation_id(self) -> str: ...
    @property
    def reply_to(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def queue(self) -> str:
        """The name of the queue it was taken from."""
        ...

    @property
    def exchange(self) -> str:
        """Where it was published to, or moved to by the broker when it exceeded a delivery limit."""
        ...

    @property
    def routing_key(self) -> str: ...
    @property
    def redeliveries(self) -> int:
        """How often it was delivered before, as far as the broker knows."""
        ...

    @property
    def signer(self) -> Principal | None:
        """Whose signature was verified; None where there was none to verify, as on every bus by itself."""
        return None

    @property
    def died_in(self) -> str:
        """The queue whose delivery limit it exceeded before it came here, or an empty string."""
        ...

    def was_sent(self, at: datetime) -> None:
        """It was read, and its envelope says that it was sent then: told to whoever measures, by default nobody."""
        return

    async def ack(self) -> None: ...

    async def retry(self) -> None:
        """Give it back to its queue; counts as a redelivery."""
        ...

    async def dead_letter(self, reason: str, detail: str) -> None:
        """Move it to the dead-letter queue under ``reason`` (a key of the topology) with ``detail`` in words.

        Raises:
            UnroutableMessage: no queue takes that reason. BusUnavailable: the broker is away. Either way it is
                not settled.
        """
        ...


Receive = Callable[[Delivery], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """What a queue holds now, as its broker says."""

    ready: int
    """Messages that wait for somebody to take them."""
    unacked: int | None
    """Messages that somebody has in hand; None where the broker does not say (RabbitMQ, to its clients)."""
    consumers: int
    """How many take from it. Of a queue with a single active consumer that is one: RabbitMQ does not count those that
    stand by."""


class Subscription(Protocol):
    """One consumer on one queue."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Take no more messages. What was taken and not settled can still be settled."""
        ...


class Bus(Protocol):
    """A connection to a broker."""

    @property
    def connected(self) -> bool: ...

    def subscribe(
        self, queue: Queue, receive: Receive, *, prefetch: int, accepts: Sequence[type[Message]] = ()
    ) -> Subscription:
        """Take messages from ``queue``, at most ``prefetch`` of them unsettled at a time.

        Before ``start`` it only registers, and ``start`` begins; afterwards, call the subscription's own
        ``start``. ``receive`` is called for each delivery and may settle it later. If it raises, the delivery is
        given back (``retry``). ``accepts`` is for documents generated from the bus.
        """
        ...

    def not_consuming(self) -> tuple[str, ...]:
        """The names of the queues that this bus should be taking from and does not take from now, sorted.

        It should from those of the subscriptions that were registered before its first ``start``, stopped or not, and
        from those of subscriptions that were started since and not stopped.
        """
        ...

    async def step_back(self, queue: Queue) -> None:
        """Give others a turn with a queue of kind SINGLE: what this bus takes from it goes to the end of the line, and
        the next in it has the messages from now on; where nobody else waits, this bus goes on. It takes from the queue
        all the while, as ``not_consuming`` has it. What is in hand is settled as ever; what is on its way here may go
        to the next in line, as a redelivery. Nothing is done if this bus does not take from the queue.

        Raises:
            BusUnavailable: the broker is away, or does not answer in time. Whoever connects again is at the end of the
                line too.
        """
        ...

    async def measure(self, queues: Sequence[Queue]) -> dict[str, QueueFigures]:
        """What these queues hold, by their names. Queues that do not exist are left out, and so are queues of kind
        BROADCAST that belong to somebody else, whom a broker may not tell apart from those that do not exist.

        Raises:
            BusUnavailable: the broker is away, or does not answer in time.
        """
        ...

    async def declare(self, queue: Queue) -> None:
        """Make sure a queue and its bindings exist without taking from it, so that messages can wait there.

        Raises:
            BusError: it exists with other settings.
            BusUnavailable: not connected.
        """
        ...

    async def remove(self, queue: Queue, receive: Receive) -> None:
        """Take a queue off its exchanges, so that nothing new comes to it, hand what is left in it to ``receive``, one
        at a time and in order, and delete it. For queues that nobody takes from any more. A queue that does not exist
        is no error. If ``receive`` raises, its delivery goes back, the queue stays and the error comes out here.

        Raises:
            BusUnavailable: the broker is away. To be called again: what was handed over is not there any more.
        """
        ...

    async def start(self, declares: Sequence[Queue] = ()) -> None:
        """Connect (waiting for the broker as long as it takes), declare the exchanges, the dead-letter queue,
        ``declares`` and the queues of the registered subscriptions, in this order, and only then take from any: what is
        taken from the first may cause a message for the last.

        Raises:
            BusError: the broker refuses the login, or a queue exists with other settings.
        """
        ...

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Publish all, side by side; return when the broker has taken responsibility for every one.

        Raises:
            UnroutableMessage: a frame that must arrive reached no queue (the others were published).
            BusUnavailable: not connected, or not confirmed in time.
        """
        ...

    async def stop_consuming(self) -> None:
        """Stop every subscription that brings work, and wait (for a bounded time) until the receivers under way have
        returned. Publishing and settling still work, and so do subscriptions to reply queues: what is in hand may wait
        for an answer."""
        ...

    async def close(self) -> None:
        """Disconnect, and cancel receivers that have not returned. Unsettled messages go back to their queues.
        The bus can be started again, with the subscriptions that were registered before its first start."""
        ...
