"""A store around another that does nothing of its own: what changes some operations begins here."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from contracts.access import ApiKey
from contracts.agents import AgentRecord
from contracts.audit import AuditCheckpoint, AuditEntry, AuditFilter
from contracts.dead_letters import DeadLetter
from contracts.history import Header, LogEntry
from contracts.registry import AgentFilter
from contracts.workflow import Workflow
from services.runtime.store.base import DeadLetterFilter, HeaderFilter, Host, Page, Store


class StoreAround:
    """Every operation is that of ``inner``."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    async def start(self) -> None:
        await self.inner.start()

    async def stop(self) -> None:
        await self.inner.stop()

    async def ping(self) -> None:
        await self.inner.ping()

    # ---- the log

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        return await self.inner.append(entries)

    async def read_log(self, after: Mapping[str, int]) -> dict[str, list[LogEntry]]:
        return await self.inner.read_log(after)

    async def put_payloads(self, payloads: Mapping[str, Any]) -> None:
        await self.inner.put_payloads(payloads)

    async def get_payloads(self, ids: Collection[str]) -> dict[str, Any]:
        return await self.inner.get_payloads(ids)

    # ---- headers

    async def write_headers(self, headers: Sequence[Header]) -> None:
        await self.inner.write_headers(headers)

    async def read_headers(self, ids: Collection[str]) -> dict[str, Header]:
        return await self.inner.read_headers(ids)

    async def due_headers(self, now: float, limit: int) -> list[Header]:
        return await self.inner.due_headers(now, limit)

    async def open_headers(self, page: Page) -> tuple[list[Header], str | None]:
        return await self.inner.open_headers(page)

    async def count_open(self, limit: int) -> int:
        return await self.inner.count_open(limit)

    async def list_headers(self, filter: HeaderFilter, page: Page) -> tuple[list[Header], str | None]:
        return await self.inner.list_headers(filter, page)

    # ---- definitions and workflows

    async def put_definition(self, definition_hash: str, definition: Mapping[str, Any]) -> None:
        await self.inner.put_definition(definition_hash, definition)

    async def get_definition(self, definition_hash: str) -> dict[str, Any] | None:
        return await self.inner.get_definition(definition_hash)

    async def put_workflow(self, workflow: Workflow) -> bool:
        return await self.inner.put_workflow(workflow)

    async def get_workflow(self, workflow_id: str) -> Workflow | None:
        return await self.inner.get_workflow(workflow_id)

    async def list_workflows(self, page: Page, name: str | None = None) -> tuple[list[Workflow], str | None]:
        return await self.inner.list_workflows(page, name)

    async def delete_workflow(self, workflow_id: str) -> bool:
        return await self.inner.delete_workflow(workflow_id)

    # ---- hosts and agents

    async def put_host(self, host: Host) -> None:
        await self.inner.put_host(host)

    async def mark_host(self, host_id: str, seen_at: float, *, available: bool) -> bool:
        return await self.inner.mark_host(host_id, seen_at, available=available)

    async def list_hosts(self) -> list[Host]:
        return await self.inner.list_hosts()

    async def delete_host(self, host_id: str) -> bool:
        return await self.inner.delete_host(host_id)

    async def add_agent(self, agent: AgentRecord) -> bool:
        return await self.inner.add_agent(agent)

    async def write_agent(self, agent: AgentRecord) -> bool:
        return await self.inner.write_agent(agent)

    async def get_agent(self, agent_id: str) -> AgentRecord | None:
        return await self.inner.get_agent(agent_id)

    async def list_agents(self, filter: AgentFilter, page: Page) -> tuple[list[AgentRecord], str | None]:
        return await self.inner.list_agents(filter, page)

    async def count_agents(self) -> int:
        return await self.inner.count_agents()

    async def delete_agent(self, agent_id: str) -> bool:
        return await self.inner.delete_agent(agent_id)

    # ---- dead letters

    async def put_dead_letter(self, letter: DeadLetter) -> None:
        await self.inner.put_dead_letter(letter)

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None:
        return await self.inner.get_dead_letter(letter_id)

    async def list_dead_letters(self, filter: DeadLetterFilter, page: Page) -> tuple[list[DeadLetter], str | None]:
        return await self.inner.list_dead_letters(filter, page)

    async def count_dead_letters(self, limit: int, died_after: float = 0.0) -> int:
        return await self.inner.count_dead_letters(limit, died_after)

    async def delete_dead_letter(self, letter_id: str) -> bool:
        return await self.inner.delete_dead_letter(letter_id)

    # ---- API keys

    async def claim(self, name: str) -> bool:
        return await self.inner.claim(name)

    async def add_api_key(self, key: ApiKey) -> bool:
        return await self.inner.add_api_key(key)

    async def write_api_key(self, key: ApiKey) -> bool:
        return await self.inner.write_api_key(key)

    async def get_api_key(self, key_id: str) -> ApiKey | None:
        return await self.inner.get_api_key(key_id)

    async def list_api_keys(self, page: Page) -> tuple[list[ApiKey], str | None]:
        return await self.inner.list_api_keys(page)

    # ---- the audit log

    async def append_audit(self, entries: Sequence[AuditEntry]) -> int:
        return await self.inner.append_audit(entries)

    async def last_audit(self) -> AuditEntry | None:
        return await self.inner.last_audit()

    async def read_audit(self, after: int, limit: int) -> list[AuditEntry]:
        return await self.inner.read_audit(after, limit)

    async def has_audit(self, record_ids: Collection[str]) -> set[str]:
        return await self.inner.has_audit(record_ids)

    async def list_audit(self, filter: AuditFilter, page: Page) -> tuple[list[AuditEntry], str | None]:
        return await self.inner.list_audit(filter, page)

    async def add_audit_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        await self.inner.add_audit_checkpoint(checkpoint)

    async def read_audit_checkpoints(self, after: int, limit: int) -> list[AuditCheckpoint]:
        return await self.inner.read_audit_checkpoints(after, limit)
