"""Ask over the bus and wait for the answer: one reply queue for a service, and any number of questions at once."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from contracts import topology
from contracts.catalog import MESSAGES
from contracts.envelope import Message, new_id
from services.runtime.bus.base import Bus, BusUnavailable, Delivery
from services.runtime.envelope_codec import Outgoing, UnreadableMessage, decode, encode

log = structlog.get_logger(__name__)

_PREFETCH = 1_000  # an answer is handled at once, so this bounds only what is under way


class ReplyTimeout(Exception):
    """No answer came in time. Whether the question was acted upon is unknown."""


class Requests:
    """Questions of one service, and their answers.

    A question names this object's reply queue; its answer says in ``correlation_id`` which question it belongs to
    (``Received.reply``). An answer that nobody waits for any more is dropped: its asker has given up.

    To be made before its bus starts, and given to the service as a resource: before those whose work asks, since it is
    stopped after them. Answers come until then, also while the bus takes no more work.
    """

    def __init__(self, bus: Bus, service: str, *, accepts: Mapping[str, type[Message]] = MESSAGES) -> None:
        self._bus = bus
        self._sender = service
        self._accepts = accepts
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self.queue = topology.reply_queue(f"reply.{service}.{new_id()}")
        self._subscription = bus.subscribe(self.queue, self._receive, prefetch=_PREFETCH)

    @property
    def in_flight(self) -> int:
        """How many questions wait for their answer."""
        return len(self._waiting)

    async def start(self) -> None:
        """Begin to take answers, if the bus runs already; otherwise its start does it."""
        if self._bus.connected:
            await self._subscription.start()

    async def stop(self) -> None:
        """Take no more answers; every question still waiting fails with ``BusUnavailable``."""
        await self._subscription.stop()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BusUnavailable("the service is stopping"))

    async def ask(self, outgoing: Outgoing[Any], timeout: float) -> Message:
        """Send a message and return the one that answers it.

        Args:
            timeout: seconds until the answer must be here, publishing included.

        Raises:
            ReplyTimeout: no answer in time.
            UnroutableMessage, BusUnavailable: the question could not be published.
            UnreadableMessage: the answer fails its contract; it was moved to the dead letters.
        """
        frame = encode(replace(outgoing, reply_to=self.queue.name), self._sender)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[frame.message_id] = answer
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await self._bus.publish([frame])
                return await answer
        except TimeoutError:
            if not limit.expired():
                raise
            raise ReplyTimeout(f"no answer to {frame.type} within {timeout} s") from None
        finally:
            del self._waiting[frame.message_id]

    async def _receive(self, delivery: Delivery) -> None:
        try:
            envelope = decode(delivery, self._accepts)
        except UnreadableMessage as error:
            self._fail(delivery.correlation_id, error)
            await delivery.dead_letter(error.reason, error.detail)
            return
        delivery.was_sent(envelope.timestamp)
        waiting = self._waiting.get(envelope.correlation_id)
        if waiting is None or waiting.done():
            log.debug("answer came too late", type=envelope.type, correlation_id=envelope.correlation_id)
        else:
            waiting.set_result(envelope.payload)
        await delivery.ack()

    def _fail(self, question: str, error: UnreadableMessage) -> None:
        waiting = self._waiting.get(question)
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
