"""An independent subscriber to the event stream, which writes down what it hears."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from benchmarks.faults.broker import consume_for_ever
from contracts.topology import Exchange

QUEUE = "faults.events"
_ENDINGS = {f"execution.{status}.v1": status for status in ("completed", "failed", "cancelled")}


class Listener:
    """Consumes a durable queue of its own and acks what it has noted: what it is sent, it notes once or more."""

    def __init__(self, url: str, note: Callable[[dict[str, Any]], None], ended: Callable[[str], None]) -> None:
        self._url = url
        self._note = note
        self._ended = ended
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Listener":
        ready = asyncio.Event()
        self._task = asyncio.create_task(consume_for_ever(self._url, _declared, self._take, no_ack=False, ready=ready))
        await ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        for row in event_rows(message.type or "", message.body):
            self._note(row)
            if row["kind"] == "ended":
                self._ended(row["execution_id"])
        await message.ack()


def event_rows(kind: str, body: bytes) -> Iterator[dict[str, Any]]:
    """What an event says, as rows for the checker."""
    if kind in _ENDINGS:
        yield {
            "kind": "ended",
            "execution_id": json.loads(body)["payload"]["execution_id"],
            "status": _ENDINGS[kind],
        }
    elif kind == "execution.advanced.v1":
        for entry in json.loads(body)["payload"]["entries"]:
            yield {
                "kind": "advanced",
                "execution_id": entry["execution_id"],
                "n": entry["n"],
                "applied": entry["applied"],
            }


async def _declared(channel: AbstractChannel) -> AbstractQueue:
    events = await channel.declare_exchange(Exchange.EVENTS.value, ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(events, routing_key="execution.#")
    return queue
