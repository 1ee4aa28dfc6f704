"""What the parts of the registry share: the records, one decision at a time, and what hosts said last."""

import asyncio
import time
from collections.abc import Callable, Iterable

from contracts.agents import AgentRecord, AgentState, AgentStatus
from contracts.execution import Refused
from contracts.hosts import HostAssignment
from contracts.registry import AgentDeleted, AgentFilter
from services.registry.presence import types_of
from services.registry.records import Said
from services.registry.waits import Waits
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox
from services.runtime.store.base import Page, Store

_ROWS = 500

Created = AgentRecord | Refused


class Ledger:
    """Records are read fresh before each decision, and written whole.

    Whoever decides holds ``turn`` from reading until the records are written and the hosts are told, so hosts hear
    of decisions in their order. What is in memory is what hosts say again with every heartbeat, and who waits.
    """

    def __init__(self, store: Store, outbox: Outbox, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.clock = clock
        self.turn = asyncio.Lock()
        self.listening_since = 0.0  # epoch seconds: before it a host may have spoken unheard
        self.creators: Waits[Created] = Waits()
        self.deleters: Waits[AgentDeleted] = Waits()
        self._outbox = outbox
        self._said: dict[str, dict[str, AgentState]] = {}
        self._types: dict[str, tuple[str, ...]] = {}

    # ---- records

    async def agents(self, filter: AgentFilter) -> list[AgentRecord]:
        """Every agent that the filter matches, by id."""
        found, after = await self.store.list_agents(filter, Page(_ROWS))
        while after is not None:
            more, after = await self.store.list_agents(filter, Page(_ROWS, after))
            found += more
        return found

    async def of_types(self, agent_types: Iterable[str]) -> list[AgentRecord]:
        return [record for kind in agent_types for record in await self.agents(AgentFilter(agent_type=kind))]

    async def change(self, before: AgentRecord, after: AgentRecord) -> None:
        """Write a record if it has changed, and tell those who wait for a host to take it."""
        if after != before:
            await self.store.write_agent(after)
        if after.hosts and after.status is not AgentStatus.STOPPING and after.agent_id in self.creators:
            self.creators.tell(after.agent_id, after)

    async def tell(self, assignments: Iterable[HostAssignment]) -> None:
        await self._outbox.send(Outgoing(assignment) for assignment in assignments)

    # ---- what hosts said last

    def said(self, agent_id: str) -> Said:
        return {host_id: states[agent_id] for host_id, states in self._said.items() if agent_id in states}

    def said_by(self, host_id: str) -> dict[str, AgentState]:
        """By agent id; empty for a host that has not spoken since the registry started."""
        return self._said.setdefault(host_id, {})

    def hears(self, host_id: str, states: Iterable[AgentState]) -> dict[str, AgentState]:
        """Everything a host says of its agents, in place of what it said before."""
        self._said[host_id] = {state.agent_id: state for state in states}
        return self._said[host_id]

    def forget(self, host_id: str) -> None:
        self._said.pop(host_id, None)
        self._types.pop(host_id, None)

    # ---- which types a host offers: that never changes, its id is its process's

    def offers(self, host_id: str, agent_types: tuple[str, ...]) -> None:
        self._types[host_id] = agent_types

    async def types_of(self, host_id: str) -> tuple[str, ...]:
        if host_id not in self._types:
            self._types.update({host.announced.host_id: types_of(host) for host in await self.store.list_hosts()})
        return self._types.get(host_id, ())
