"""The end of an agent: its queue goes, what was left there becomes dead letters, and its record goes last."""

from collections import Counter
from functools import partial

import structlog

from contracts import topology
from contracts.execution import Refused
from contracts.registry import AgentDeleted
from services.registry import leftovers, records
from services.registry.creating import deleted_meanwhile
from services.registry.ledger import Ledger
from services.runtime.bus.base import Bus, Delivery
from services.runtime.service import Outbox

log = structlog.get_logger(__name__)


class Removing:
    def __init__(self, ledger: Ledger, bus: Bus, outbox: Outbox) -> None:
        self._ledger = ledger
        self._bus = bus
        self._outbox = outbox
        self._under_way: set[str] = set()
        self._undelivered: Counter[str] = Counter()

    async def finish(self, agent_id: str, refusal: Refused | None = None) -> None:
        """Remove an agent that is being stopped and that no host runs; of any other it is not the time.

        ``refusal`` is what those get who wait for it to be created.

        Raises:
            BusError, StoreUnavailable: it has to be called again; the sweep does.
        """
        if agent_id in self._under_way:
            return
        self._under_way.add(agent_id)
        try:
            if await self._removed(agent_id):
                undelivered = self._undelivered.pop(agent_id, 0)
                self._ledger.deleters.tell(agent_id, AgentDeleted(agent_id=agent_id, undelivered=undelivered))
                self._ledger.creators.tell(agent_id, refusal or deleted_meanwhile(agent_id))
        finally:
            self._under_way.discard(agent_id)

    async def clear(self, agent_type: str, agent_id: str) -> None:
        """Remove the queue of an agent that has no record; what is left in it becomes dead letters.

        Raises:
            BusError: it may be called again.
        """
        await self._bus.remove(topology.agent_queue(agent_type, agent_id), partial(self._bury, agent_id))

    async def _bury(self, agent_id: str, delivery: Delivery) -> None:
        await self._outbox.send(leftovers.answers(delivery, agent_id))
        await delivery.dead_letter(leftovers.REASON, leftovers.in_words(agent_id))

    async def _removed(self, agent_id: str) -> bool:
        ledger = self._ledger
        record = await ledger.store.get_agent(agent_id)
        if record is None or not records.is_finished(record):
            return False

        async def bury(delivery: Delivery) -> None:
            await self._bury(agent_id, delivery)
            self._undelivered[agent_id] += 1

        await self._bus.remove(topology.agent_queue(record.agent_type, agent_id), bury)
        async with ledger.turn:
            record = await ledger.store.get_agent(agent_id)
            if record is not None and not records.is_finished(record):
                return False
            await ledger.store.delete_agent(agent_id)
        log.info("agent deleted", agent_id=agent_id, undelivered=self._undelivered[agent_id])
        return True
