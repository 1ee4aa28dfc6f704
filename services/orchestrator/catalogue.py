"""The catalogue of agent types and agents, as the registry has written it down."""

import time
from collections.abc import Callable, Collection, Mapping

from contracts.agents import AgentDescriptor
from contracts.hosts import PluginFault
from contracts.registry import AgentFilter
from services.runtime.definitions.lint import NamedAgents
from services.runtime.known_types import known_types
from services.runtime.store.base import Page, Store

_REREAD_AFTER = 2.0
_SHOWN = 10  # agents of a type that a fault lists


class Catalogue:
    """Agent types and their capabilities, read from the store at most every two seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._read_at = 0.0
        self._agents: Mapping[str, AgentDescriptor] = {}
        self._faults: tuple[PluginFault, ...] = ()

    async def agents(self, *, fresh: bool = False) -> Mapping[str, AgentDescriptor]:
        """Descriptors by agent type; of several hosts of a type, what the latest said."""
        now = self._clock()
        if fresh or now - self._read_at > _REREAD_AFTER:
            hosts = await self._store.list_hosts()
            self._agents = known_types(hosts, now)
            self._faults = tuple(fault for host in hosts if host.available for fault in host.announced.faults)
            self._read_at = now
        return self._agents

    def why_missing(self, agent_type: str, action: str | None = None) -> str:
        """What is known, since the last look, of why there is no such type, or no such action of it; nothing if nothing
        is. A type or a capability that the agent policy does not grant is left out and stands among the faults."""
        return next(
            (
                fault.error
                for fault in self._faults
                if fault.plugin == agent_type and (action is None or repr(action) in fault.error)
            ),
            "",
        )

    async def named(self, agent_ids: Collection[str], *, others_of: Collection[str] = ()) -> NamedAgents:
        """Those of ``agent_ids`` that are registered, and some agents of each of the types ``others_of``. Always
        read from the store: an agent may have been created a moment ago."""
        types = await self._types_of(AgentFilter(agent_ids=tuple(agent_ids)), len(agent_ids)) if agent_ids else {}
        others = {kind: tuple(await self._types_of(AgentFilter(agent_type=kind), _SHOWN)) for kind in others_of}
        return NamedAgents(types, others)

    async def _types_of(self, filter: AgentFilter, limit: int) -> dict[str, str]:
        found, _ = await self._store.list_agents(filter, Page(limit))
        return {agent.agent_id: agent.agent_type for agent in found}
