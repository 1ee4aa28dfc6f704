"""Hosts and agents in MongoDB."""

from collections.abc import Mapping
from typing import Any

from contracts.agents import AgentRecord
from contracts.registry import AgentFilter
from services.runtime.store import documents
from services.runtime.store.base import Host, Page
from services.runtime.store.documents import Document
from services.runtime.store.mongo_collections import MongoPart


class MongoAgents(MongoPart):
    async def put_host(self, host: Host) -> None:
        await self._stored.write("hosts", documents.host_document(host))

    async def mark_host(self, host_id: str, seen_at: float, *, available: bool) -> bool:
        return await self._stored.change("hosts", host_id, {"seen_at": seen_at, "available": available})

    async def list_hosts(self) -> list[Host]:
        return [documents.host_of(row) for row in await self._stored.by_id_order("hosts", {})]

    async def delete_host(self, host_id: str) -> bool:
        return await self._stored.delete("hosts", host_id)

    async def add_agent(self, agent: AgentRecord) -> bool:
        return not await self._stored.insert("agents", [documents.agent_document(agent)])

    async def write_agent(self, agent: AgentRecord) -> bool:
        return await self._stored.overwrite("agents", documents.agent_document(agent))

    async def get_agent(self, agent_id: str) -> AgentRecord | None:
        row = await self._stored.get("agents", agent_id)
        return None if row is None else documents.agent_of(row)

    async def list_agents(self, filter: AgentFilter, page: Page) -> tuple[list[AgentRecord], str | None]:
        rows, cursor = await self._stored.page_by_id(
            "agents", _matching(filter), page, kind="agents", among=filter.agent_ids
        )
        return [documents.agent_of(row) for row in rows], cursor

    async def count_agents(self) -> int:
        return await self._stored.count("agents", {"default": False})

    async def delete_agent(self, agent_id: str) -> bool:
        return await self._stored.delete("agents", agent_id)


def _matching(filter: AgentFilter) -> Document:
    statuses = None if filter.statuses is None else {"$in": [status.value for status in filter.statuses]}
    asked: Mapping[str, Any] = {
        "agent_type": filter.agent_type,
        "capabilities": filter.capability,
        "status": statuses,
    }
    return {name: value for name, value in asked.items() if value is not None}
