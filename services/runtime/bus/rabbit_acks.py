"""What is acked in one turn of the event loop is told to RabbitMQ together.

A quorum queue takes 32 settlements of a channel ahead and keeps the others back until it has written those. What is
kept back when the channel closes is delivered again: 467 of 500 messages that were acked one by one before. But one
settlement may speak for many messages: for all up to one of them, where nothing before it is still in hand.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import aiormq
import structlog
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

log = structlog.get_logger(__name__)

AHEAD = 32  # settlements that a quorum queue takes of a channel before it has written them
REST = 0.25  # seconds in which it writes them


class Acks:
    """Of one channel with one consumer.

    Messages have numbers, one after the other as they are delivered. Only what was ``received`` and settled is spoken
    for: should a number be missing, every message has a settlement of its own.
    """

    def __init__(self, channel: aiormq.abc.AbstractChannel, clock: Callable[[], float] = time.monotonic) -> None:
        self.channel = channel
        self._clock = clock
        self._in_hand: dict[int, None] = {}  # in the order of their numbers
        self._latest = 0
        self._gapless = True
        self._acked: list[int] = []
        self._telling: asyncio.Task[None] | None = None
        self._held_back = False
        self._told_at: deque[float] = deque(maxlen=AHEAD + 1)

    def received(self, tag: int) -> None:
        self._gapless = self._gapless and tag == self._latest + 1
        self._latest = tag
        self._in_hand[tag] = None

    def ack(self, tag: int) -> None:
        self._in_hand.pop(tag, None)
        self._acked.append(tag)
        self._begin_to_tell()

    async def reject(self, tag: int) -> None:
        """Give a message back, which counts as a redelivery."""
        # From RabbitMQ 4.3 on a nack does not count as a redelivery; a reject counts in every version.
        await self.channel.basic_reject(tag, requeue=True, wait=False)
        self._in_hand.pop(tag, None)  # and not before: what is acked together must not speak for it

    async def hold_back(self) -> None:
        """Tell no more, and return when what was told before has brought its last messages: the broker sends some for
        every settlement. What is on its way to a consumer when that is cancelled counts as a redelivery."""
        self._held_back = True
        await self._at_rest(after=1)

    def go_on(self) -> None:
        """Tell what was held back."""
        self._held_back = False
        self._begin_to_tell()

    async def told(self) -> None:
        """Return when the channel may be closed: everything is told, and the queue has had time to write it."""
        await self._at_rest(after=AHEAD + 1)

    async def _at_rest(self, after: int) -> None:
        """Wait until ``REST`` has passed since the last of so many settlements, if they came within that time."""
        if self._telling is not None:
            await asyncio.wait({self._telling})
        quiet_since = self._clock() - REST
        if len(self._told_at) >= after and self._told_at[-after] > quiet_since:
            await asyncio.sleep(self._told_at[-1] - quiet_since)

    def _begin_to_tell(self) -> None:
        if self._telling is None and self._acked and not self._held_back:
            self._telling = asyncio.get_running_loop().create_task(self._tell_all())

    async def _tell_all(self) -> None:
        try:
            while self._acked and not self._held_back:
                acked, self._acked = sorted(self._acked), []
                await self._tell(acked)
        except (AMQPError, ChannelInvalidStateError, ConnectionError) as error:
            log.debug("not settled, the channel is gone", error=str(error))
        finally:
            self._telling = None

    async def _tell(self, acked: list[int]) -> None:
        still_in_hand = next(iter(self._in_hand), self._latest + 1)
        together = [tag for tag in acked if tag < still_in_hand] if self._gapless else []
        if len(together) > 1:
            await self._ack(together[-1], multiple=True)
            acked = acked[len(together) :]
        for tag in acked:
            await self._ack(tag)

    async def _ack(self, tag: int, *, multiple: bool = False) -> None:
        await self.channel.basic_ack(tag, multiple=multiple, wait=False)
        self._told_at.append(self._clock())
