"""A troublemaker on the broker: it sees messages pass, and publishes copies of them late and in another order."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aio_pika
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from benchmarks.faults.broker import Publisher, consume_for_ever
from benchmarks.faults.shapes import AGENT_TYPE
from contracts import topology
from contracts.topology import Exchange

REMEMBERED = 500
EVERY = 0.5  # seconds between handfuls of copies
HANDFUL = 4
_SEEN = (
    (Exchange.COMMANDS, topology.start_now().key),
    (Exchange.COMMANDS, "execution.start"),
    (Exchange.AGENTS, f"{AGENT_TYPE}.any.*"),
    (Exchange.AGENTS, f"quarantine.{AGENT_TYPE}.*"),
    (Exchange.RESULTS, "#"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    exchange: str
    key: str
    message: aio_pika.Message


class Copier:
    """Remembers a random choice of what passed, the old beside the new. ``note`` is given a row for each copy."""

    def __init__(
        self, url: str, publisher: Publisher, rng: random.Random, note: Callable[[dict[str, Any]], None]
    ) -> None:
        self.published = 0
        self._url = url
        self._publisher = publisher
        self._rng = rng
        self._note = note
        self._seen: list[Seen] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Copier":
        ready = asyncio.Event()
        tapping = consume_for_ever(self._url, _tap, self._take, no_ack=True, ready=ready)
        self._tasks = [asyncio.create_task(tapping), asyncio.create_task(self._copy_on())]
        await ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def burst(self, amount: int) -> None:
        """Publish copies of many messages at once, the last first."""
        for seen in self._choice(amount)[::-1]:
            await self._copy(seen)

    async def _copy_on(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            for seen in self._choice(HANDFUL):
                await self._copy(seen)

    def _choice(self, amount: int) -> list[Seen]:
        return self._rng.sample(self._seen, min(amount, len(self._seen)))

    async def _copy(self, seen: Seen) -> None:
        # Noted first: a copy that was sent without an answer is a copy all the same.
        self._note({"message_id": seen.message.message_id or "", "type": seen.message.type or ""})
        if await self._publisher.try_to_publish(seen.exchange, seen.key, seen.message):
            self.published += 1

    async def _take(self, message: AbstractIncomingMessage) -> None:
        copy = aio_pika.Message(
            message.body,
            type=message.type,
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            reply_to=message.reply_to,
            content_type=message.content_type,
            headers=message.headers,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        seen = Seen(message.exchange or "", message.routing_key or "", copy)
        if len(self._seen) < REMEMBERED:
            self._seen.append(seen)
        else:
            self._seen[self._rng.randrange(REMEMBERED)] = seen


async def _tap(channel: AbstractChannel) -> AbstractQueue:
    queue = await channel.declare_queue(exclusive=True, arguments={"x-max-length": 2_000})
    for exchange, key in _SEEN:
        declared = await channel.declare_exchange(exchange.value, ExchangeType.TOPIC, durable=True)
        await queue.bind(declared, routing_key=key)
    return queue
