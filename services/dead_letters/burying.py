"""Dead letters from their queue into the store. They may be anything at all, so they are taken as bytes."""

import asyncio
import time
from collections.abc import Callable

import structlog

from contracts import topology
from contracts.dead_letters import DeadLetter
from services.dead_letters.letters import correlation_of, letter_of, unstorable
from services.runtime.bus.base import Bus, BusError, Delivery
from services.runtime.correlation import add_to_hand
from services.runtime.store.base import Store, StoreUnavailable, Unstorable

log = structlog.get_logger(__name__)

PREFETCH = 20
PAUSE = 1.0  # seconds before a letter is given back while the store is away


class Burying:
    """To be made before its bus starts; the bus then takes from the queue."""

    def __init__(self, bus: Bus, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock
        bus.subscribe(topology.dead_letters(), self.bury, prefetch=PREFETCH)

    async def bury(self, delivery: Delivery) -> None:
        """Store one; what no store holds goes to a queue of its own. Only then it is acked."""
        letter = letter_of(delivery, self._clock())
        add_to_hand(correlation_id=correlation_of(letter))
        try:
            await self._keep(delivery, letter)
        except (BusError, StoreUnavailable) as error:
            log.warning("dead letter cannot be kept now, given back", dead_letter_id=letter.id, error=str(error))
            await asyncio.sleep(PAUSE)
            await delivery.retry()
        else:
            log.info(
                "dead letter",
                dead_letter_id=letter.id,
                message_id=letter.message_id,
                reason=letter.reason,
                type=letter.type,
                queue=letter.queue,
            )
            await delivery.ack()

    async def _keep(self, delivery: Delivery, letter: DeadLetter) -> None:
        try:
            await self._store.put_dead_letter(letter)
        except Unstorable as error:
            address = topology.unstorable_letters().bindings[0]
            log.error("dead letter cannot be stored", dead_letter_id=letter.id, queue=address.key, error=str(error))
            await self._bus.publish([unstorable(delivery, address)])
