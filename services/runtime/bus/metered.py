"""A bus that counts what passes it, around any bus: the same figures over every broker.

It stands next to the broker, within the bus that signs and encrypts: so it sees every message as it travels, those that
are refused for their signature among them, and a message's time to be published is the broker's.

What it cannot know: a message whose connection was lost while it was in hand is the broker's again, and is counted as
its service settles it all the same. Of a publish that reached no queue for one message, those to that address count as
unroutable and the others as published.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from contracts.topology import Exchange, Queue
from services.runtime.bus.base import (
    Bus,
    BusUnavailable,
    Delivery,
    Frame,
    Receive,
    UnroutableMessage,
)
from services.runtime.bus.bus_around import BusAround
from services.runtime.bus.delivery_around import DeliveryAround
from services.runtime.telemetry.message_metrics import (
    ACKED,
    DEAD_LETTERED,
    RETURNED,
    MessageMetrics,
    QueueMessages,
)


class MeteredBus(BusAround):
    """Counts what goes to the bus within, and what comes from it.

    Args:
        service: whose bus it is; stands on every figure.
    """

    def __init__(self, inner: Bus, metrics: MessageMetrics, service: str) -> None:
        super().__init__(inner)
        self._metrics = metrics
        self._service = service
        self._sent = metrics.of_service(service)
        self._taken: dict[str, QueueMessages] = {}
        self._held: set[MeteredDelivery] = set()
        metrics.connection(service, lambda: inner.connected)

    async def publish(self, frames: Sequence[Frame]) -> None:
        began = time.perf_counter()
        try:
            await self.inner.publish(frames)
        except UnroutableMessage as error:
            arrived = [frame for frame in frames if frame.address != error.address]
            self._sent.unroutable(len(frames) - len(arrived))
            self._count_published(arrived)
            raise
        except BusUnavailable:
            self._sent.unconfirmed(len(frames))
            raise
        if frames:
            self._sent.confirmed_within(time.perf_counter() - began)
            self._count_published(frames)

    async def close(self) -> None:
        await self.inner.close()
        for delivery in tuple(self._held):
            delivery.over(RETURNED)

    def _count_published(self, frames: Sequence[Frame]) -> None:
        counts: dict[tuple[Exchange, str], int] = {}
        for frame in frames:
            what = frame.address.exchange, frame.type
            counts[what] = counts.get(what, 0) + 1
        for (exchange, message_type), count in counts.items():
            self._sent.published(exchange, message_type, count)

    def around(self, queue: Queue, receive: Receive) -> Receive:
        messages = self._taken.get(queue.family)
        if messages is None:
            messages = self._taken[queue.family] = self._metrics.of_queue(self._service, queue.family)
        held = self._held

        async def receive_and_count(came: Delivery) -> None:
            messages.received(again=came.redeliveries > 0)
            delivery = MeteredDelivery(came, messages, held)
            try:
                await receive(delivery)
            except BaseException:
                # The bus gives it back; or it is closed, and the broker takes it back.
                delivery.over(RETURNED)
                raise

        return receive_and_count


class MeteredDelivery(DeliveryAround):
    """A delivery that is counted once, when it is settled."""

    __slots__ = ("_held", "_messages")

    def __init__(self, came: Delivery, messages: QueueMessages, held: "set[MeteredDelivery]") -> None:
        super().__init__(came)
        self._messages = messages
        self._held = held
        held.add(self)

    def was_sent(self, at: datetime) -> None:
        self._messages.lagged((datetime.now(UTC) - at).total_seconds())

    async def ack(self) -> None:
        await self.came.ack()
        self.over(ACKED)

    async def retry(self) -> None:
        await self.came.retry()
        self.over(RETURNED)

    async def dead_letter(self, reason: str, detail: str) -> None:
        await self.came.dead_letter(reason, detail)
        if self in self._held:
            self._messages.refused(reason)
        self.over(DEAD_LETTERED)

    def over(self, outcome: str) -> None:
        """It is settled, whoever did it; saying so twice changes nothing."""
        if self in self._held:
            self._held.discard(self)
            self._messages.settled(outcome)
