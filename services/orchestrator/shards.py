"""Shards: each replica gives up those beyond its share, so that one that joins gets some.

A broker leaves a queue with a single active consumer to whoever took it first. So who hears from more shards than its
share goes to the end of the line with the others, and whoever is next does the same, until one comes that has room.
It comes to rest by itself: a replica with a shard asks for results there and nowhere else, and a shard that no replica
asks for brings nothing, so it counts for nobody.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

import structlog

from contracts import topology
from services.orchestrator.affinity import Affinity
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import Bus
from services.runtime.repeated import Repeated

log = structlog.get_logger(__name__)

# Seconds between looks, and as much as half again: a shard may pass through every replica, one look each, before it
# comes to one that has none; and a look is a question to the broker.
PERIOD: Final = 2.0


def surplus(heard: Sequence[str], replicas: int, shards: int = topology.SHARDS) -> tuple[str, ...]:
    """Those of the shards that a replica hears from (home first) which it gives up, where there are so many replicas.

    Its share is rounded down, but for the one that everybody needs: rounded up, twelve shards among five replicas
    would leave one without any.
    """
    share = max(1, shards // max(1, replicas))
    return tuple(heard[share:])


def period_of(replica: str) -> float:
    """Seconds between the looks of a replica: not the same for all, or two that pass shards to each other would go on
    in step."""
    return PERIOD * (1 + int.from_bytes(hashlib.blake2b(replica.encode(), digest_size=2).digest(), "big") / 2**17)


class Shards:
    """Looks how many replicas there are, and gives up what they should have. A resource of the orchestrator's service.

    ``replica`` is the name of this one, which others do not have.
    """

    def __init__(self, bus: Bus, affinity: Affinity, replica: str) -> None:
        self._bus = bus
        self._affinity = affinity
        self._period = period_of(replica)
        self._queues = {queue.bindings[0].key: queue for queue in topology.orchestrator_shards()}
        self._replicas = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "shards")

    async def stop(self) -> None:
        await stopped(self._task)

    async def look(self) -> tuple[str, ...]:
        """Give up what is too much; returns those shards.

        Raises:
            BusError: the broker is away. What was not given up yet is so at one of the next looks.
        """
        if not self._bus.connected:
            return ()
        heard = [key for key in self._affinity.look() if key in self._queues]
        before, self._replicas = self._replicas, await self._count()
        if self._replicas != before:  # one that restarts is gone for a moment only
            return ()
        given_up = surplus(heard, self._replicas)
        for key in given_up:
            await self._bus.step_back(self._queues[key])
            self._affinity.left(key)
            log.info("shard given to the next in line", shard=key, heard_from=len(heard), replicas=self._replicas)
        return given_up

    async def _count(self) -> int:
        """Every replica takes commands. Of a shard's queue the broker counts the active consumer alone."""
        commands = topology.orchestrator_commands()
        figures = (await self._bus.measure([commands])).get(commands.name)
        return 0 if figures is None else figures.consumers

    async def _run(self) -> None:
        trouble = Repeated(log, "shards not looked at")
        while True:
            await asyncio.sleep(self._period)
            try:
                await self.look()
            except Exception as error:  # whatever it is, the next look may do better
                trouble.failed(error)
            else:
                trouble.worked()
