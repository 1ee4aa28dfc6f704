"""What RabbitMQ says of its queues to any client: by passive declarations, which every user may make."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import aiormq
from aiormq.exceptions import ChannelLockedResource, ChannelNotFoundEntity

from contracts.topology import Queue, QueueKind
from services.runtime.bus.base import BusUnavailable, QueueFigures

FIRST_REST, LONGEST_REST = 5.0, 60.0  # seconds for which a queue that does not exist is not asked for again


class Connection(Protocol):
    """What measuring asks of the bus."""

    def operation(self, what: str) -> AbstractAsyncContextManager[None]: ...

    async def open_plain_channel(self) -> aiormq.abc.AbstractChannel: ...

    def owns(self, queue: Queue) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Absence:
    until: float
    rest: float


class Measuring:
    """Asks for queues one after the other, over a channel of its own.

    RabbitMQ answers a question for a queue that does not exist by closing the channel, with an error in its own log. So
    one that was missed is left in peace for a while, and longer each time: its figures may come up to ``LONGEST_REST``
    seconds after somebody else has made it.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._absent: dict[str, _Absence] = {}

    def exists(self, queue: Queue) -> None:
        """This side has just made it, or seen that it is there."""
        self._absent.pop(queue.name, None)

    async def measure(self, queues: Sequence[Queue]) -> dict[str, QueueFigures]:
        """As ``Bus.measure`` says.

        Whoever gives up waiting does not interrupt the question that is out: the client closes a channel whose question
        was cancelled, and one that is closed a second time by then costs the whole connection.
        """
        given_up = asyncio.Event()
        asking = asyncio.ensure_future(self._measure(queues, given_up))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            given_up.set()
            asking.add_done_callback(_nobody_waits)
            raise

    async def _measure(self, queues: Sequence[Queue], given_up: asyncio.Event) -> dict[str, QueueFigures]:
        figures: dict[str, QueueFigures] = {}
        channel: aiormq.abc.AbstractChannel | None = None
        try:
            for queue in filter(self._is_asked_for, queues):
                if given_up.is_set():
                    break
                async with self._connection.operation(f"measure {queue.name}"):
                    if channel is None or channel.is_closed:
                        channel = await self._connection.open_plain_channel()
                    found = await self._ask(channel, queue)
                if found is not None:
                    figures[queue.name] = found
        finally:
            await self._close(channel)
        return figures

    def _is_asked_for(self, queue: Queue) -> bool:
        if queue.kind is QueueKind.BROADCAST:
            return self._connection.owns(queue)  # others' are exclusive: refused, with an error in the log too
        absence = self._absent.get(queue.name)
        return absence is None or absence.until <= self._clock()

    async def _ask(self, channel: aiormq.abc.AbstractChannel, queue: Queue) -> QueueFigures | None:
        try:
            told = await channel.queue_declare(queue.name, passive=True)
        except (ChannelNotFoundEntity, ChannelLockedResource):
            self._note_absence(queue.name)
            return None
        self._absent.pop(queue.name, None)
        return QueueFigures(ready=told.message_count or 0, unacked=None, consumers=told.consumer_count or 0)

    def _note_absence(self, name: str) -> None:
        now = self._clock()
        before = self._absent.get(name)
        rest = FIRST_REST if before is None else min(2 * before.rest, LONGEST_REST)
        # Names come and go with agents: those that nobody asked for again are forgotten.
        self._absent = {one: absence for one, absence in self._absent.items() if absence.until > now - LONGEST_REST}
        self._absent[name] = _Absence(now + rest, rest)

    async def _close(self, channel: aiormq.abc.AbstractChannel | None) -> None:
        if channel is None or channel.is_closed:
            return
        try:
            async with self._connection.operation("close the channel that measured"):
                await channel.close()
        except BusUnavailable:
            pass  # gone with its connection


def _nobody_waits(asking: asyncio.Future[dict[str, QueueFigures]]) -> None:
    if not asking.cancelled():
        asking.exception()  # looked at, or the loop would report that nobody did
