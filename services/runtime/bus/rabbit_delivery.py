"""A message as RabbitMQ delivers it, through FastStream."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import aiormq
import structlog
from aio_pika import IncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from faststream.rabbit import RabbitMessage

from services.runtime.bus.base import Delivery, Frame
from services.runtime.bus.delivering import dead_letter

log = structlog.get_logger(__name__)

# Written by the broker about one stay in one queue; a message that is published again must not bring them along.
_BROKER_HEADERS = ("x-death", "x-delivery-count", "x-acquired-count", "x-first-death-", "x-last-death-")


class Holder(Protocol):
    """Whoever holds deliveries until they are settled."""

    @property
    def queue_name(self) -> str: ...

    async def publish(self, frame: Frame) -> None: ...

    async def ack(self, channel: aiormq.abc.AbstractChannel, tag: int) -> None: ...

    async def reject(self, channel: aiormq.abc.AbstractChannel, tag: int) -> None: ...

    def settled(self, delivery: "RabbitDelivery") -> None: ...


class RabbitDelivery(Delivery):
    """Reads properties and headers only when asked. Settles by the channel it came over: once that is gone the
    broker has taken the message back, and settling does nothing."""

    __slots__ = ("_holder", "_message", "_settled")

    def __init__(self, message: IncomingMessage, holder: Holder) -> None:
        self._message = message
        self._holder = holder
        self._settled = False

    @property
    def message(self) -> IncomingMessage:
        return self._message

    @property
    def body(self) -> bytes:
        return self._message.body

    @property
    def type(self) -> str:
        return self._message.type or ""

    @property
    def message_id(self) -> str:
        return self._message.message_id or ""

    @property
    def correlation_id(self) -> str:
        return self._message.correlation_id or ""

    @property
    def reply_to(self) -> str:
        return self._message.reply_to or ""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that the sender set; other clients may send values that are no text, which are left out."""
        headers = self._message.headers
        return {
            name: value
            for name, value in headers.items()
            if isinstance(value, str) and not name.startswith(_BROKER_HEADERS)
        }

    @property
    def queue(self) -> str:
        return self._holder.queue_name

    @property
    def exchange(self) -> str:
        return self._message.exchange or ""

    @property
    def routing_key(self) -> str:
        return self._message.routing_key or ""

    @property
    def redeliveries(self) -> int:
        """Quorum queues count; a classic queue only knows that there was one. What a sender wrote into the count's
        header is no redelivery: only the broker sets the flag."""
        if not self._message.redelivered:
            return 0
        count = self._message.headers.get("x-delivery-count")
        return count if isinstance(count, int) else 1

    @property
    def died_in(self) -> str:
        deaths: Any = self._message.headers.get("x-death")
        if not isinstance(deaths, list):
            return ""
        # The latest comes first. A sender may have written anything here.
        died = (death for death in deaths if isinstance(death, dict) and death.get("reason") == "delivery_limit")
        return next((str(death.get("queue", "")) for death in died), "")

    async def ack(self) -> None:
        await self._settle(self._holder.ack)

    async def retry(self) -> None:
        await self._settle(self._holder.reject)

    async def dead_letter(self, reason: str, detail: str) -> None:
        if self._settled or self._channel() is None:
            return
        await self._holder.publish(dead_letter(self, self.exchange, reason, detail))
        await self.ack()

    async def _settle(self, how: Callable[[aiormq.abc.AbstractChannel, int], Awaitable[None]]) -> None:
        if self._settled:
            return
        self._settled = True
        channel = self._channel()
        try:
            if channel is not None:
                await how(channel, self._message.delivery_tag or 0)
        except (AMQPError, ChannelInvalidStateError, ConnectionError) as error:
            log.debug("not settled, the channel is gone", queue=self.queue, error=str(error))
        finally:
            self._holder.settled(self)

    def _channel(self) -> aiormq.abc.AbstractChannel | None:
        try:
            return self._message.channel
        except ChannelInvalidStateError:
            return None


async def parse(message: IncomingMessage) -> RabbitMessage:
    """FastStream's parser, less what nobody reads here: it would make up missing ids and match path templates."""
    return RabbitMessage(
        message,
        message.body,
        correlation_id=message.correlation_id or "-",
        message_id=message.message_id or "-",
    )
