"""Hosts and agents in PostgreSQL."""

from typing import Any

from contracts.agents import AgentRecord
from contracts.registry import AgentFilter
from services.runtime.store import documents
from services.runtime.store.base import Host, Page
from services.runtime.store.cursor import Cursor, decode_cursor
from services.runtime.store.postgres_pool import PostgresPart
from services.runtime.store.postgres_statements import brief, packed, unpacked

PUT_HOST = """
INSERT INTO hosts (host_id, seen_at, available, announced) VALUES ($1, $2, $3, $4)
ON CONFLICT (host_id) DO UPDATE SET
    seen_at = excluded.seen_at, available = excluded.available, announced = excluded.announced
"""
MARK_HOST = "UPDATE hosts SET seen_at = $2, available = $3 WHERE host_id = $1 RETURNING host_id"
LIST_HOSTS = "SELECT host_id, seen_at, available, announced FROM hosts ORDER BY host_id"
DELETE_HOST = "DELETE FROM hosts WHERE host_id = $1 RETURNING host_id"

ADD_AGENT = """
INSERT INTO agents (agent_id, agent_type, status, capabilities, is_default, agent) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING RETURNING agent_id
"""
WRITE_AGENT = """
UPDATE agents SET agent_type = $2, status = $3, capabilities = $4, is_default = $5, agent = $6
WHERE agent_id = $1 RETURNING agent_id
"""
GET_AGENT = "SELECT agent FROM agents WHERE agent_id = $1"
COUNT_AGENTS = "SELECT count(*) FROM agents WHERE NOT is_default"
DELETE_AGENT = "DELETE FROM agents WHERE agent_id = $1 RETURNING agent_id"

_KIND = "agents"


class PostgresAgents(PostgresPart):
    async def put_host(self, host: Host) -> None:
        key, announced = packed(host.announced.host_id), documents.host_json(host)
        await self._fetch("put a host", PUT_HOST, key, host.seen_at, host.available, announced)

    async def mark_host(self, host_id: str, seen_at: float, *, available: bool) -> bool:
        return bool(await self._fetch("mark a host", MARK_HOST, packed(host_id), seen_at, available))

    async def list_hosts(self) -> list[Host]:
        rows = await self._fetch("list hosts", LIST_HOSTS)
        return [documents.host_of_json(unpacked(row[0]), row[1], row[2], row[3]) for row in rows]

    async def delete_host(self, host_id: str) -> bool:
        return bool(await self._fetch("delete a host", DELETE_HOST, packed(host_id)))

    async def add_agent(self, agent: AgentRecord) -> bool:
        return bool(await self._fetch("add an agent", ADD_AGENT, *_agent_row(agent)))

    async def write_agent(self, agent: AgentRecord) -> bool:
        return bool(await self._fetch("write an agent", WRITE_AGENT, *_agent_row(agent)))

    async def get_agent(self, agent_id: str) -> AgentRecord | None:
        rows = await self._fetch("get an agent", GET_AGENT, packed(agent_id))
        return documents.agent_of_json(agent_id, rows[0][0]) if rows else None

    async def list_agents(self, filter: AgentFilter, page: Page) -> tuple[list[AgentRecord], str | None]:
        statement, values = page_of_agents(filter, page)
        rows = await self._fetch("list agents", statement, *values)
        shown = [documents.agent_of_json(unpacked(row[0]), row[1]) for row in rows[: page.limit]]
        return shown, Cursor(_KIND, 0.0, shown[-1].agent_id).encode() if len(rows) > len(shown) else None

    async def count_agents(self) -> int:
        rows = await self._fetch("count agents", COUNT_AGENTS)
        return int(rows[0][0])

    async def delete_agent(self, agent_id: str) -> bool:
        return bool(await self._fetch("delete an agent", DELETE_AGENT, packed(agent_id)))


def page_of_agents(filter: AgentFilter, page: Page) -> tuple[str, list[Any]]:
    """The statement, with its values, for a page and one row more.

    Raises:
        BadCursor: ``page.after`` is no cursor of a list of agents.
    """
    last = decode_cursor(_KIND, page.after)
    asked = {
        "agent_type = {}": None if filter.agent_type is None else packed(filter.agent_type),
        "capabilities @> {}::text[]": None if filter.capability is None else [packed(brief(filter.capability))],
        "status = ANY ({}::text[])": None if filter.statuses is None else [status.value for status in filter.statuses],
        "agent_id = ANY ({}::text[])": None if filter.agent_ids is None else [packed(key) for key in filter.agent_ids],
        "agent_id > {}": None if last is None else packed(last.id),
    }
    given = {condition: value for condition, value in asked.items() if value is not None}
    conditions = [condition.format(f"${i}") for i, condition in enumerate(given, 1)]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"SELECT agent_id, agent FROM agents{where} ORDER BY agent_id LIMIT ${len(given) + 1}"
    return statement, [*given.values(), page.limit + 1]


def _agent_row(agent: AgentRecord) -> tuple[Any, ...]:
    return (
        packed(agent.agent_id),
        packed(agent.agent_type),
        agent.status.value,
        [packed(brief(name)) for name in agent.capabilities],
        agent.default,
        documents.agent_json(agent),
    )
