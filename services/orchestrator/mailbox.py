"""What waits to be committed: engine messages with the duty to settle the deliveries they came in."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from contracts.history import ExecutionStatus
from services.orchestrator.engine import EngineMessage, Plan
from services.runtime.bus.base import Delivery
from services.runtime.envelope_codec import Outgoing


class Receipt:
    """Settles one delivery once every item that came in it is done."""

    def __init__(self, delivery: Delivery | None, items: int) -> None:
        self._delivery = delivery
        self._open = set(range(items))
        self._refusal: tuple[str, str] | None = None
        self._given_back = False

    def refuse(self, reason: str, detail: str) -> None:
        """Have the delivery dead-lettered instead of acked: an item in it could not be handled."""
        self._refusal = (reason, detail)

    def give_back(self) -> None:
        """Have the delivery returned to its queue: an item in it could not be handled now."""
        self._given_back = True

    def done(self, place: int) -> bool:
        """The item at ``place`` (from 0) is done; saying so twice changes nothing. True when it was the last, and the
        delivery is to be settled."""
        if place not in self._open:
            return False
        self._open.discard(place)
        return not self._open and self._delivery is not None

    async def settle(self) -> None:
        if self._delivery is None:
            return
        if self._given_back:
            await self._delivery.retry()
        elif self._refusal is None:
            await self._delivery.ack()
        else:
            await self._delivery.dead_letter(*self._refusal)


@dataclass(slots=True)
class Outcome:
    """What became of an item, for whoever asked; ``forbidden`` says why it was not for its sender to say."""

    execution_id: str
    workflow_id: str | None
    status: ExecutionStatus | None
    changed: bool
    conflict: bool = False
    unknown: bool = False
    forbidden: str = ""


Answer = Callable[[Outcome], Outgoing[Any]]


@dataclass(slots=True)
class Item:
    """One engine message for one execution. ``plan`` comes with a start; ``answer`` where a reply was asked for;
    ``size`` is roughly the bytes it adds to an entry, ``place`` the item's position in its delivery; ``answered_by`` is
    the agent type that a result or a report came from, None for one of the orchestrator's own; ``counted`` says that
    the metrics know of it, however often it is applied again."""

    execution_id: str
    message: EngineMessage
    receipt: Receipt = field(default_factory=lambda: Receipt(None, 1))
    plan: Plan | None = None
    answer: Answer | None = None
    size: int = 200
    place: int = 0
    answered_by: str | None = None
    counted: bool = False


class Mailbox:
    """Items in order of arrival. Bounded by the prefetch of the queues that fill it.

    ``drained`` is set while there is nothing in it and nothing taken from it is in hand.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._batches_in_hand = 0
        self.drained = asyncio.Event()
        self.drained.set()

    def put(self, *items: Item) -> None:
        self._items.extend(items)
        self._arrived.set()
        self.drained.clear()

    def __len__(self) -> int:
        return len(self._items)

    async def something(self) -> None:
        """Wait until there is an item. Never waits on a clock."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()

    def take(self, limit: int) -> list[Item]:
        """Whatever is there, up to ``limit``: a batch that is in hand until it is ``taken_care_of``."""
        self._batches_in_hand += 1
        return [self._items.popleft() for _ in range(min(limit, len(self._items)))]

    def taken_care_of(self) -> None:
        """One batch that was taken is no longer in hand."""
        self._batches_in_hand -= 1
        if not self._items and not self._batches_in_hand:
            self.drained.set()
