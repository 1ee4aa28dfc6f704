"""The catalogue of agent types, as the registry has written it down."""

import time
from collections.abc import Callable, Mapping

from contracts.agents import AgentDescriptor
from services.runtime.store.base import Store

KNOWN_FOR = 24 * 3600.0  # seconds after its last word that a type still counts as known: its work would wait
_REREAD_AFTER = 2.0


class Catalogue:
    """Agent types and their capabilities, read from the store at most every two seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._read_at = 0.0
        self._agents: Mapping[str, AgentDescriptor] = {}

    async def agents(self, *, fresh: bool = False) -> Mapping[str, AgentDescriptor]:
        """Descriptors by agent type; of several hosts of a type, what the latest said."""
        now = self._clock()
        if fresh or now - self._read_at > _REREAD_AFTER:
            hosts = await self._store.list_agent_hosts(now - KNOWN_FOR)
            hosts.sort(key=lambda host: host.seen_at)
            self._agents = {host.announced.descriptor.agent_type: host.announced.descriptor for host in hosts}
            self._read_at = now
        return self._agents
