"""A message as Redis hands it out, and as it is written there."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from faststream.redis import RedisMessage

from services.runtime.bus.base import Delivery, Frame
from services.runtime.bus.delivering import dead_letter


class Holder(Protocol):
    """Whoever holds deliveries until they are settled."""

    @property
    def queue_name(self) -> str: ...

    def holds(self, delivery: "RedisDelivery") -> bool: ...

    def done(self, delivery: "RedisDelivery") -> None: ...

    def give_back(self, delivery: "RedisDelivery") -> None: ...

    async def publish(self, frame: Frame) -> None: ...


class RedisDelivery(Delivery):
    """``head`` is what the script ``NEXT`` says of it. Settling one that its holder does not hold does nothing."""

    __slots__ = (
        "_body",
        "_correlation_id",
        "_died_in",
        "_exchange",
        "_headers",
        "_holder",
        "_key",
        "_message_id",
        "_redeliveries",
        "_reply_to",
        "_type",
        "id",
    )

    def __init__(self, head: bytes, body: bytes, holder: Holder) -> None:
        self.id, redeliveries, exchange, key, died_in, meta = head.split(b"\0", 5)
        self._redeliveries = int(redeliveries)
        # Other programs may publish keys that are no text.
        self._exchange, self._key, self._died_in = (text.decode(errors="replace") for text in (exchange, key, died_in))
        self._type, self._message_id, self._correlation_id, self._reply_to, self._headers = _read(meta)
        self._body = body
        self._holder = holder

    @property
    def body(self) -> bytes:
        return self._body

    @property
    def type(self) -> str:
        return self._type

    @property
    def message_id(self) -> str:
        return self._message_id

    @property
    def correlation_id(self) -> str:
        return self._correlation_id

    @property
    def reply_to(self) -> str:
        return self._reply_to

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    @property
    def queue(self) -> str:
        return self._holder.queue_name

    @property
    def exchange(self) -> str:
        return self._exchange

    @property
    def routing_key(self) -> str:
        return self._key

    @property
    def redeliveries(self) -> int:
        return self._redeliveries

    @property
    def died_in(self) -> str:
        return self._died_in

    async def ack(self) -> None:
        self._holder.done(self)

    async def retry(self) -> None:
        self._holder.give_back(self)

    async def dead_letter(self, reason: str, detail: str) -> None:
        if self._holder.holds(self):
            await self._holder.publish(dead_letter(self, self._exchange, reason, detail))
            self._holder.done(self)


def meta_of(frame: Frame) -> str:
    """What stands beside a message's body, for ``RedisDelivery`` to read."""
    return json.dumps(
        [frame.type, frame.message_id, frame.correlation_id, frame.reply_to, dict(frame.headers)],
        separators=(",", ":"),
    )


def _read(meta: bytes) -> tuple[str, str, str, str, Mapping[str, str]]:
    """Another client may have written anything; whoever receives it finds out by the body. Headers that are no text are
    left out."""
    try:
        kind, message_id, correlation_id, reply_to, headers = json.loads(meta)
        texts = {name: text for name, text in dict(headers).items() if isinstance(text, str) and isinstance(name, str)}
        return str(kind), str(message_id), str(correlation_id), str(reply_to), texts
    except (ValueError, TypeError, RecursionError):
        return "", "", "", "", {}


async def parse(delivery: Any) -> RedisMessage:
    """In place of FastStream's parser, which expects its own format."""
    return RedisMessage(
        delivery,
        delivery.body,
        correlation_id=delivery.correlation_id or "-",
        message_id=delivery.message_id or "-",
    )
